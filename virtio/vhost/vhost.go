// Package vhost hands virtqueues over to the kernel (linux/vhost.h): a thread of
// the kernel then takes requests out of the guest's memory and answers them,
// woken by the guest's kicks and raising its interrupts with no help of this
// process.
//
// Devices whose work the kernel can do (virtio/net, virtio/vsock) open a [Device]
// when the driver starts them and close it when it resets them. What is special
// to /dev/vhost-net or /dev/vhost-vsock is in [Device.SetBackend] and with them.
//
// The kernel checks each address that the guest names against the memory table,
// so a guest reaches its own RAM and nothing else.
package vhost

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/virtio/queue"
)

// Requests of linux/vhost.h.
const (
	reqGetFeatures  = 0x8008af00
	reqSetFeatures  = 0x4008af00
	reqSetOwner     = 0xaf01
	reqSetMemTable  = 0x4008af03
	reqSetVringNum  = 0x4008af10
	reqSetVringAddr = 0x4028af11
	reqSetVringBase = 0x4008af12
	reqGetVringBase = 0xc008af12
	reqSetVringKick = 0x4008af20
	reqSetVringCall = 0x4008af21
	reqSetVringErr  = 0x4008af22
	reqSetBackend   = 0x4008af30 // VHOST_NET_SET_BACKEND
)

// maxRegions is the number of memory regions that the kernel takes by default.
const maxRegions = 64

// region is struct vhost_memory_region.
type region struct {
	gpa, size, host uint64
	_               uint64 // flags_padding
}

// memoryTable is struct vhost_memory.
type memoryTable struct {
	count   uint32
	_       uint32
	regions [maxRegions]region
}

// vringState is struct vhost_vring_state, and struct vhost_vring_file with a
// descriptor for the number.
type vringState struct {
	index uint32
	num   int32
}

// vringAddr is struct vhost_vring_addr.
type vringAddr struct {
	index             uint32
	_                 uint32 // flags
	desc, used, avail uint64
	_                 uint64 // log_guest_addr
}

// Device is an open vhost device of the kernel. Its methods are for one goroutine
// at a time.
type Device struct {
	name string
	fd   int
	held bool // goes back to where Hold put it
}

// Open opens a device, such as /dev/vhost-net, for this process.
func Open(path string) (*Device, error) {
	fd, held := take(path)
	if !held {
		var err error
		if fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
	}
	d := &Device{name: path, fd: fd, held: held}
	if err := d.ioctl("VHOST_SET_OWNER", reqSetOwner, 0); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// FD is the bare descriptor, for requests that only one kind of device has.
func (d *Device) FD() int { return d.fd }

func (d *Device) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", d.name, what, err)
}

// Features are the feature bits that the kernel offers, some of its own among
// those of virtio.
func (d *Device) Features() (uint64, error) {
	var f uint64
	err := ioctlPtr(d.fd, reqGetFeatures, &f)
	return f, d.fail("VHOST_GET_FEATURES", err)
}

// SetFeatures tells the kernel what was negotiated. Bits that it did not offer
// are an error.
func (d *Device) SetFeatures(f uint64) error {
	return d.fail("VHOST_SET_FEATURES", ioctlPtr(d.fd, reqSetFeatures, &f))
}

// SetMemory tells the kernel where the guest's RAM is.
func (d *Device) SetMemory(m *memory.Memory) error {
	regions := m.Regions()
	if len(regions) > maxRegions {
		return d.fail("VHOST_SET_MEM_TABLE", fmt.Errorf("%d regions of memory: at most %d are possible", len(regions), maxRegions))
	}
	t := memoryTable{count: uint32(len(regions))}
	for i, r := range regions {
		t.regions[i] = region{gpa: r.GPA, size: r.Size, host: uint64(r.Host)}
	}
	return d.fail("VHOST_SET_MEM_TABLE", ioctlPtr(d.fd, reqSetMemTable, &t))
}

// SetRing gives the kernel the ring of q, which nobody else may work on from then
// on, as ring number index. call is the descriptor of an eventfd that is signalled
// when the driver is to be interrupted, broken of one that is when it breaks a rule.
func (d *Device) SetRing(index int, q *queue.Queue, m *memory.Memory, call, broken int) error {
	cfg := q.Config()
	if bits.OnesCount16(cfg.Size) != 1 {
		return d.fail("ring", fmt.Errorf("size %d is not a power of two", cfg.Size))
	}
	addr := vringAddr{index: uint32(index)}
	for _, p := range []struct {
		to  *uint64
		gpa uint64
	}{{&addr.desc, cfg.Desc}, {&addr.avail, cfg.Driver}, {&addr.used, cfg.Device}} {
		host, err := hostAddress(m, p.gpa)
		if err != nil {
			return d.fail("ring", err)
		}
		*p.to = host
	}
	if err := d.setState("VHOST_SET_VRING_NUM", reqSetVringNum, index, int(cfg.Size)); err != nil {
		return err
	}
	if err := d.setState("VHOST_SET_VRING_BASE", reqSetVringBase, index, int(cfg.Start.NextAvail)); err != nil {
		return err
	}
	if err := d.fail("VHOST_SET_VRING_ADDR", ioctlPtr(d.fd, reqSetVringAddr, &addr)); err != nil {
		return err
	}
	if err := d.setState("VHOST_SET_VRING_ERR", reqSetVringErr, index, broken); err != nil {
		return err
	}
	if err := d.setState("VHOST_SET_VRING_CALL", reqSetVringCall, index, call); err != nil {
		return err
	}
	return d.setState("VHOST_SET_VRING_KICK", reqSetVringKick, index, cfg.Kick.FD())
}

// hostAddress is where a GPA lies in this process.
func hostAddress(m *memory.Memory, gpa uint64) (uint64, error) {
	for _, r := range m.Regions() {
		if gpa >= r.GPA && gpa-r.GPA < r.Size {
			return uint64(r.Host) + gpa - r.GPA, nil
		}
	}
	return 0, &memory.AccessError{GPA: gpa, Len: 1}
}

// SetCall changes the eventfd of a ring's interrupts.
func (d *Device) SetCall(index, call int) error {
	return d.setState("VHOST_SET_VRING_CALL", reqSetVringCall, index, call)
}

// SetBackend gives ring index of /dev/vhost-net the descriptor of a tap, upon
// which the kernel begins to work; -1 takes it away, and when that returns the
// kernel has done with the ring.
func (d *Device) SetBackend(index, fd int) error {
	return d.setState("VHOST_NET_SET_BACKEND", reqSetBackend, index, fd)
}

// Base is the index of the ring's next available entry, the ring being stopped.
func (d *Device) Base(index int) (uint16, error) {
	s := vringState{index: uint32(index)}
	err := ioctlPtr(d.fd, reqGetVringBase, &s)
	return uint16(s.num), d.fail("VHOST_GET_VRING_BASE", err)
}

func (d *Device) setState(what string, req uintptr, index, num int) error {
	s := vringState{index: uint32(index), num: int32(num)}
	return d.fail(what, ioctlPtr(d.fd, req, &s))
}

func (d *Device) ioctl(what string, req uintptr, arg int) error {
	return d.fail(what, unix.IoctlSetInt(d.fd, uint(req), arg))
}

// Close ends all that the kernel does for this device.
func (d *Device) Close() error {
	if d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd = -1
	if d.held && unix.IoctlSetInt(fd, reqResetOwner, 0) == nil {
		give(d.name, fd)
		return nil
	}
	err := unix.Close(fd)
	return d.fail("close", err)
}
