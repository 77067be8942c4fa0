package vm

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/gureum/gureum/devices"
	"github.com/gureum/gureum/kvm"
)

// The platform's ports and interrupts, where PCs have them. The tables for the
// guest are made from the same names.
const (
	portCOM1            = 0x3F8
	portCOM2            = 0x2F8
	portKeyboardData    = 0x60
	portKeyboardCommand = 0x64
	portRTC             = 0x70
	portPOST            = 0x80
	portFastReset       = 0x92
	portPVPanic         = 0x505

	// The registers of devices.ACPI, from portACPI on.
	portACPI         = 0x600
	portSleepControl = portACPI
	portSleepStatus  = portACPI + 1
	portReset        = portACPI + 2
	portGED          = portACPI + 4

	gsiKeyboard = 1
	gsiCOM2     = 3
	gsiCOM1     = 4
	gsiRTC      = 8
	gsiACPI     = 9
)

// consoleTail is how much of the console's end a machine keeps, in bytes.
const consoleTail = 16 << 10

// drainTimeout bounds how long the end of a machine waits for whoever reads its
// output.
const drainTimeout = 5 * time.Second

// platform is what every machine has beside CPUs and memory.
type platform struct {
	pio, mmio *devices.Bus
	console   *devices.Serial
	agent     *devices.Serial
	agentPort *serialPort
	// consolePort is used for writing only; what the guest writes goes elsewhere.
	consolePort *serialPort
	keyboard    *devices.I8042
	acpi        *devices.ACPI
	rtc         *devices.RTC
	irqs        []*kvm.EventFD
	vm          *kvm.VM
}

// newPlatform makes the devices and puts them on the buses.
func newPlatform(vm *kvm.VM, console io.Writer, onEvent devices.EventFunc) (*platform, error) {
	p := &platform{vm: vm, pio: devices.NewBus(devices.KindPIO), mmio: devices.NewBus(devices.KindMMIO)}
	if err := p.populate(console, onEvent); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *platform) populate(console io.Writer, onEvent devices.EventFunc) error {
	lines := map[uint32]devices.Interrupt{}
	for _, gsi := range []uint32{gsiCOM1, gsiCOM2, gsiKeyboard, gsiRTC, gsiACPI} {
		line, err := p.interrupt(gsi)
		if err != nil {
			return err
		}
		lines[gsi] = line
	}
	p.console = devices.NewSerial(lines[gsiCOM1], console)
	p.agentPort = newSerialPort()
	p.agent = devices.NewSerial(lines[gsiCOM2], p.agentPort.guestSide())
	p.agentPort.connect(p.agent.Input())
	p.consolePort = newSerialPort()
	p.consolePort.connect(p.console.Input())
	p.keyboard = devices.NewI8042(onEvent, lines[gsiKeyboard])
	p.acpi = devices.NewACPI(onEvent, lines[gsiACPI])
	p.rtc = devices.NewRTC(time.Now, lines[gsiRTC])
	return p.attach(onEvent)
}

// attach puts the devices at their ports.
func (p *platform) attach(onEvent devices.EventFunc) error {
	parts := []struct {
		base, size uint64
		device     devices.Device
	}{
		{portCOM1, devices.SerialSize, p.console},
		{portCOM2, devices.SerialSize, p.agent},
		{portKeyboardData, 1, p.keyboard.Data()},
		{portKeyboardCommand, 1, p.keyboard.Command()},
		{portRTC, devices.RTCSize, p.rtc},
		{portFastReset, 1, devices.NewPort92(onEvent)},
		{portPOST, 1, devices.NewPOST()},
		{portACPI, devices.ACPISize, p.acpi},
		{portPVPanic, devices.PVPanicSize, devices.NewPVPanic(onEvent)},
	}
	for _, d := range parts {
		if err := p.pio.Register(d.base, d.size, d.device); err != nil {
			return err
		}
	}
	return nil
}

// seal ends the building of the buses, once all devices are on them.
func (p *platform) seal() {
	p.pio.Seal()
	p.mmio.Seal()
}

// interrupt makes an edge-triggered interrupt that KVM injects without this
// process.
func (p *platform) interrupt(gsi uint32) (devices.Interrupt, error) {
	event, err := kvm.NewEventFD()
	if err != nil {
		return nil, err
	}
	p.irqs = append(p.irqs, event)
	if err := p.vm.IRQFD(event, gsi); err != nil {
		return nil, err
	}
	return devices.InterruptFunc(event.Signal), nil
}

// drain lets everything that the guest wrote come out, and ends the agent port.
func (p *platform) drain(ctx context.Context) {
	_ = p.console.Flush(ctx)
	_ = p.agent.Flush(ctx)
	p.agentPort.hangUp()
	p.consolePort.hangUp()
}

// Close frees the devices. It may be called on a half-built platform.
func (p *platform) Close() error {
	var errs []error
	ports := []*serialPort{p.agentPort, p.consolePort}
	for _, port := range ports {
		if port != nil {
			port.hangUp()
		}
	}
	for _, s := range []*devices.Serial{p.console, p.agent} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	for _, port := range ports {
		if port != nil {
			port.wait()
		}
	}
	if p.rtc != nil {
		p.rtc.Close()
	}
	for _, e := range p.irqs {
		errs = append(errs, e.Close())
	}
	return errors.Join(errs...)
}
