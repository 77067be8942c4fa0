package state

// Unplugged is an interface that was taken off its network while the machine runs. The
// machine's process has its tap until it ends, and the cable can be plugged in again.
type Unplugged struct {
	Port
	// Net is how the definition had it.
	Net string `json:"net"`
}

// Taps are all interfaces of the host that the machine's process may have.
func (vm *VM) Taps() []string {
	var taps []string
	for _, p := range vm.Ports {
		taps = append(taps, p.Tap)
	}
	for _, u := range vm.Unplugged {
		taps = append(taps, u.Tap)
	}
	return taps
}
