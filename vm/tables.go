package vm

import (
	"errors"
	"fmt"

	"github.com/gureum/gureum/devices"
	"github.com/gureum/gureum/guest/acpi"
	"github.com/gureum/gureum/guest/boot"
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/guest/mptable"
)

// placedTables says where the descriptions of the machine lie in guest memory.
type placedTables struct {
	rsdp     uint64
	reserved []boot.Range // beside what the layout of package memory reserves
}

// writeTables describes the machine to the guest: by ACPI, and by an MP table for
// kernels that do not know ACPI.
func writeTables(m *memory.Memory, cpus int, devices virtioLayout) (placedTables, error) {
	config := acpiConfig(cpus)
	devices.describe(&config)
	a, err := acpi.Build(config)
	if err != nil {
		return placedTables{}, fmt.Errorf("build ACPI tables: %w", err)
	}
	if err := a.Write(m); err != nil {
		return placedTables{}, fmt.Errorf("write ACPI tables: %w", err)
	}
	placed := placedTables{rsdp: a.RSDP, reserved: devices.reserved()}
	mp, err := mptable.Build(mptable.Config{
		EBDA: memory.EBDA, EBDAEnd: memory.EBDAEnd,
		CPUs: cpus, LocalAPIC: memory.LocalAPIC, IOAPIC: memory.IOAPIC,
	})
	if errors.Is(err, mptable.ErrTooManyCPUs) {
		// Kernels that run on so many CPUs use ACPI.
		return placed, nil
	}
	if err != nil {
		return placedTables{}, fmt.Errorf("build the MP table: %w", err)
	}
	placed.reserved = append(placed.reserved, boot.Range{Start: mp.Start, End: mp.End})
	if err := mp.Write(m); err != nil {
		return placedTables{}, fmt.Errorf("write the MP table: %w", err)
	}
	return placed, nil
}

// acpiConfig describes the platform that newPlatform makes.
func acpiConfig(cpus int) acpi.Config {
	return acpi.Config{
		Base: memory.ACPITables, Limit: memory.ACPITablesEnd,
		CPUs:      cpus,
		LocalAPIC: memory.LocalAPIC, IOAPIC: memory.IOAPIC,
		ResetPort: portReset, ResetValue: devices.ACPIResetValue,
		SleepControl: portSleepControl,
		SleepStatus:  portSleepStatus,
		GED:          acpi.GED{Port: portGED, GSI: gsiACPI, PowerButton: 0},
		Serial:       []acpi.Serial{{Port: portCOM1, GSI: gsiCOM1}, {Port: portCOM2, GSI: gsiCOM2}},
		RTC:          acpi.RTC{Port: portRTC, GSI: gsiRTC, Century: devices.RTCCentury},
		Keyboard:     acpi.Keyboard{Data: portKeyboardData, Command: portKeyboardCommand, GSI: gsiKeyboard},
		PVPanic:      portPVPanic,
	}
}
