package vsock

import "github.com/gureum/gureum/virtio/queue"

// eventSize is the size of struct virtio_vsock_event, whose only defined content is
// zeros: VIRTIO_VSOCK_EVENT_TRANSPORT_RESET (section 5.10.6.7).
const eventSize = 4

// TransportReset ends all connections and has the driver know it, as the guest's
// other ends are gone: it goes on from a snapshot, or elsewhere.
func (d *Device) TransportReset() {
	d.hangUp()
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.run; r != nil && r.events != nil {
		r.moved.Store(true)
		r.events.Kick()
	}
}

// announce owns the queue of events. The event waits for a buffer of the driver's.
func (r *running) announce() {
	var c queue.Chain
	for {
		if r.moved.Load() {
			for {
				ok, err := r.events.Next(&c)
				if ok && err == nil {
					r.moved.Store(false)
					var event [eventSize]byte
					r.events.Put(c.Head, uint32(c.WriteAt(event[:], 0)))
					r.events.Flush()
					break
				}
				if err != nil || !r.events.EnableKicks() {
					break
				}
			}
		} else {
			r.events.DisableKicks()
		}
		if r.events.Wait() != nil {
			return
		}
	}
}
