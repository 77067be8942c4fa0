package jail

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const document = "../../docs/security.md"

// TestDocumentListsCalls has docs/security.md say what the filters do.
func TestDocumentListsCalls(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "<!-- calls -->\n")
	table, _, found := strings.Cut(table, "<!-- end of calls -->")
	if !found {
		t.Fatal("there is no table of calls")
	}
	if want := callTable(); table != want {
		t.Errorf("written:\n%s\nis:\n%s", table, want)
	}
}

func callTable() string {
	var b strings.Builder
	b.WriteString("| call | threads | allowed | why |\n| --- | --- | --- | --- |\n")
	for _, c := range Calls(1) {
		threads := map[Kind]string{all: "all", VCPU: "vCPU", Other: "other", Share: "other, with shares", Net: "other, user-mode network"}[c.For]
		when := "always"
		if c.When != nil {
			when = "by argument"
		}
		b.WriteString("| `" + c.Name + "` | " + threads + " | " + when + " | " + c.Why + " |\n")
	}
	return b.String()
}

// TestVCPUFilterIsNarrower holds because filters add up: what the wider one denies, the
// one on top cannot allow.
func TestVCPUFilterIsNarrower(t *testing.T) {
	wide := map[uint32][]Cond{}
	for _, c := range merge(Calls(1), Other) {
		wide[c.NR] = c.When
	}
	for _, c := range merge(Calls(1), VCPU) {
		when, is := wide[c.NR]
		if !is {
			t.Errorf("%s is for vCPU threads alone", c.Name)
		}
		for _, w := range c.When {
			if when != nil && !hasCond(when, w) {
				t.Errorf("%s with %#x is for vCPU threads alone", c.Name, w.Value)
			}
		}
	}
}

func hasCond(list []Cond, c Cond) bool {
	for _, o := range list {
		if o == c {
			return true
		}
	}
	return false
}

// verdict runs a filter on a call.
func verdict(t *testing.T, filter []unix.SockFilter, nr uint32, args ...uint32) uint32 {
	t.Helper()
	var ins []bpf.Instruction
	for _, f := range filter {
		ins = append(ins, bpf.RawInstruction{Op: f.Code, Jt: f.Jt, Jf: f.Jf, K: f.K}.Disassemble())
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	// Package bpf reads big-endian words, as of packets.
	data := make([]byte, 64)
	put := func(off int, v uint32) {
		data[off], data[off+1], data[off+2], data[off+3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	}
	put(offNR, nr)
	put(offArch, unix.AUDIT_ARCH_X86_64)
	for i, a := range args {
		put(offArgs+8*i, a)
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name string
		kind Kind
		want uint32
		nr   uint32
		args []uint32
	}{
		{"read", VCPU, retAllow, unix.SYS_READ, nil},
		{"run", VCPU, retAllow, unix.SYS_IOCTL, []uint32{3, 0xae80}},
		{"create a machine", VCPU, retDeny, unix.SYS_IOCTL, []uint32{3, 0xae01}},
		{"discard on a vCPU thread", VCPU, retDeny, unix.SYS_IOCTL, []uint32{3, 0x1277}},
		{"discard", Other, retAllow, unix.SYS_IOCTL, []uint32{3, 0x1277}},
		{"a thread", Other, retAllow, unix.SYS_CLONE, []uint32{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}},
		{"a process", Other, retDeny, unix.SYS_CLONE, []uint32{uint32(unix.SIGCHLD)}},
		{"a thread on a vCPU thread", VCPU, retDeny, unix.SYS_CLONE, []uint32{unix.CLONE_VM | unix.CLONE_THREAD}},
		{"clone3", Other, retNoCall, unix.SYS_CLONE3, nil},
		{"unix socket", Other, retAllow, unix.SYS_SOCKET, []uint32{unix.AF_UNIX}},
		{"inet socket", Other, retDeny, unix.SYS_SOCKET, []uint32{unix.AF_INET}},
		{"inet socket of a user-mode network", Other | Net, retAllow, unix.SYS_SOCKET, []uint32{unix.AF_INET}},
		{"netlink of a user-mode network", Other | Net, retDeny, unix.SYS_SOCKET, []uint32{unix.AF_NETLINK}},
		{"mkdirat", Other, retDeny, unix.SYS_MKDIRAT, nil},
		{"mkdirat with shares", Other | Share, retAllow, unix.SYS_MKDIRAT, nil},
		{"signal itself", Other, retAllow, unix.SYS_TGKILL, []uint32{7, 9}},
		{"signal another", Other, retDeny, unix.SYS_TGKILL, []uint32{8, 9}},
		{"execute", Other, retKill, unix.SYS_EXECVE, nil},
		{"x32", Other, retKill, x32 | unix.SYS_READ, nil},
	} {
		if got := verdict(t, compile(c.kind, 7), c.nr, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
}
