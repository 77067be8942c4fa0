package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// agentPort names the virtio-serial port between the machine and L1.
const agentPort = "gureum.lab.agent"

// agentWord begins the word on L1's command line that holds the agent's path.
const agentWord = "lab.agent="

// machine is what one L1 is made of.
type machine struct {
	vmlinuz, initrd string
	cpus            int
	memory          uint64 // bytes
	deterministic   bool
	agent           string   // path of the agent's program, the same in L1
	shares          []string // writable folders, the same path in L1
	agentFD         int      // QEMU's descriptor of the agent's socket
	firmware        string   // "" is QEMU's own choice
	tscKHz          uint64   // speed of this machine's time-stamp counter; 0 is unknown
}

// args is QEMU's command line. LAB.md's recipe, with the console on standard
// output and nothing else that L1 could wait for.
func (m machine) args() []string {
	cpus, accel := m.cpus, []string{"-accel", "tcg,thread=multi"}
	if m.deterministic {
		cpus, accel = 1, []string{"-accel", "tcg", "-icount", "shift=0,sleep=off"}
	}
	a := []string{"-nodefaults", "-no-user-config", "-M", "q35", "-cpu", "max,+svm"}
	if m.firmware != "" {
		a = append(a, "-bios", m.firmware)
	}
	a = append(a, accel...)
	a = append(a,
		"-smp", strconv.Itoa(cpus),
		"-m", strconv.FormatUint(m.memory>>20, 10)+"M",
		"-kernel", m.vmlinuz, "-initrd", m.initrd,
		"-append", m.cmdline(),
		"-display", "none", "-monitor", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=agent,fd=%d", m.agentFD),
		"-device", "virtserialport,chardev=agent,name="+agentPort,
		"-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
	)
	for i, dir := range m.shares {
		a = append(a, "-virtfs", fmt.Sprintf("local,path=%s,mount_tag=%s,security_model=none,multidevs=remap", escapeComma(dir), shareTag(i)))
	}
	return a
}

// quickFirmware is where Debian has qboot, which starts a kernel and no more:
// half a second sooner than the firmware that looks for disks.
const quickFirmware = "/usr/share/qemu/qboot.rom"

// findFirmware returns qboot's path, or "" on a machine without it.
func findFirmware() string {
	if _, err := os.Stat(quickFirmware); err != nil {
		return ""
	}
	return quickFirmware
}

// shareTag is the mount tag of the i-th writable share.
func shareTag(i int) string { return "share" + strconv.Itoa(i) }

// escapeComma doubles commas, as QEMU's option parser wants them in values.
func escapeComma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// cmdline is L1's kernel command line.
func (m machine) cmdline() string {
	words := []string{"console=ttyS0", "panic=-1", "quiet", "mitigations=off", "cryptomgr.notests", "no_timer_check"}
	khz := m.tscKHz
	if m.deterministic {
		// An idle CPU makes QEMU jump to the next timer, be it seconds away,
		// when it only waits for a file to be read. A busy one waits about as
		// long as it takes.
		words = append(words, "idle=poll")
		khz = 1_000_000 // one tick an instruction, which is one nanosecond
	}
	if khz != 0 {
		words = append(words, "tsc=reliable", "tsc_early_khz="+strconv.FormatUint(khz, 10))
	}
	return strings.Join(append(words, agentWord+escapeWord(m.agent)), " ")
}

// escapeWord writes what would break a kernel command line as the octal
// escapes that L1's init script undoes (printf %b).
func escapeWord(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/._-+:=@,", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\0%03o`, c)
		}
	}
	return b.String()
}
