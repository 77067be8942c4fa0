package lab

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]uint64{
		"1": 1, "512M": 512 << 20, "3G": 3 << 30, "3g": 3 << 30, "1T": 1 << 40, "64k": 64 << 10,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "G", "-1", "1.5G", "3GB", "3 G", "99999999999T", "18446744073709551616", "0x10"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestMachineArgs(t *testing.T) {
	m := machine{
		vmlinuz: "/k", initrd: "/i", cpus: 4, memory: 1 << 30, agent: "/a b/lab", agentFD: 3,
		shares: []string{"/x", "/y,z"},
	}
	line := strings.Join(m.args(), " ")
	for _, want := range []string{
		"-accel tcg,thread=multi", "-cpu max,+svm", "-smp 4", "-m 1024M", "-kernel /k", "-initrd /i", "-no-reboot",
		`lab.agent=/a\0040b/lab`, "socket,id=agent,fd=3", "path=/,mount_tag=root,security_model=none,readonly=on",
		"path=/x,mount_tag=share0,security_model=none,multidevs=remap", "path=/y,,z,mount_tag=share1",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in: %s", want, line)
		}
	}
	if strings.Contains(line, "tsc=") {
		t.Errorf("counter of unknown speed: %s", line)
	}
	m.tscKHz = 2_100_000
	if line = m.cmdline(); !strings.Contains(line, " tsc=reliable tsc_early_khz=2100000 ") {
		t.Errorf("counter: %s", line)
	}
	m.deterministic = true
	if line = m.cmdline(); !strings.Contains(line, " idle=poll tsc=reliable tsc_early_khz=1000000 ") {
		t.Errorf("deterministic counter: %s", line)
	}
	line = strings.Join(m.args(), " ")
	if !strings.Contains(line, "-accel tcg -icount shift=0,sleep=off -smp 1 ") {
		t.Errorf("deterministic: %s", line)
	}
}

func TestTSC(t *testing.T) {
	a, b := tscKHz(), tscKHz()
	if a == 0 || b == 0 {
		t.Fatalf("%d and %d kHz", a, b)
	}
	if ratio := float64(a) / float64(b); ratio < 0.999 || ratio > 1.001 {
		t.Errorf("%d and %d kHz", a, b)
	}
}

func TestRing(t *testing.T) {
	r := &ring{}
	if got := r.tail(3); got != "" {
		t.Errorf("empty: %q", got)
	}
	for range 3000 {
		_, _ = r.Write([]byte("a line that is thirty bytes..\r\n"))
	}
	_, _ = r.Write([]byte("x\r\nlast"))
	if len(r.buf) > ringSize {
		t.Errorf("keeps %d bytes", len(r.buf))
	}
	if got := r.tail(2); got != "x\nlast" {
		t.Errorf("tail: %q", got)
	}
	if !r.contains("x\r\nlast") || r.contains("nothing") {
		t.Error("contains is wrong")
	}
}

func TestSetupRoundTrip(t *testing.T) {
	for _, want := range []setup{
		{modules: "/m", dir: "/d", shares: []string{"/a", "/b c"}, hold: true},
		{modules: "", dir: "/", shares: []string{}},
	} {
		got, err := readSetup(bytes.NewReader(want.encode()))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for _, bad := range []string{"", "\x01\x00", "\x05\x00\x00\x00abc", "\x03\x00\x00\x00abc", "\xff\xff\xff\xffabc"} {
		if got, err := readSetup(strings.NewReader(bad)); err == nil {
			t.Errorf("readSetup(%q) = %+v, want an error", bad, got)
		}
	}
}

func TestModuleFiles(t *testing.T) {
	dir := t.TempDir()
	dep := "kernel/a.ko: kernel/b-b.ko.xz kernel/c.ko\nkernel/b-b.ko.xz: kernel/c.ko\nkernel/c.ko:\n"
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := moduleFiles(dir, []string{"b_b", "builtin", "a"})
	if want := []string{"kernel/c.ko", "kernel/b-b.ko.xz", "kernel/a.ko"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := moduleFiles(filepath.Join(dir, "no"), []string{"a"}); err == nil {
		t.Error("no error without modules.dep")
	}
}

func TestReadModule(t *testing.T) {
	info := func(size byte) string { return "\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00" + string([]byte{size}) }
	for in, want := range map[string]string{
		"body": "body", "": "", signatureMagic: signatureMagic,
		"body" + "sig" + info(3) + signatureMagic:       "body",
		"body" + info(0) + signatureMagic:               "body",
		"body" + info(200) + signatureMagic:             "body" + info(200) + signatureMagic,
		"body" + "sig" + info(3) + signatureMagic + "x": "body" + "sig" + info(3) + signatureMagic + "x",
	} {
		if got := string(unsigned([]byte(in))); got != want {
			t.Errorf("unsigned(%q) = %q", in, got)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a.ko")
	if err := os.WriteFile(path, []byte("module"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("xz", "-k", "--check=crc32", path).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	for _, p := range []string{path, path + ".xz"} {
		if name, b, err := readModule(p); err != nil || name != "a.ko" || string(b) != "module" {
			t.Errorf("%s: %q, %q, %v", p, name, b, err)
		}
	}
	if err := os.WriteFile(path+".xz", []byte("no xz"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path + ".xz", dir + "/none.ko"} {
		if _, _, err := readModule(p); err == nil {
			t.Errorf("%s: no error", p)
		}
	}
}

func TestVirtualizes(t *testing.T) {
	for in, want := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu svm npt\nflags\t\t: fpu\n": true,
		"flags\t\t: fpu vmx\n":              true,
		"flags\t\t: fpu svm_lock\nx: svm\n": false,
		"vmx flags\t: ept\nflags\t: fpu\n":  false,
		"":                                  false,
	} {
		if got := virtualizes(in); got != want {
			t.Errorf("virtualizes(%q) = %v", in, got)
		}
	}
}

func TestKernelRelease(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bz := make([]byte, 0x1000)
	copy(bz[offBootMagic:], "HdrS")
	bz[offKernelVersion+1] = 0x02 // at 0x200 + 0x200
	copy(bz[0x400:], "6.1.0-9-amd64 (builder) #1 SMP\x00")
	elf := []byte("\x7fELF and more")
	for path, want := range map[string]string{
		write("bzImage", bz):             "6.1.0-9-amd64",
		write("vmlinux-6.1.0-test", elf): "6.1.0-test",
		write("vmlinux", elf):            "",
	} {
		if got, err := kernelRelease(path); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	far := bytes.Clone(bz)
	far[offKernelVersion+1] = 0xff
	for _, path := range []string{write("text", []byte("text")), write("empty", nil), write("far", far), dir, dir + "/none"} {
		if got, err := kernelRelease(path); err == nil {
			t.Errorf("%s: %q, want an error", path, got)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{},
		{"--"},
		{"--no-such-flag", "--", "true"},
		{"--cpus", "0x", "--", "true"},
		{"--cpus", "-1", "--", "true"},
		{"--cpus", "0", "--", "true"},
		{"--cpus", "1000", "--", "true"},
		{"--memory", "lots", "--", "true"},
		{"--memory", "1M", "--", "true"},
		{"--memory", "0", "--", "true"},
		{"--memory", "100T", "--", "true"},
		{"--timeout", "-1s", "--", "true"},
		{"--timeout", "soon", "--", "true"},
		{"--share", "/no/such/folder", "--", "true"},
		{"--share", file, "--", "true"},
		{"kernel"},
		{"kernel", "a", "b"},
		{"test", "--no-such-flag"},
	} {
		var stdout, stderr bytes.Buffer
		if status := Main(args, nil, &stdout, &stderr); status != statusUsage {
			t.Errorf("lab %q: status %d", args, status)
		}
		if stdout.Len() > 0 || !strings.HasPrefix(stderr.String(), "lab: ") || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("lab %q: stdout %q, stderr %q", args, &stdout, &stderr)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"test", "--help"}, {"kernel", "--help"}} {
		var stdout, stderr bytes.Buffer
		if status := Main(args, nil, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
			t.Errorf("lab %q: status %d, stderr %q", args, status, &stderr)
		}
		if !strings.HasPrefix(stdout.String(), "usage:") {
			t.Errorf("lab %q: %q", args, &stdout)
		}
	}
}

func TestMissingTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	_, err := Run(t.Context(), Options{Args: []string{"true"}, Stdout: io.Discard, Stderr: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("got %v", err)
	}
	if _, err := startEmulator(machine{}, nil); err == nil || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("got %v", err)
	}
}

func TestMergeProfiles(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	for path, text := range map[string]string{
		one: "mode: atomic\nm/a.go:1.1,2.2 3 0\nm/b.go:1.1,2.2 1 5\n",
		two: "mode: atomic\nm/b.go:1.1,2.2 1 2\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "out")
	if err := mergeProfiles(out, []testPackage{{profile: one}, {profile: dir + "/none"}, {profile: two}}); err != nil {
		t.Fatal(err)
	}
	want := "mode: atomic\nm/a.go:1.1,2.2 3 0\nm/b.go:1.1,2.2 1 7\n"
	if got, err := os.ReadFile(out); err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"nothing", "a.go:1.1,2.2 3 many"} {
		if addProfile(map[string]uint64{}, bad) == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestUnpackKernel(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, filepath.Join(dir, "none")} {
		if err := unpackKernel(path, filepath.Join(dir, "out")); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}
