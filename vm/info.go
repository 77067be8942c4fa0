package vm

import "github.com/gureum/gureum/kvm"

// Info describes a machine to people.
type Info struct {
	Name   string
	CPUs   int
	Memory uint64 // bytes
	Kernel string // path, or the embedded kernel's release
}

// Info describes the machine.
func (m *Machine) Info() Info {
	return Info{Name: m.config.Name, CPUs: m.config.CPUs, Memory: m.config.Memory, Kernel: m.image.name}
}

// Exits counts the exits of all virtual CPUs to this process, by reason.
func (m *Machine) Exits() map[string]uint64 {
	total := map[string]uint64{}
	for _, c := range m.cpus.Counters() {
		c.Each(func(reason kvm.ExitReason, n uint64) { total[reason.String()] += n })
	}
	return total
}
