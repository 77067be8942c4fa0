package qcow2

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// flushed is what the disk held when a flush had come back.
type flushed struct {
	ops     int    // changes of the file before it
	want    []byte // the disk's bytes then
	touched []bool // the bytes that were changed between it and the next
}

// crashRun is a recorded run of guest requests.
type crashRun struct {
	start   []byte // the file before
	ops     []op
	flushes []flushed
	backing plain
}

// recordRun does random work with flushes between and keeps what happened to the file.
func recordRun(t *testing.T, m *memory, backing plain, size, steps int, rnd *rand.Rand) *crashRun {
	t.Helper()
	run := &crashRun{start: bytes.Clone(m.data), backing: backing}
	m.record = true
	d := openOn(t, m, backing)
	cur := flushed{want: make([]byte, size), touched: make([]bool, size)}
	if _, err := d.ReadAt(cur.want, 0); err != nil {
		t.Fatal(err)
	}
	now := bytes.Clone(cur.want)
	for i := range steps {
		off := rnd.IntN(size)
		n := min(size-off, 1+rnd.IntN(1<<rnd.UintN(16)))
		var err error
		switch rnd.UintN(6) {
		case 0:
			// Discards read as zeroes in these images, but where a base shows through.
			err = d.Discard(int64(off), int64(n))
			if err == nil {
				_, err = d.ReadAt(now[off:off+n], int64(off))
			}
		case 1:
			err = d.WriteZeroes(int64(off), int64(n), i%2 == 0)
			clear(now[off : off+n])
		default:
			copy(now[off:off+n], pattern(n, byte(i)))
			_, err = d.WriteAt(now[off:off+n], int64(off))
		}
		if err != nil {
			t.Fatal(err)
		}
		for b := off; b < off+n; b++ {
			cur.touched[b] = true
		}
		if rnd.UintN(4) == 0 || i == steps-1 {
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
			run.flushes = append(run.flushes, cur)
			cur = flushed{ops: len(m.ops), want: bytes.Clone(now), touched: make([]bool, size)}
		}
	}
	run.flushes = append(run.flushes, cur)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	run.ops = m.ops
	return run
}

// after gives the file as a power cut before change number n may have left it: all up to
// the last barrier, and of what came after it whatever keep says, torn by sectors.
func (r *crashRun) after(n int, keep func(o *op) bool) *memory {
	last := 0
	for i, o := range r.ops[:n] {
		if o.kind == opSync {
			last = i
		}
	}
	m := &memory{data: bytes.Clone(r.start)}
	for i, o := range r.ops[:n] {
		if i < last || keep(&o) {
			m.apply(o)
		}
	}
	return m
}

func (r *crashRun) verify(t *testing.T, n int, m *memory) {
	t.Helper()
	report, err := Check(m)
	if err != nil || report.Errors > 0 {
		t.Fatalf("crash before change %d of %d: %+v, %v", n, len(r.ops), report, err)
	}
	k := 0
	for k+1 < len(r.flushes) && r.flushes[k+1].ops <= n {
		k++
	}
	f := r.flushes[k]
	d := openOn(t, m, r.backing)
	got := make([]byte, len(f.want))
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatalf("crash before change %d: %v", n, err)
	}
	for i := range got {
		if got[i] != f.want[i] && !f.touched[i] {
			t.Fatalf("crash before change %d: byte %#x is %#x, was flushed as %#x", n, i, got[i], f.want[i])
		}
	}
	// Life goes on: what leaked must do no harm.
	if _, err := d.WriteAt(pattern(len(got), 77), 0); err != nil {
		t.Fatalf("crash before change %d: write after: %v", n, err)
	}
	if err := d.Close(); err != nil {
		t.Fatalf("crash before change %d: close after: %v", n, err)
	}
	report, err = Check(m)
	if err != nil || report.Errors > 0 {
		t.Fatalf("crash before change %d, written on: %+v, %v", n, report, err)
	}
}

// tear cuts a write short at a sector, as a power cut may.
func tear(o *op, rnd *rand.Rand) {
	if sectors := (len(o.data) - 1) / 512; o.kind == opWrite && sectors > 0 && rnd.UintN(4) == 0 {
		o.data = o.data[:512*(1+rnd.IntN(sectors))]
	}
}

func (r *crashRun) verifyAll(t *testing.T, rnd *rand.Rand, each func(n int, m *memory)) {
	t.Helper()
	for n := range len(r.ops) + 1 {
		m := r.after(n, func(*op) bool { return true })
		each(n, m)
		r.verify(t, n, m)
		for range 2 {
			r.verify(t, n, r.after(n, func(o *op) bool {
				tear(o, rnd)
				return rnd.UintN(2) == 0
			}))
		}
	}
}

func TestNoCrashCorrupts(t *testing.T) {
	for _, l := range []Layout{
		{ClusterSize: 512, RefcountBits: 64},
		{ClusterSize: 512, RefcountBits: 64, BackingName: "base"},
		{ClusterSize: 4096, BackingName: "base"},
		{ClusterSize: 8192, Version: 2, BackingName: "base"},
	} {
		t.Run(l.name(), func(t *testing.T) {
			t.Parallel()
			l.Size, l.BackingFormat = 100_000, "raw"
			var backing plain
			if l.BackingName != "" {
				backing = pattern(70_000, 1)
			}
			rnd := rand.New(rand.NewPCG(7, 7))
			run := recordRun(t, create(t, l), backing, int(l.Size), 25, rnd)
			checked := 0
			run.verifyAll(t, rnd, func(n int, m *memory) {
				if n%(len(run.ops)/8) == 0 {
					qemuCheck(t, m)
					checked++
				}
			})
			t.Logf("%d changes of the file, %d flushes, %d states checked by qemu-img", len(run.ops), len(run.flushes)-1, checked)
		})
	}
}

func TestNoCrashCorruptsWhereTablesGrow(t *testing.T) {
	// The L1 table moves on the way, and the table of counts, whose cluster leads to 2 MiB.
	l := Layout{Size: 100_000, ClusterSize: 512, RefcountBits: 64}
	m := create(t, l)
	d := openOn(t, m, nil)
	if err := d.Resize(3 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(pattern(1_900_000, 3), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	run := &crashRun{start: bytes.Clone(m.data)}
	m.record = true
	d = openOn(t, m, nil)
	want := make([]byte, 3<<20)
	copy(want, pattern(1_900_000, 3))
	first := flushed{want: want, touched: make([]bool, 3<<20)}
	for i := 1_900_000; i < 2_600_000; i++ {
		first.touched[i] = true
	}
	for off := 1_900_000; off < 2_600_000; off += 100_000 {
		if _, err := d.WriteAt(pattern(100_000, 4), int64(off)); err != nil {
			t.Fatal(err)
		}
		if off%300_000 == 100_000 {
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := d.Resize(8 << 20); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d.refs.clusters < 2 {
		t.Fatal("the table of counts did not grow")
	}
	run.ops, run.flushes = m.ops, []flushed{first}
	rnd := rand.New(rand.NewPCG(3, 3))
	for n := 0; n <= len(run.ops); n++ {
		if n < len(run.ops) && run.ops[n].kind == opWrite && run.ops[n].off > 8192 && rnd.UintN(40) > 0 {
			continue // most data writes are alike
		}
		run.verify(t, n, run.after(n, func(o *op) bool { tear(o, rnd); return rnd.UintN(3) > 0 }))
	}
}

func TestNoCrashCorruptsSnapshots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", path, "200000")
	qemuIO(t, path, "write -P 17 0 150000")
	qemuImg(t, "snapshot", "-c", "one", path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(9, 9))
	run := recordRun(t, &memory{data: data}, nil, 200_000/512*512, 40, rnd)
	run.verifyAll(t, rnd, func(n int, m *memory) {
		if n%(len(run.ops)/4) == 0 || n == len(run.ops) {
			qemuCheck(t, m)
		}
	})
	// What the snapshot holds is as it was.
	end := run.after(len(run.ops), func(*op) bool { return true })
	if err := os.WriteFile(path, end.data, 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "snapshot", "-a", "one", path)
	qemuIO(t, path, "read -P 17 0 150000")
	qemuImg(t, "snapshot", "-d", "one", path)
	qemuImg(t, "check", "-q", path)
}

// qemuCheck has qemu-img look at a state of the file. Leaks (status 3) are allowed.
func qemuCheck(t *testing.T, m *memory) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "crashed.qcow2")
	if err := os.WriteFile(path, m.data, 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Remove(path) }()
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "base"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-img", "check", "-f", "qcow2", path)
	if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("qemu-img check: %v\n%s", err, out)
	}
}

func qemuImg(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func qemuIO(t testing.TB, path string, commands ...string) {
	t.Helper()
	args := []string{"-f", "qcow2"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.Command("qemu-io", append(args, path)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("verification failed")) || bytes.Contains(out, []byte("failed:")) {
		t.Fatalf("qemu-io %v: %v\n%s", commands, err, out)
	}
}
