package cpu

import (
	"errors"
	"math/bits"
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

// blockSize of the loads of bandwidth is larger than the caches of most CPUs.
const blockSize = 16 << 20

// overBlocks has some work done on blocks of memory until it was n bytes.
func overBlocks(work func(n int)) func(int) error {
	return func(n int) error {
		for n > 0 {
			piece := min(n, blockSize)
			work(piece)
			n -= piece
		}
		return nil
	}
}

// prepareRead adds up words, in four sums that do not wait for each other.
func prepareRead() (func(int) error, func(), error) {
	block := make([]uint64, blockSize/8)
	for i := range block {
		block[i] = uint64(i)
	}
	return overBlocks(func(n int) {
		var a, b, c, d uint64
		for words := block[:n/8]; len(words) >= 4; words = words[4:] {
			a += words[0]
			b += words[1]
			c += words[2]
			d += words[3]
		}
		sink += a + b + c + d
	}), nothing, nil
}

func prepareWrite() (func(int) error, func(), error) {
	block := make([]byte, blockSize)
	return overBlocks(func(n int) {
		clear(block[:n])
		sink += uint64(block[0])
	}), nothing, nil
}

func prepareCopy() (func(int) error, func(), error) {
	from, to := make([]byte, blockSize), make([]byte, blockSize)
	for i := range from {
		from[i] = byte(i)
	}
	return overBlocks(func(n int) {
		copy(to[:n], from)
		sink += uint64(to[1])
	}), nothing, nil
}

// cacheLine is that of x86-64, in bytes; a step of the chase is on another line than all others.
const (
	cacheLine = 64
	stride    = cacheLine / 8
)

// prepareChase makes a ring through all cache lines of a block, in an order that no prefetcher
// guesses. The size is a power of two.
func prepareChase(size int) (func(int) error, func(), error) {
	ring, free, err := words(size)
	if err != nil {
		return nil, nil, err
	}
	lines := uint64(size / cacheLine)
	for i := range lines {
		ring[scatter(i, lines)*stride] = scatter((i+1)%lines, lines) * stride
	}
	at := uint64(0)
	return func(n int) error {
		for range n {
			at = ring[at]
		}
		sink += at
		return nil
	}, free, nil
}

// scatter puts the numbers below a power of two into another order, each step of which can be
// undone, so that none comes twice: multiplications by odd numbers, and the upper half of the
// bits laid over the lower.
func scatter(i, count uint64) uint64 {
	half := bits.Len64(count-1) / 2
	i = i * 0x9e3779b97f4a7c15 % count
	i ^= i >> half
	i = i * 0xd6e8feb86659fd93 % count
	return i ^ i>>half
}
