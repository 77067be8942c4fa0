package net

import "github.com/gureum/gureum/virtio/queue"

// transmitter owns a transmit queue. A frame goes to the backend straight out of
// the guest's memory, behind a copy of its header that was checked.
type transmitter struct {
	*owner
	chain   queue.Chain
	pending bool // chain holds a frame that is still to be sent
	asked   bool // the driver was asked to kick
	done    int  // frames given back since the last interrupt
	header  [HeaderSize]byte
	iov     [][]byte
}

// flushEvery is the number of frames after which the driver hears of those that
// were sent, though more are waiting: its queue must not run dry.
const flushEvery = 32

func newTransmitter(o *owner) *transmitter {
	return &transmitter{
		owner: o,
		asked: true,
		iov:   make([][]byte, 0, 32),
	}
}

func (tx *transmitter) run() { tx.serve(tx.step) }

// step sends one frame.
func (tx *transmitter) step() (park bool) {
	if tx.stopped.Load() {
		return true
	}
	if !tx.pending {
		ok, err := tx.q.Next(&tx.chain)
		if err != nil {
			return true // stopped, or broken until it is
		}
		if !ok {
			tx.flush()
			tx.asked = true
			return !tx.q.EnableKicks()
		}
		if tx.asked {
			tx.asked = false
			tx.q.DisableKicks()
		}
		if err := tx.prepare(); err != nil {
			tx.d.stats.txErrors.Add(1)
			tx.warn(warnHeader, "frame of the guest is not sent", tx.q, err)
			tx.finish()
			return false
		}
	}
	if !tx.open() {
		tx.d.stats.txDropped.Add(1)
		tx.finish()
		return false
	}
	if wait := tx.d.txLimit.take(int(tx.chain.ReadLen) - HeaderSize); wait > 0 {
		tx.flush()
		tx.pause(wait)
		return true
	}
	return tx.send()
}

// prepare checks the frame in chain and lays it out for the backend.
func (tx *transmitter) prepare() error {
	size := tx.chain.ReadLen
	switch {
	case size < minFrame:
		return errShort
	case size > maxFrame || len(tx.chain.Readable) > maxParts:
		return errLong
	}
	var guest [HeaderSize]byte
	tx.chain.Read(guest[:])
	h, err := parseHeader(&guest, size-HeaderSize, tx.act.Features)
	if err != nil {
		return err
	}
	h.put(&tx.header)
	tx.iov = append(tx.iov[:0], tx.header[:])
	skip := HeaderSize
	for _, b := range tx.chain.Readable {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		tx.iov = append(tx.iov, b[skip:])
		skip = 0
	}
	tx.pending = true
	return nil
}

// send hands the frame over. Without room it waits: the guest's queue fills up,
// and nothing is lost.
func (tx *transmitter) send() (park bool) {
	n, err := tx.d.cfg.Backend.Writev(tx.pair, tx.iov, false)
	if n == 0 && err == nil {
		tx.flush()
		n, err = tx.d.cfg.Backend.Writev(tx.pair, tx.iov, true)
	}
	if err != nil {
		tx.d.stats.txDropped.Add(1)
		tx.warn(warnSend, "send to the host's network", tx.q, err)
	} else if n == 0 {
		return false // woken: look whether the link is up
	}
	tx.finish()
	return false
}

// finish gives the chain back.
func (tx *transmitter) finish() {
	tx.pending = false
	tx.q.Put(tx.chain.Head, 0)
	if tx.done++; tx.done >= flushEvery {
		tx.flush()
	}
}

func (tx *transmitter) flush() {
	tx.done = 0
	tx.q.Flush()
}
