package agent

import (
	"errors"
	"io"
	"sync"
)

// outbox owns the writing end of a stream: one goroutine writes whole frames,
// control frames before data, so that a control frame waits for at most one
// data frame.
type outbox struct {
	w       io.Writer
	ctl     chan []byte
	data    chan []byte
	written chan struct{} // answers each data frame
	stop    chan struct{} // closed by close
	dead    chan struct{} // closed when run has returned
	once    sync.Once
	err     error // set before dead is closed
}

var errStopped = errors.New("agent connection closed")

func newOutbox(w io.Writer) *outbox {
	o := &outbox{
		w:       w,
		ctl:     make(chan []byte, 16),
		data:    make(chan []byte),
		written: make(chan struct{}),
		stop:    make(chan struct{}),
		dead:    make(chan struct{}),
	}
	go o.run()
	return o
}

func (o *outbox) run() {
	defer close(o.dead)
	for {
		select {
		case b := <-o.ctl:
			if !o.write(b) {
				return
			}
			continue
		default:
		}
		select {
		case b := <-o.ctl:
			if !o.write(b) {
				return
			}
		case b := <-o.data:
			if !o.write(b) {
				return
			}
			select {
			case o.written <- struct{}{}:
			case <-o.stop:
			}
		case <-o.stop:
			o.err = errStopped
			return
		}
	}
}

func (o *outbox) write(b []byte) bool {
	_, err := o.w.Write(b)
	if err != nil {
		o.err = err
	}
	return err == nil
}

// control queues a frame that must not wait behind data. It takes b over.
// It waits while the queue is full, until giveUp (which may be nil) is closed.
func (o *outbox) control(b []byte, giveUp <-chan struct{}) error {
	select {
	case o.ctl <- b:
		return nil
	case <-o.stop:
		return errStopped
	case <-o.dead:
		return o.err
	case <-giveUp:
		return errStopped
	}
}

// post is control for a sender with nothing to do about a failure: the stream has
// ended then, which the reader sees and handles.
func (o *outbox) post(b []byte, giveUp <-chan struct{}) { _ = o.control(b, giveUp) }

// last is bulk in the same way.
func (o *outbox) last(b []byte) { _ = o.bulk(b) }

// bulk writes a frame and returns when b may be used again.
func (o *outbox) bulk(b []byte) error {
	select {
	case o.data <- b:
	case <-o.stop:
		return errStopped
	case <-o.dead:
		return o.err
	}
	select {
	case <-o.written:
		return nil
	case <-o.dead:
		if o.err == nil {
			return errStopped
		}
		return o.err
	}
}

// close stops the writer after the frame that it is writing, and waits for it.
// A Write that blocks for ever must be ended by closing the stream first.
func (o *outbox) close() {
	o.once.Do(func() { close(o.stop) })
	<-o.dead
}
