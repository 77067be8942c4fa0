package service

import (
	"context"
	"sync"
)

// fair is a queue in which each client has a short line of its own, and all lines move
// by turns. The kernel's queue of a socket is one for all: whoever sends more than is
// answered would fill it, and take the others' place. So one goroutine does nothing but
// empty the socket into a fair queue, and drops what a client asks beyond its line.
type fair[K comparable, V any] struct {
	each, all int

	mu    sync.Mutex
	lines map[K][]V
	turn  []K // clients with something in line, the next one first
	total int
	more  chan struct{} // holds one token when there may be something
}

// newFair makes a queue for at most each of a client and all in all.
func newFair[K comparable, V any](each, all int) *fair[K, V] {
	return &fair[K, V]{each: each, all: all, lines: map[K][]V{}, more: make(chan struct{}, 1)}
}

// put adds to a client's line, unless that is full.
func (f *fair[K, V]) put(client K, v V) bool {
	f.mu.Lock()
	line := f.lines[client]
	ok := len(line) < f.each && f.total < f.all
	if ok {
		if len(line) == 0 {
			f.turn = append(f.turn, client)
		}
		f.lines[client] = append(line, v)
		f.total++
	}
	f.mu.Unlock()
	if ok {
		f.signal()
	}
	return ok
}

func (f *fair[K, V]) signal() {
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// byTurns has one goroutine answer what take gives, client by client, while this one goes
// on taking in. It returns when take fails, or the context is done, which is no error.
func (f *fair[K, V]) byTurns(ctx context.Context, take func() (client K, v V, wanted bool, err error), answer func(context.Context, V)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		for {
			v, ok := f.get(ctx)
			if !ok {
				return
			}
			answer(ctx, v)
		}
	})
	for {
		client, v, wanted, err := take()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if wanted {
			f.put(client, v)
		}
	}
}

// get waits for what is next; false is the end of the context.
func (f *fair[K, V]) get(ctx context.Context) (v V, ok bool) {
	for {
		if v, ok = f.next(); ok {
			return v, true
		}
		select {
		case <-ctx.Done():
			return v, false
		case <-f.more:
		}
	}
}

func (f *fair[K, V]) next() (v V, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total == 0 {
		return v, false
	}
	client := f.turn[0]
	f.turn = f.turn[1:]
	line := f.lines[client]
	v = line[0]
	f.total--
	if len(line) == 1 {
		delete(f.lines, client)
	} else {
		var none V
		line[0] = none
		f.lines[client] = line[1:]
		f.turn = append(f.turn, client)
	}
	return v, true
}
