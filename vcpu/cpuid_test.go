package vcpu

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gureum/gureum/kvm"
)

// supported reads a table as KVM_GET_SUPPORTED_CPUID gives it.
func supported(t testing.TB, name string) []kvm.CPUIDEntry {
	t.Helper()
	f, err := os.Open("testdata/cpuid-" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var entries []kvm.CPUIDEntry
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		var e kvm.CPUIDEntry
		if _, err := fmt.Sscanf(s.Text(), "%x %x %x %x %x %x %x",
			&e.Function, &e.Index, &e.Flags, &e.EAX, &e.EBX, &e.ECX, &e.EDX); err != nil {
			t.Fatalf("%s: %q: %v", name, s.Text(), err)
		}
		entries = append(entries, e)
	}
	return entries
}

var fixtures = []string{"amd-zen4", "amd-lab", "intel-sapphirerapids"}

const testTSC = 2_594_123 // kHz

func makeTable(t testing.TB, fixture string, topo Topology, f Features) *cpuidTable {
	t.Helper()
	table, err := newCPUID(supported(t, fixture), cpuidOptions{
		topology: topo, features: f, tscKHz: testTSC, tscDeadline: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// leaf is CPUID as the guest executes it: what is not in the table is zero.
func leaf(entries []kvm.CPUIDEntry, function, index uint32) kvm.CPUIDEntry {
	if e := find(entries, function, index); e != nil {
		return *e
	}
	return kvm.CPUIDEntry{}
}

func TestCPUIDFixed(t *testing.T) {
	type want struct {
		function, index    uint32
		eax, ebx, ecx, edx string // hexadecimal, "" is not looked at
	}
	tests := []struct {
		name, fixture string
		topo          Topology
		cpu           int
		want          []want
	}{
		{"amd 1", "amd-zen4", Topology{1, 1, 1}, 0, []want{
			{0, 0, "d", "68747541", "444d4163", "69746e65"},
			{1, 0, "a10f11", "10800", "d5202000", "78bfbff"},
			{4, 0, "0", "0", "0", "0"},
			{6, 0, "4", "0", "0", "0"},
			{7, 0, "1", "f1bf07a9", "405fce", "10"}, // without ARCH_CAPABILITIES
			{0xB, 0, "0", "1", "100", "0"},
			{0xB, 1, "0", "1", "201", "0"},
			{0xB, 2, "0", "0", "2", "0"},
			{0x80000000, 0, "80000021", "68747541", "444d4163", "69746e65"},
			{0x80000001, 0, "a10f11", "40000000", "400391", "23d3fbff"}, // no CmpLegacy, no SVM
			{0x80000008, 0, "3030", "50020005", "0", "0"},
			{0x8000000A, 0, "0", "0", "0", "0"},
			{0x8000001D, 0, "121", "1c0003f", "3f", "0"},
			{0x8000001D, 3, "163", "3c0003f", "7fff", "1"},
			{0x8000001E, 0, "0", "0", "0", "0"},
			{0x8000001F, 0, "0", "0", "0", "0"},
			{0x40000000, 0, "40000010", "4b4d564b", "564b4d56", "4d"},
			{0x40000001, 0, "1007efb", "0", "0", "0"},
			{0x40000010, 0, "27954b", "f4240", "0", "0"},
			{0x15, 0, "0", "0", "0", "0"},
		}},
		{"amd 2x3x2, cpu 9", "amd-zen4", Topology{2, 3, 2}, 9, []want{
			// socket 1, core 1, thread 1; the id's fields are 1, 2 and 1 bits: 1_01_1
			{1, 0, "a10f11", "b060800", "d5202000", "178bfbff"},
			{0xB, 0, "1", "2", "100", "b"},
			{0xB, 1, "3", "6", "201", "b"},
			{0xB, 2, "0", "0", "2", "b"},
			{0x80000001, 0, "a10f11", "40000000", "400393", "23d3fbff"},
			{0x80000008, 0, "3030", "50020005", "3005", "0"},
			{0x8000001D, 0, "4121", "1c0003f", "3f", "0"},
			{0x8000001D, 2, "4143", "1c0003f", "7ff", "2"},
			{0x8000001D, 3, "1c163", "3c0003f", "7fff", "1"},
			{0x8000001E, 0, "b", "101", "1", "0"},
		}},
		{"intel 1", "intel-sapphirerapids", Topology{1, 1, 1}, 0, []want{
			{0, 0, "1f", "756e6547", "6c65746e", "49656e69"},
			{1, 0, "806f8", "10800", "fffab203", "f8bfbff"},
			{4, 0, "121", "2c0003f", "3f", "0"},
			{4, 3, "163", "380003f", "1bfff", "4"},
			{7, 0, "2", "f1bf27ab", "1b417f5e", "bc914410"},
			{7, 1, "1c30", "0", "0", "0"},
			{0xA, 0, "7300802", "0", "0", "8603"},
			{0x12, 0, "0", "0", "0", "0"},
			{0x15, 0, "", "", "3b9aca00", "0"},
			{0x16, 0, "a22", "a22", "64", "0"},
			{0x1D, 1, "0", "0", "0", "0"},
			{0x1F, 1, "0", "1", "201", "0"},
			{0x80000000, 0, "80000008", "0", "0", "0"},
			{0x80000006, 0, "0", "0", "8007040", "0"},
			{0x80000008, 0, "343934", "100d000", "0", "0"},
			{0x8000001D, 0, "0", "0", "0", "0"},
			{0x80000021, 0, "0", "0", "0", "0"},
			{0x40000010, 0, "27954b", "f4240", "0", "0"},
		}},
		{"intel 1x6x2, cpu 7", "intel-sapphirerapids", Topology{1, 6, 2}, 7, []want{
			{1, 0, "806f8", "7100800", "fffab203", "1f8bfbff"},
			{4, 0, "1c004121", "2c0003f", "3f", "0"},
			{4, 2, "1c004143", "3c0003f", "7ff", "0"},
			{4, 3, "1c03c163", "380003f", "1bfff", "4"},
			{0xB, 0, "1", "2", "100", "7"},
			{0xB, 1, "4", "c", "201", "7"},
			{0x1F, 0, "1", "2", "100", "7"},
			{0x1F, 1, "4", "c", "201", "7"},
			{0x80000008, 0, "343934", "100d000", "0", "0"},
			{0x8000001E, 0, "0", "0", "0", "0"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entries := makeTable(t, tt.fixture, tt.topo, Features{}).forCPU(nil, tt.cpu)
			for _, w := range tt.want {
				e := leaf(entries, w.function, w.index)
				got := []uint32{e.EAX, e.EBX, e.ECX, e.EDX}
				for i, s := range []string{w.eax, w.ebx, w.ecx, w.edx} {
					if g := fmt.Sprintf("%x", got[i]); s != "" && g != s {
						t.Errorf("leaf %#x.%d %s = %s, want %s", w.function, w.index, [...]string{"eax", "ebx", "ecx", "edx"}[i], g, s)
					}
				}
			}
		})
	}
}

// TestCPUIDTable holds what is true of any table.
func TestCPUIDTable(t *testing.T) {
	for _, fixture := range fixtures {
		for _, f := range []Features{{}, {Nested: true}, {MSIExtDestID: true}} {
			entries := makeTable(t, fixture, Topology{1, 4, 1}, f).forCPU(nil, 1)
			seen := map[[2]uint32]bool{}
			for _, e := range entries {
				key := [2]uint32{e.Function, e.Index}
				if seen[key] {
					t.Errorf("%s: leaf %#x.%d twice", fixture, e.Function, e.Index)
				}
				seen[key] = true
			}
			one := leaf(entries, 1, 0)
			if one.ECX&ecx1Hypervisor == 0 || one.ECX&ecx1TSCDeadline == 0 || one.ECX&ecx1X2APIC == 0 {
				t.Errorf("%s: leaf 1 ecx %#x lacks hypervisor, TSC deadline or x2APIC", fixture, one.ECX)
			}
			if one.ECX&ecx1Monitor != 0 {
				t.Errorf("%s: MONITOR is shown", fixture)
			}
			nested := one.ECX&ecx1VMX != 0 || leaf(entries, 0x80000001, 0).ECX&ecxSVM != 0
			if nested != f.Nested {
				t.Errorf("%s: nested virtualization shown: %v, want %v", fixture, nested, f.Nested)
			}
			if got := leaf(entries, 0x40000001, 0).EAX&eaxMSIExtDestID != 0; got != f.MSIExtDestID {
				t.Errorf("%s: MSI_EXT_DEST_ID shown: %v, want %v", fixture, got, f.MSIExtDestID)
			}
			if len(entries) > 256 {
				t.Errorf("%s: %d entries, KVM takes 256", fixture, len(entries))
			}
		}
	}
}

// TestCPUIDBrandOfHost: Linux does not pass the brand string on.
func TestCPUIDBrandOfHost(t *testing.T) {
	host := func(leaf, _ uint32) (eax, ebx, ecx, edx uint32) {
		if leaf == 0x80000000 {
			return 0x80000008, 0, 0, 0
		}
		return leaf, 1, 2, 3
	}
	for _, fixture := range fixtures {
		table, err := newCPUID(supported(t, fixture), cpuidOptions{topology: Topology{1, 1, 1}, host: host})
		if err != nil {
			t.Fatal(err)
		}
		kept := fixture != "amd-lab" // those that came with one
		for _, f := range []uint32{0x80000002, 0x80000003, 0x80000004} {
			if e := leaf(table.entries, f, 0); (e.EAX == f) == kept {
				t.Errorf("%s: leaf %#x is %#x", fixture, f, e.EAX)
			}
		}
		l1 := leaf(table.entries, leafL1Cache, 0).EAX
		if want := map[string]uint32{"amd-zen4": 0xFF48FF40, "amd-lab": leafL1Cache}[fixture]; l1 != want {
			t.Errorf("%s: leaf 0x80000005 is %#x, want %#x", fixture, l1, want)
		}
	}
}

func TestHostCPUID(t *testing.T) {
	_, ebx, ecx, edx := hostCPUID(0, 0)
	var name []byte
	for _, r := range []uint32{ebx, edx, ecx} {
		name = binary.LittleEndian.AppendUint32(name, r)
	}
	if s := string(name); strings.Trim(s, " ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		t.Errorf("vendor %q", s)
	}
	// A subleaf is looked at: the level number of leaf 0xB comes back in ECX.
	if last, _, _, _ := hostCPUID(0, 0); last >= 0xB {
		if _, _, ecx, _ := hostCPUID(0xB, 1); ecx&0xFF != 1 {
			t.Errorf("leaf 0xB.1 has level %d", ecx&0xFF)
		}
	}
}

func TestCPUIDBrand(t *testing.T) {
	want := map[string]string{
		"amd-zen4":             "AMD EPYC 9R14 96-Core Processor",
		"intel-sapphirerapids": "Intel(R) Xeon(R) Platinum 8480+",
	}
	for fixture := range want {
		entries := makeTable(t, fixture, Topology{1, 1, 1}, Features{}).forCPU(nil, 0)
		var brand []byte
		for f := uint32(0x80000002); f <= 0x80000004; f++ {
			e := leaf(entries, f, 0)
			for _, r := range []uint32{e.EAX, e.EBX, e.ECX, e.EDX} {
				brand = binary.LittleEndian.AppendUint32(brand, r)
			}
		}
		if got := strings.TrimRight(string(brand), "\x00"); got != want[fixture] {
			t.Errorf("brand %q, want %q", got, want[fixture])
		}
	}
}

func TestCPUIDVendorLeaves(t *testing.T) {
	forbidden := map[string][]uint32{
		"amd-zen4":             {2, 4, 9, 0xA, 0x12, 0x14, 0x15, 0x16, 0x1D, 0x1E, 0x1F, 0x8000001F, 0x80000026},
		"amd-lab":              {2, 4, 0xA, 0x15, 0x16, 0x1F, 0x8000001D, 0x8000001E},
		"intel-sapphirerapids": {0x80000005, 0x8000000A, 0x8000001D, 0x8000001E, 0x80000021},
	}
	for _, fixture := range fixtures {
		entries := makeTable(t, fixture, Topology{1, 8, 2}, Features{Nested: fixture != "intel-sapphirerapids"}).forCPU(nil, 3)
		basic, extended := leaf(entries, 0, 0).EAX, leaf(entries, 0x80000000, 0).EAX
		for _, e := range entries {
			for _, f := range forbidden[fixture] {
				if e.Function == f {
					t.Errorf("%s: leaf %#x is shown", fixture, f)
				}
			}
			if e.Function < 0x40000000 && e.Function > basic || e.Function >= 0x80000000 && e.Function > extended {
				t.Errorf("%s: leaf %#x is beyond the limits %#x and %#x", fixture, e.Function, basic, extended)
			}
		}
	}
}

// TestCPUIDTopology finds each CPU's place in the ways in which guests do, old and new, and
// compares with the topology that was asked for.
func TestCPUIDTopology(t *testing.T) {
	var topologies []Topology
	for n := 1; n <= 512; n++ {
		topologies = append(topologies, Topology{1, n, 1})
	}
	for sockets := 1; sockets <= 4; sockets++ {
		for _, cores := range []int{1, 2, 3, 5, 8, 12, 31, 64} {
			topologies = append(topologies, Topology{sockets, cores, 1}, Topology{sockets, cores, 2})
		}
	}
	for _, fixture := range fixtures {
		for _, topo := range topologies {
			table := makeTableFast(t, fixture, topo)
			n := topo.Sockets * topo.perPackage()
			ids := map[uint32]bool{}
			var entries []kvm.CPUIDEntry
			for _, cpu := range []int{0, 1, n / 2, n - 2, n - 1} {
				if cpu < 0 || cpu >= n {
					continue
				}
				entries = table.forCPU(entries, cpu)
				place := Topology{cpu / topo.perPackage(), cpu / topo.Threads % topo.Cores, cpu % topo.Threads}
				checkPlace(t, table.vendor, entries, topo, place)
				ids[leaf(entries, 0xB, 0).EDX] = true
			}
			for cpu := range n {
				ids[topo.APICID(cpu)] = true
			}
			if len(ids) != n {
				t.Errorf("%s %v: %d APIC ids for %d CPUs", fixture, topo, len(ids), n)
			}
			if t.Failed() {
				return
			}
		}
	}
}

var parsed = map[string][]kvm.CPUIDEntry{}

func makeTableFast(t *testing.T, fixture string, topo Topology) *cpuidTable {
	t.Helper()
	if parsed[fixture] == nil {
		parsed[fixture] = supported(t, fixture)
	}
	table, err := newCPUID(parsed[fixture], cpuidOptions{topology: topo, tscKHz: testTSC})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func checkPlace(t *testing.T, v vendor, entries []kvm.CPUIDEntry, topo, place Topology) {
	t.Helper()
	leaves := []uint32{0xB}
	if v == vendorIntel {
		leaves = append(leaves, 0x1F)
	}
	for _, l := range leaves {
		threads, cores := leaf(entries, l, 0), leaf(entries, l, 1)
		id := threads.EDX
		got := Topology{
			Sockets: int(id >> cores.EAX),
			Cores:   int(id & (1<<cores.EAX - 1) >> threads.EAX),
			Threads: int(id & (1<<threads.EAX - 1)),
		}
		if got != place || int(threads.EBX) != topo.Threads || int(cores.EBX) != topo.perPackage() {
			t.Errorf("%v: leaf %#x puts id %#x at %v, want %v; %d threads, %d in package", topo, l, id, got, place, threads.EBX, cores.EBX)
		}
	}
	id := leaf(entries, 0xB, 0).EDX
	one := leaf(entries, 1, 0)
	if one.EBX>>24 != id&0xFF {
		t.Errorf("%v: initial APIC id %#x, want %#x", topo, one.EBX>>24, id&0xFF)
	}
	if htt := one.EDX&edx1HTT != 0; htt != (topo.perPackage() > 1) {
		t.Errorf("%v: HTT is %v", topo, htt)
	}
	if v == vendorAMD {
		checkAMDPlace(t, entries, topo, place, id)
	} else {
		checkIntelLegacy(t, entries, topo, place, id)
	}
}

// checkIntelLegacy goes by leaves 1 and 4, as kernels did before leaf 0xB.
func checkIntelLegacy(t *testing.T, entries []kvm.CPUIDEntry, topo, place Topology, id uint32) {
	t.Helper()
	logical := int(leaf(entries, 1, 0).EBX >> 16 & 0xFF)
	if topo.perPackage() <= 128 && int(id)>>widthOf(logical) != place.Sockets {
		t.Errorf("%v: %d logical processors put id %#x into socket %d", topo, logical, id, int(id)>>widthOf(logical))
	}
	l1, l3 := leaf(entries, 4, 0).EAX, leaf(entries, 4, 3).EAX
	if share := int(l1>>14&0xFFF) + 1; share != 1<<topo.threadBits() {
		t.Errorf("%v: %d ids share the L1 cache", topo, share)
	}
	if share := int(l3>>14&0xFFF) + 1; share != 1<<topo.packageBits() {
		t.Errorf("%v: %d ids share the L3 cache", topo, share)
	}
	if cores := int(l1>>26) + 1; topo.Cores <= 64 && widthOf(cores) != widthOf(topo.Cores) {
		t.Errorf("%v: leaf 4 has %d cores", topo, cores)
	}
}

// checkAMDPlace goes by leaves 0x8000_0008 and 0x8000_001E.
func checkAMDPlace(t *testing.T, entries []kvm.CPUIDEntry, topo, place Topology, id uint32) {
	t.Helper()
	size := leaf(entries, 0x80000008, 0).ECX
	if n := int(size&0xFF) + 1; n != min(topo.perPackage(), 256) {
		t.Errorf("%v: leaf 0x80000008 has %d threads", topo, n)
	}
	if int(id>>(size>>12&0xF)) != place.Sockets {
		t.Errorf("%v: leaf 0x80000008 puts id %#x into socket %d", topo, id, id>>(size>>12&0xF))
	}
	if leaf(entries, 0x80000001, 0).ECX&ecxTopoExt == 0 {
		return
	}
	e := leaf(entries, 0x8000001E, 0)
	threads := int(e.EBX>>8&0xFF) + 1
	if e.EAX != id || threads != topo.Threads || int(e.EBX&0xFF) != place.Cores&0xFF || int(e.ECX&0xFF) != place.Sockets {
		t.Errorf("%v: leaf 0x8000001E is %#x %#x %#x for id %#x at %v", topo, e.EAX, e.EBX, e.ECX, id, place)
	}
	for i := uint32(0); i < 4; i++ {
		share := int(leaf(entries, 0x8000001D, i).EAX>>14&0xFFF) + 1
		want := 1 << topo.threadBits()
		if i == 3 {
			want = 1 << topo.packageBits()
		}
		if share != want {
			t.Errorf("%v: %d ids share cache %d, want %d", topo, share, i, want)
		}
	}
	if legacy := leaf(entries, 0x80000001, 0).ECX&ecxCmpLegacy != 0; legacy != (topo.perPackage() > 1) {
		t.Errorf("%v: CmpLegacy is %v", topo, legacy)
	}
}

// TestCPUIDZen1Cache: families whose last level cache guests take to be shared by 8.
func TestCPUIDZen1Cache(t *testing.T) {
	s := supported(t, "amd-zen4")
	find(s, 1, 0).EAX = 0x00800F12 // family 0x17, model 1
	table, err := newCPUID(s, cpuidOptions{topology: Topology{1, 16, 2}})
	if err != nil {
		t.Fatal(err)
	}
	if table.family != 0x17 || table.model != 1 {
		t.Fatalf("family %#x model %#x", table.family, table.model)
	}
	if e := leaf(table.entries, 0x8000001D, 3); e.EAX>>14&0xFFF != 7 {
		t.Errorf("L3 is shared by %d ids, want 8", e.EAX>>14&0xFFF+1)
	}
}

func TestCPUIDWithoutTSC(t *testing.T) {
	for _, fixture := range fixtures {
		table, err := newCPUID(supported(t, fixture), cpuidOptions{topology: Topology{1, 1, 1}})
		if err != nil {
			t.Fatal(err)
		}
		if e := leaf(table.entries, 0x40000000, 0); e.EAX != 0x40000001 {
			t.Errorf("%s: last hypervisor leaf %#x", fixture, e.EAX)
		}
		for _, f := range []uint32{0x15, 0x16, 0x40000010} {
			if find(table.entries, f, 0) != nil {
				t.Errorf("%s: leaf %#x without a known frequency", fixture, f)
			}
		}
		if leaf(table.entries, 1, 0).ECX&ecx1TSCDeadline != 0 {
			t.Errorf("%s: TSC deadline without KVM's word for it", fixture)
		}
	}
}

func TestCPUIDNothingSupported(t *testing.T) {
	if _, err := newCPUID(nil, cpuidOptions{topology: Topology{1, 1, 1}}); err == nil {
		t.Error("no error")
	}
}

func TestVendorOf(t *testing.T) {
	for name, want := range map[string]vendor{
		"GenuineIntel": vendorIntel, "AuthenticAMD": vendorAMD, "HygonGenuine": vendorAMD,
		"CentaurHauls": vendorCentaur, "  Shanghai  ": vendorCentaur, "SomebodyElse": vendorIntel,
	} {
		word := func(i int) uint32 { return binary.LittleEndian.Uint32([]byte(name)[i:]) }
		if got := vendorOf(&kvm.CPUIDEntry{EBX: word(0), EDX: word(4), ECX: word(8)}); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func TestRatio(t *testing.T) {
	for _, khz := range []uint32{1, 999_999, 1_000_000, 1_000_001, 2_000_000, 2_594_123, 3_399_998, 4_294_967, 5_700_001} {
		num, den := ratio(khz, busKHz, 1<<32/busKHz)
		if num >= 1<<32/busKHz || den == 0 {
			t.Errorf("%d kHz: %d/%d", khz, num, den)
			continue
		}
		got := uint64(busKHz) * uint64(num) / uint64(den)
		if got > 1<<32-1 {
			t.Errorf("%d kHz: overflows 32 bits", khz)
		}
		if diff := max(got, uint64(khz)) - min(got, uint64(khz)); khz > 900_000 && diff*1_000_000 > uint64(khz)+1_000_000 {
			t.Errorf("%d kHz: comes out as %d", khz, got)
		}
	}
}
