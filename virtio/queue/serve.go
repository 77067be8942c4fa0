package queue

// flushEvery is how many chains Drain handles before it looks whether the driver
// waits for an interrupt: a driver that never lets the queue run empty would wait
// for ever.
const flushEvery = 32

// Drain handles all chains that are there, with notifications switched off in
// the meantime, and raises an interrupt if one is due. handle returns the number
// of bytes it wrote; an error breaks the queue.
func (q *Queue) Drain(c *Chain, handle func(*Chain) (uint32, error)) error {
	for {
		q.DisableKicks()
		for n := 1; ; n++ {
			ok, err := q.Next(c)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			written, err := handle(c)
			if err != nil {
				return q.Fail(err)
			}
			q.Put(c.Head, written)
			if n%flushEvery == 0 {
				q.Flush()
			}
		}
		q.Flush()
		if !q.EnableKicks() {
			return nil
		}
	}
}

// Serve waits for requests and handles them until Stop: the loop of a device
// that answers at once. After an error the queue stays silent until then.
func (q *Queue) Serve(handle func(*Chain) (uint32, error)) {
	var c Chain
	// Requests may have come before the queue had an owner.
	_ = q.Drain(&c, handle)
	for q.Wait() == nil {
		_ = q.Drain(&c, handle)
	}
}
