package pmem

import (
	"encoding/binary"
	"errors"

	"github.com/gureum/gureum/virtio/queue"
)

const (
	// requestFlush is VIRTIO_PMEM_REQ_TYPE_FLUSH, the only type (section 5.19.6).
	requestFlush = 0
	requestSize  = 4
	answerSize   = 4
	// Answers: 0, or all ones. Linux takes any that is not 0 for an I/O error.
	answerOK     = 0
	answerFailed = 0xFFFF_FFFF
	// maxBatch is how many requests one synchronisation answers.
	maxBatch = queueSize
)

var errNoRoom = errors.New("a flush request without room for an answer")

// request is one chain, understood. A flush with room for the answer is good.
type request struct {
	good   bool
	head   uint16
	answer []byte // where it goes if it is in one piece, as with every driver
}

// parse reads a chain. It gives false if no answer can be written.
func parse(c *queue.Chain) (request, bool) {
	if c.WriteLen < answerSize || len(c.Writable[0]) < answerSize {
		return request{}, false
	}
	var b [requestSize]byte
	good := c.Read(b[:]) == len(b) && binary.LittleEndian.Uint32(b[:]) == requestFlush
	return request{good: good, head: c.Head, answer: c.Writable[0][:answerSize]}, true
}

// flusher owns the queue. It answers all requests that are there with one
// synchronisation of the file, begun after the last of them was made.
type flusher struct {
	queue *queue.Queue
	sync  func() error
	chain queue.Chain
	batch [maxBatch]request
}

func (f *flusher) serve() {
	for {
		f.queue.DisableKicks()
		for f.step() {
		}
		if f.queue.EnableKicks() && f.step() {
			continue
		}
		if f.queue.Wait() != nil {
			return
		}
	}
}

// step answers one batch. It gives false when there is nothing to do.
func (f *flusher) step() bool {
	n, broken := f.collect()
	if n == 0 {
		return false
	}
	result := uint32(answerOK)
	if f.sync() != nil {
		result = answerFailed
	}
	for _, r := range f.batch[:n] {
		answer := result
		if !r.good {
			answer = answerFailed
		}
		binary.LittleEndian.PutUint32(r.answer, answer)
		f.queue.Put(r.head, answerSize)
	}
	f.queue.Flush()
	return !broken
}

// collect takes the requests that are there.
func (f *flusher) collect() (n int, broken bool) {
	for n < len(f.batch) {
		ok, err := f.queue.Next(&f.chain)
		if !ok || err != nil {
			return n, err != nil
		}
		r, ok := parse(&f.chain)
		if !ok {
			_ = f.queue.Fail(errNoRoom)
			return n, true
		}
		f.batch[n] = r
		n++
	}
	return n, false
}
