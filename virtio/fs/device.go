package fs

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

const (
	// MaxTag is the longest tag, in bytes (section 5.11.4).
	MaxTag = 36
	// Workers is how many requests are worked on at a time. Each may wait for the
	// host's disk.
	Workers = 4

	queueUrgent   = 0 // "hiprio": what must not wait
	queueRequests = 1
	urgentSize    = 64
	requestSize   = 512 // Linux's longest request has a descriptor a page
)

// Config describes a device.
type Config struct {
	// Dir is the folder to share.
	Dir string
	// Tag is the name by which the guest mounts it.
	Tag string
	// ReadOnly keeps the guest from changing anything.
	ReadOnly bool
	// Owner renames one user and one group for the guest.
	Owner Owner
}

// Owner is a user and a group of files as this process sees them, and as the guest does:
// a mount may map them to those of this process (mount_setattr(2), MOUNT_ATTR_IDMAP). The
// zero value renames nobody.
type Owner struct {
	UID, GID     uint32
	AsUID, AsGID uint32
}

// shown is what the guest sees of an owner.
func (o Owner) shown(uid, gid uint32) (asUID, asGID uint32) {
	if uid == o.UID {
		uid = o.AsUID
	}
	if gid == o.GID {
		gid = o.AsGID
	}
	return uid, gid
}

// meant is who the guest means by an owner.
func (o Owner) meant(asUID, asGID int) (uid, gid int) {
	uid, gid = asUID, asGID
	if asUID == int(o.AsUID) {
		uid = int(o.UID)
	}
	if asGID == int(o.AsGID) {
		gid = int(o.GID)
	}
	return uid, gid
}

// Device is a shared folder. It implements virtio.Device.
type Device struct {
	tag    [MaxTag]byte
	server *server
	queues []*queue.Queue
	work   sync.WaitGroup
}

// New opens the folder.
func New(c Config) (*Device, error) {
	if err := CheckTag(c.Tag); err != nil {
		return nil, err
	}
	s, err := newServer(c)
	if err != nil {
		return nil, err
	}
	d := &Device{server: s}
	copy(d.tag[:], c.Tag)
	return d, nil
}

// CheckTag tells what is wrong with a tag. It must do as a word of the kernel command
// line and as the name of a folder.
func CheckTag(tag string) error {
	good := tag != "" && len(tag) <= MaxTag && tag[0] != '.'
	for _, c := range tag {
		good = good && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c))
	}
	if !good {
		return fmt.Errorf("tag %q: give 1 to %d letters, digits, hyphens, underscores and inner dots", tag, MaxTag)
	}
	return nil
}

// Type implements virtio.Device.
func (d *Device) Type() uint32 { return virtio.TypeFS }

// Features implements virtio.Device: notifications are not offered.
func (d *Device) Features() uint64 { return 0 }

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 { return []uint16{urgentSize, requestSize} }

// ReadConfig implements virtio.Device: the tag and the number of request queues.
func (d *Device) ReadConfig(offset uint64, data []byte) {
	var c [MaxTag + 4]byte
	copy(c[:], d.tag[:])
	c[MaxTag] = 1
	clear(data)
	if offset < uint64(len(c)) {
		copy(data, c[offset:])
	}
}

// WriteConfig implements virtio.Device: nothing can be written.
func (d *Device) WriteConfig(uint64, []byte) {}

// Activate implements virtio.Device.
func (d *Device) Activate(a virtio.Activation) error {
	d.queues = a.Queues
	if q := a.Queues[queueUrgent]; q != nil {
		w := newWorker(d.server)
		d.work.Go(func() { q.Serve(w.handle) })
	}
	if q := a.Queues[queueRequests]; q != nil {
		p := &pool{queue: q}
		for range Workers {
			w := newWorker(d.server)
			d.work.Go(func() { p.serve(w) })
		}
	}
	return nil
}

// Reset implements virtio.Device. It waits for requests that are with the host.
func (d *Device) Reset() {
	for _, q := range d.queues {
		if q != nil {
			q.Stop()
		}
	}
	d.work.Wait()
	d.queues = nil
	d.server.forgetAll()
}

// Close implements virtio.Device.
func (d *Device) Close() error { return d.server.close() }

// pool lets several workers work on one queue. One of them at a time is in front: it
// waits for the driver, takes a request and works on it itself, while the next one
// moves up. So no request is handed from one goroutine to another.
type pool struct {
	front sync.Mutex // held by the worker in front

	mu    sync.Mutex // guards the queue, but not its Wait
	queue *queue.Queue
}

func (p *pool) serve(w *worker) {
	var c queue.Chain
	for {
		p.front.Lock()
		err := p.next(&c)
		p.front.Unlock()
		if err != nil {
			return
		}
		n, err := w.handle(&c)
		p.mu.Lock()
		if err != nil {
			_ = p.queue.Fail(err)
		} else {
			p.queue.Put(c.Head, n)
			p.queue.Flush()
		}
		p.mu.Unlock()
	}
}

// next takes a request, and waits for one if need be. It fails once the queue has
// been stopped.
func (p *pool) next(c *queue.Chain) error {
	for {
		p.mu.Lock()
		ok, err := p.queue.Next(c)
		more := !ok && err == nil && p.queue.EnableKicks()
		p.mu.Unlock()
		switch {
		case ok:
			return nil
		case errors.Is(err, queue.ErrStopped):
			return err
		case more:
			continue
		}
		// A broken queue has nothing more until it is stopped.
		if err := p.queue.Wait(); err != nil {
			return err
		}
	}
}
