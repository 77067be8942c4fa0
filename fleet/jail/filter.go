package jail

import "golang.org/x/sys/unix"

// The verdicts. A call that no code of ours makes, and that an attacker would, ends the
// process: whoever tries it has taken it over. Any other that is not on the list fails with
// EPERM, and the kernel's audit log has it: a rare call of the Go runtime that the list
// forgot must not cost the guest its life, and to an attacker both are the same.
const (
	retAllow  = unix.SECCOMP_RET_ALLOW
	retKill   = unix.SECCOMP_RET_KILL_PROCESS
	retDeny   = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	retNoCall = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// x32 marks calls of the x32 ABI, which are other numbers for the same calls.
const x32 = 0x40000000

// Deadly lists the calls that end the process, by name.
func Deadly() map[string]uint32 {
	return map[string]uint32{
		"execve": unix.SYS_EXECVE, "execveat": unix.SYS_EXECVEAT, "fork": unix.SYS_FORK, "vfork": unix.SYS_VFORK,
		"ptrace": unix.SYS_PTRACE, "process_vm_readv": unix.SYS_PROCESS_VM_READV, "process_vm_writev": unix.SYS_PROCESS_VM_WRITEV,
		"mount": unix.SYS_MOUNT, "umount2": unix.SYS_UMOUNT2, "pivot_root": unix.SYS_PIVOT_ROOT, "chroot": unix.SYS_CHROOT,
		"unshare": unix.SYS_UNSHARE, "setns": unix.SYS_SETNS, "open_by_handle_at": unix.SYS_OPEN_BY_HANDLE_AT,
		"bpf": unix.SYS_BPF, "perf_event_open": unix.SYS_PERF_EVENT_OPEN, "userfaultfd": unix.SYS_USERFAULTFD,
		"keyctl": unix.SYS_KEYCTL, "add_key": unix.SYS_ADD_KEY, "request_key": unix.SYS_REQUEST_KEY,
		"kexec_load": unix.SYS_KEXEC_LOAD, "kexec_file_load": unix.SYS_KEXEC_FILE_LOAD, "reboot": unix.SYS_REBOOT,
		"init_module": unix.SYS_INIT_MODULE, "finit_module": unix.SYS_FINIT_MODULE, "delete_module": unix.SYS_DELETE_MODULE,
		"setuid": unix.SYS_SETUID, "setgid": unix.SYS_SETGID, "setresuid": unix.SYS_SETRESUID, "setresgid": unix.SYS_SETRESGID,
		"setreuid": unix.SYS_SETREUID, "setregid": unix.SYS_SETREGID, "setgroups": unix.SYS_SETGROUPS, "capset": unix.SYS_CAPSET,
		"iopl": unix.SYS_IOPL, "ioperm": unix.SYS_IOPERM, "modify_ldt": unix.SYS_MODIFY_LDT,
	}
}

// Offsets in struct seccomp_data.
const (
	offNR   = 0
	offArch = 4
	offArgs = 16
)

// program is a filter in the making. Jumps are relative and at most 255 long, so each call
// has its own little block that ends in a verdict.
type program []unix.SockFilter

func (p *program) op(code uint16, k uint32, jt, jf int) {
	*p = append(*p, unix.SockFilter{Code: code, K: k, Jt: uint8(jt), Jf: uint8(jf)})
}

func (p *program) load(off uint32) { p.op(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, off, 0, 0) }
func (p *program) ret(verdict uint32) {
	p.op(unix.BPF_RET|unix.BPF_K, verdict, 0, 0)
}

const (
	jumpEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	and         = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
)

// compile makes the filter of a kind of threads. Those for other threads may be joined,
// as in Other|Net.
func compile(kind Kind, pid int) []unix.SockFilter {
	var p program
	p.load(offArch)
	p.op(jumpEqual, unix.AUDIT_ARCH_X86_64, 1, 0)
	p.ret(retKill)
	p.load(offNR)
	p.op(jumpAtLeast, x32, 0, 1)
	p.ret(retKill)
	for _, c := range merge(Calls(pid), kind) {
		p.call(c)
	}
	p.verdict(unix.SYS_CLONE3, retNoCall) // its flags cannot be seen; libraries fall back to clone
	for _, nr := range Deadly() {
		p.verdict(nr, retKill)
	}
	p.ret(retDeny)
	return p
}

// merge gives each call of the kind once, with the conditions of all its lines.
func merge(calls []Call, kind Kind) []Call {
	var out []Call
	at := make(map[uint32]int)
	for _, c := range calls {
		if c.For&kind == 0 {
			continue
		}
		i, is := at[c.NR]
		if !is {
			at[c.NR] = len(out)
			out = append(out, c)
			continue
		}
		out[i].When = append(out[i].When, c.When...)
	}
	return out
}

func (p *program) verdict(nr, verdict uint32) {
	p.op(jumpEqual, nr, 0, 1)
	p.ret(verdict)
}

// call lets a call through, or denies it where none of its conditions holds.
func (p *program) call(c Call) {
	if c.When == nil {
		p.verdict(c.NR, retAllow)
		return
	}
	var block program
	for _, w := range c.When {
		block.load(offArgs + 8*uint32(w.Arg))
		if w.Mask != ^uint32(0) {
			block.op(and, w.Mask, 0, 0)
		}
		block.op(jumpEqual, w.Value, 0, 1)
		block.ret(retAllow)
	}
	block.ret(retDeny)
	p.op(jumpEqual, c.NR, 0, len(block))
	*p = append(*p, block...)
}
