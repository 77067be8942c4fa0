package pci

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
)

// Window is the guest-physical memory that BARs may lie in, First to Last, both
// included and below 4 GiB.
type Window struct{ First, Last uint64 }

// Host is a host bridge with its bus. Functions are added by one goroutine before
// the first vCPU runs.
type Host struct {
	window Window
	next   uint64 // where the next BAR is put at first
	table  atomic.Pointer[decodeTable]

	mu        sync.Mutex // configuration space of all functions, and what follows
	functions [maxDevices]*Function
	count     int
	address   uint32 // the register at port 0xCF8
}

// The host bridge's identity: that of a bridge nobody has a driver for or quirks.
const (
	bridgeVendor = 0x1B36 // Red Hat, which gives IDs to virtual devices
	bridgeDevice = 0x0008 // generic PCIe host bridge
	bridgeClass  = 0x060000
)

// NewHost makes a host bridge; it is device 0 on its bus.
func NewHost(w Window) (*Host, error) {
	if w.First > w.Last || w.Last >= 1<<32 {
		return nil, fmt.Errorf("PCI window %#x to %#x: want one below 4 GiB", w.First, w.Last)
	}
	bridge, err := NewFunction(Identity{
		VendorID: bridgeVendor, DeviceID: bridgeDevice, Class: bridgeClass,
	}, [maxBARs]BAR{}, nil)
	if err != nil {
		return nil, err
	}
	h := &Host{window: w, next: w.First, count: 1}
	h.functions[0] = bridge
	h.table.Store(&decodeTable{})
	return h, nil
}

// Add puts a function on the bus under the next device number, which it returns,
// and gives its BARs addresses, as firmware would. They answer once the guest sets
// the memory bit of the command register.
func (h *Host) Add(f *Function) (device int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count == maxDevices {
		return 0, fmt.Errorf("PCI bus is full: it has room for %d devices", MaxFunctions)
	}
	next := h.next
	for i, b := range f.bars {
		if b.Size == 0 {
			continue
		}
		size := uint64(b.Size)
		at := (next + size - 1) &^ (size - 1)
		if at+size-1 > h.window.Last {
			return 0, fmt.Errorf("PCI BAR %d of %d bytes: no room in the window %#x to %#x", i, size, h.window.First, h.window.Last)
		}
		f.config.put32(regBAR0+4*i, uint32(at))
		next = at + size
	}
	h.next = next
	f.device = h.count
	h.functions[h.count] = f
	h.count++
	return f.device, nil
}

// configRead reads a function's configuration space; where there is no function all
// bits are ones (section 6.1).
func (h *Host) configRead(bus, device, function, offset int, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.function(bus, device, function); f != nil {
		f.read(offset, data)
		return
	}
	for i := range data {
		data[i] = 0xFF
	}
}

func (h *Host) configWrite(bus, device, function, offset int, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.function(bus, device, function)
	if f != nil && f.write(offset, data) {
		h.remap()
	}
}

func (h *Host) function(bus, device, function int) *Function {
	if bus != 0 || function != 0 {
		return nil
	}
	return h.functions[device]
}

// Ports is the configuration mechanism of ports 0xCF8 to 0xCFF (section
// 3.2.2.3.2), a devices.Device.
func (h *Host) Ports() *Ports { return &Ports{h} }

// Ports implements devices.Device, see Host.Ports.
type Ports struct{ h *Host }

// Name is the device's name in messages.
func (p *Ports) Name() string { return "pci-ports" }

// Read implements devices.Device.
func (p *Ports) Read(offset uint64, data []byte) {
	if offset >= portData {
		if reg, ok := p.target(offset, len(data)); ok {
			p.h.configRead(reg.bus, reg.device, reg.function, reg.offset, data)
			return
		}
		for i := range data {
			data[i] = 0xFF
		}
		return
	}
	clear(data)
	if offset == 0 && len(data) == 4 {
		p.h.mu.Lock()
		binary.LittleEndian.PutUint32(data, p.h.address)
		p.h.mu.Unlock()
	}
}

// Write implements devices.Device. The address register takes 32 bits at a time
// only, as other accesses there are not its own.
func (p *Ports) Write(offset uint64, data []byte) {
	if offset >= portData {
		if reg, ok := p.target(offset, len(data)); ok {
			p.h.configWrite(reg.bus, reg.device, reg.function, reg.offset, data)
		}
		return
	}
	if offset == 0 && len(data) == 4 {
		p.h.mu.Lock()
		p.h.address = binary.LittleEndian.Uint32(data) & (addressEnable | 0x00FF_FFFC)
		p.h.mu.Unlock()
	}
}

// place is a byte of configuration space.
type place struct{ bus, device, function, offset int }

// target is what an access to the data port reaches.
func (p *Ports) target(offset uint64, size int) (place, bool) {
	p.h.mu.Lock()
	a := p.h.address
	p.h.mu.Unlock()
	low := int(offset - portData)
	if a&addressEnable == 0 || low+size > 4 {
		return place{}, false
	}
	return place{
		bus: int(a >> 16 & 0xFF), device: int(a >> 11 & 0x1F), function: int(a >> 8 & 7), offset: int(a&0xFC) + low,
	}, true
}

// ECAM is the configuration space of all buses in memory, a devices.Device with
// ECAMBusSize bytes for each bus.
func (h *Host) ECAM() *ECAM { return &ECAM{h} }

// ECAM implements devices.Device, see Host.ECAM.
type ECAM struct{ h *Host }

// Name is the device's name in messages.
func (e *ECAM) Name() string { return "pci-ecam" }

// Read implements devices.Device.
func (e *ECAM) Read(offset uint64, data []byte) {
	if r, ok := ecamPlace(offset, len(data)); ok {
		e.h.configRead(r.bus, r.device, r.function, r.offset, data)
		return
	}
	for i := range data {
		data[i] = 0xFF
	}
}

// Write implements devices.Device.
func (e *ECAM) Write(offset uint64, data []byte) {
	if r, ok := ecamPlace(offset, len(data)); ok {
		e.h.configWrite(r.bus, r.device, r.function, r.offset, data)
	}
}

// ecamPlace refuses accesses that cross a function's end.
func ecamPlace(offset uint64, size int) (place, bool) {
	r := place{
		bus: int(offset >> 20 & 0xFF), device: int(offset >> 15 & 0x1F), function: int(offset >> 12 & 7),
		offset: int(offset & (extendedSize - 1)),
	}
	return r, r.offset+size <= extendedSize
}
