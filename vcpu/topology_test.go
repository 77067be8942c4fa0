package vcpu

import "testing"

func TestTopologyResolve(t *testing.T) {
	tests := []struct {
		in   Topology
		cpus int
		want Topology
		ok   bool
	}{
		{Topology{}, 1, Topology{1, 1, 1}, true},
		{Topology{}, 7, Topology{1, 7, 1}, true},
		{Topology{Threads: 2}, 8, Topology{1, 4, 2}, true},
		{Topology{Sockets: 2}, 8, Topology{2, 4, 1}, true},
		{Topology{Cores: 2}, 8, Topology{4, 2, 1}, true},
		{Topology{Cores: 2, Threads: 2}, 8, Topology{2, 2, 2}, true},
		{Topology{2, 2, 2}, 8, Topology{2, 2, 2}, true},
		{Topology{2, 2, 2}, 7, Topology{}, false},
		{Topology{Threads: 2}, 7, Topology{}, false},
		{Topology{Cores: 3}, 8, Topology{}, false},
		{Topology{Threads: 2}, 1, Topology{}, false},
		{Topology{Cores: -1}, 4, Topology{}, false},
		{Topology{1 << 40, 1 << 40, 1 << 40}, 4, Topology{}, false},
		{Topology{}, 0, Topology{}, false},
		{Topology{}, -4, Topology{}, false},
	}
	for _, tt := range tests {
		got, err := tt.in.Resolve(tt.cpus)
		if (err == nil) != tt.ok || tt.ok && got != tt.want {
			t.Errorf("%v for %d CPUs: %v, %v; want %v", tt.in, tt.cpus, got, err, tt.want)
		}
	}
}

func TestAPICID(t *testing.T) {
	tests := []struct {
		topo Topology
		want []uint32
	}{
		{Topology{1, 5, 1}, []uint32{0, 1, 2, 3, 4}},
		{Topology{2, 2, 2}, []uint32{0, 1, 2, 3, 4, 5, 6, 7}},
		{Topology{2, 3, 1}, []uint32{0, 1, 2, 4, 5, 6}},
		{Topology{1, 2, 3}, []uint32{0, 1, 2, 4, 5, 6}},
	}
	for _, tt := range tests {
		for cpu, want := range tt.want {
			if got := tt.topo.APICID(cpu); got != want {
				t.Errorf("%v: CPU %d has id %d, want %d", tt.topo, cpu, got, want)
			}
		}
	}
}
