package cpu

import (
	"errors"
	"math/rand/v2"
)

// sink keeps the compiler from leaving out what nobody reads.
var sink uint64

func nothing() {}

// prepareInteger is xorshift64* (Vigna, An experimental exploration of Marsaglia's xorshift
// generators, scrambled), each step of which waits for the one before.
func prepareInteger() (func(int) error, func(), error) {
	x := uint64(88172645463325252)
	return func(n int) error {
		for range n {
			x ^= x >> 12
			x ^= x << 25
			x ^= x >> 27
			x *= 2685821657736338717
		}
		sink += x
		return nil
	}, nothing, nil
}

func prepareFloat() (func(int) error, func(), error) {
	x := 1.0
	return func(n int) error {
		for range n {
			x = x*0.999999 + 0.000001
		}
		if x <= 0 || x > 2 {
			return errors.New("the sum of the floating-point load is wrong")
		}
		return nil
	}, nothing, nil
}

// copySize is larger than the caches of most CPUs.
const copySize = 16 << 20

func prepareCopy() (func(int) error, func(), error) {
	from, to := make([]byte, copySize), make([]byte, copySize)
	for i := range from {
		from[i] = byte(i)
	}
	return func(n int) error {
		for n > 0 {
			n -= copy(to[:min(n, copySize)], from)
		}
		sink += uint64(to[1])
		return nil
	}, nothing, nil
}

// cacheLine is that of x86-64, in bytes; a step of the chase is on another line than all others.
const cacheLine = 64

// prepareChase makes a ring through all cache lines of a block, in an order that no prefetcher guesses.
func prepareChase(size int) (func(int) error, func(), error) {
	const stride = cacheLine / 8
	lines := size / cacheLine
	order := rand.New(rand.NewPCG(1, uint64(size))).Perm(lines)
	ring := make([]uint64, size/8)
	for i, line := range order {
		ring[line*stride] = uint64(order[(i+1)%lines] * stride)
	}
	at := uint64(0)
	return func(n int) error {
		for range n {
			at = ring[at]
		}
		sink += at
		return nil
	}, nothing, nil
}
