package queue

// Used is a chain that goes back to the driver.
type Used struct {
	// Head is the chain's Head.
	Head uint16
	// Written is the number of bytes that the device wrote to the start of the
	// chain's writable part.
	Written uint32
}

// PutAll gives chains back as Put does, but the driver sees all of them at once:
// a frame that fills several receive buffers must not be seen in part (section
// 5.1.6.4). It is also the cheaper way for a device that finishes several.
func (q *Queue) PutAll(chains []Used) {
	if q.quiet() {
		return
	}
	next := q.nextUsed
	for _, u := range chains {
		if !q.write(next, u.Head, u.Written) {
			return
		}
		next++
	}
	q.publish(next)
}
