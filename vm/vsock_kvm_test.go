package vm

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// noise is n bytes that nothing compresses or mistakes for others.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// TestKVMAgentComesByVsock has the agent's bulk work done by a real guest.
func TestKVMAgentComesByVsock(t *testing.T) {
	for _, transport := range []Transport{TransportMMIO, TransportPCI} {
		t.Run(string(transport), func(t *testing.T) {
			g := startLinux(t, Config{Transport: transport, Memory: 512 << 20})
			if n := g.Vsock().Conns(); n != 1 {
				t.Fatalf("%d vsock connections, want the agent's", n)
			}
			data := noise(12 << 20)
			var out bytes.Buffer
			began := time.Now()
			st, err := g.client.Run(t.Context(), agent.Command{Args: []string{"cat"}, Stdin: bytes.NewReader(data), Stdout: &out})
			if err != nil || st.Code != 0 || !bytes.Equal(out.Bytes(), data) {
				t.Fatalf("cat of 12 MiB: %+v, %v, %d bytes", st, err, out.Len())
			}
			t.Logf("12 MiB through cat: %v", time.Since(began))
		})
	}
}

// TestKVMCopies takes 16 MiB into a guest and out again.
func TestKVMCopies(t *testing.T) {
	g := startLinux(t, Config{Memory: 512 << 20})
	dir := t.TempDir()
	data := noise(16 << 20)
	if err := os.WriteFile(dir+"/in", data, 0o640); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1_500_000_000, 5000)
	if err := os.Chtimes(dir+"/in", old, old); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := g.client.CopyTo(t.Context(), dir+"/in", "/tmp/x"); err != nil {
		t.Fatal(err)
	}
	there := time.Since(began)
	want := fmt.Sprintf("%x", sha256.Sum256(data))
	if got := g.sh("sha256sum /tmp/x; stat -c '%a %Y' /tmp/x"); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "640 1500000000") {
		t.Errorf("in the guest: %s", got)
	}
	began = time.Now()
	if err := g.client.CopyFrom(t.Context(), "/tmp/x", dir+"/out", agent.CopyLimits{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("16 MiB: %v to the guest, %v back", there, time.Since(began))
	back, err := os.ReadFile(dir + "/out")
	if err != nil || !bytes.Equal(back, data) {
		t.Errorf("back: %d bytes, %v", len(back), err)
	}
	// A tree of the guest's.
	if err := g.client.CopyFrom(t.Context(), "/etc", dir, agent.CopyLimits{}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "etc/passwd")); err != nil || strings.TrimSpace(string(b)) != g.sh("cat /etc/passwd") {
		t.Errorf("%q, %v", b, err)
	}
}

// TestKVMSignalPassesInput sends SIGTERM to a program with megabytes of input that it
// does not read.
func TestKVMSignalPassesInput(t *testing.T) {
	g := startLinux(t, Config{})
	ready := make(chan struct{})
	s, err := g.client.Start(t.Context(), agent.Command{
		Args:  []string{"sh", "-c", "echo up; exec sleep 100"},
		Stdin: bytes.NewReader(make([]byte, 10<<20)), Stdout: writerFunc(func(p []byte) (int, error) { close(ready); return len(p), nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	time.Sleep(100 * time.Millisecond) // the input fills all buffers
	began := time.Now()
	if err := s.Signal(int(syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	st, err := s.Wait()
	took := time.Since(began)
	if err != nil || st.Signal != int(syscall.SIGTERM) {
		t.Errorf("%+v, %v", st, err)
	}
	t.Logf("SIGTERM behind 10 MiB of input took effect after %v", took)
	if took > testTimeout/2 { // sleep would end after 100 s
		t.Errorf("SIGTERM took %v", took)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestKVMPaste types a megabyte into a terminal of the guest's.
func TestKVMPaste(t *testing.T) {
	g := startLinux(t, Config{})
	line := strings.Repeat("x", 99) + "\n"
	const lines = 10_000
	var out bytes.Buffer
	began := time.Now()
	st, err := g.client.Run(t.Context(), agent.Command{
		Args: []string{"sh", "-c", "stty -echo; echo ready; wc -c"}, TTY: true, Rows: 24, Cols: 80,
		Stdin: strings.NewReader(strings.Repeat(line, lines)), Stdout: &out,
	})
	if err != nil || st.Code != 0 || !strings.Contains(out.String(), fmt.Sprint(lines*len(line))) {
		t.Errorf("%+v, %v: %.200s", st, err, out.String())
	}
	t.Logf("1 MB pasted in %v", time.Since(began))
}

func TestKVMInfoAndTime(t *testing.T) {
	g := startLinux(t, Config{Name: "fares", CPUs: 2, NICs: []NIC{{User: true}}})
	g.sh("true") // the agent answers before the system is complete, and a command waits for that
	i, err := g.client.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i.Hostname != "fares" || i.CPUs != 2 || i.Kernel != g.sh("uname -r") || i.MemTotal < 200<<20 || i.MemTotal > 256<<20 || i.MemAvailable == 0 {
		t.Errorf("%+v", i)
	}
	found := false
	for _, a := range i.Addresses {
		found = found || a.Interface == "eth0" && bytes.Equal(a.IP, []byte{10, 0, 2, 15}) && a.Bits == 24
	}
	if !found {
		t.Errorf("addresses %+v", i.Addresses)
	}
	if err := g.client.SetTime(t.Context(), time.Unix(1_000_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	if now := g.sh("date +%s"); !strings.HasPrefix(now, "10000000") {
		t.Errorf("the guest's clock is at %s", now)
	}
}

// TestKVMManyHosts connects to the agent's port of the guest as often as it takes,
// beside the connection that the guest made.
func TestKVMManyHosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	g := startLinux(t, Config{Vsock: Vsock{Path: path}})
	var work sync.WaitGroup
	for n := range 10 {
		work.Go(func() {
			u, err := net.Dial("unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprintf(u, "CONNECT %d\n", agent.VsockPort)
			if err := readOK(u); err != nil {
				t.Error(err)
				return
			}
			c, err := agent.DialContext(t.Context(), u)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			var out bytes.Buffer
			st, err := c.Run(t.Context(), agent.Command{Args: []string{"echo", fmt.Sprint(n)}, Stdout: &out})
			if err != nil || st.Code != 0 || out.String() != fmt.Sprintln(n) {
				t.Errorf("%+v, %v, %q", st, err, out.String())
			}
		})
	}
	work.Wait()
	// A program of the guest's own is not the host, whichever address it uses.
	g.giveLoad()
	for _, cid := range []uint32{unix.VMADDR_CID_LOCAL, 3} {
		g.sh(fmt.Sprintf("/tmp/load vsock knock %d %d", cid, agent.VsockPort))
	}
}

// giveLoad puts the load program into the guest, which has nothing of its own that
// speaks AF_VSOCK.
func (l *linuxGuest) giveLoad() {
	l.t.Helper()
	if err := l.client.CopyTo(l.t.Context(), "../bin/load", "/tmp/load"); err != nil {
		l.t.Fatalf("%v (make build makes it)", err)
	}
}

func readOK(r io.Reader) error {
	var line []byte
	for b := [1]byte{}; b[0] != '\n'; line = append(line, b[0]) {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(string(line), "OK ") {
		return fmt.Errorf("%q", line)
	}
	return nil
}

// TestKVMGuestReachesUnixSockets joins nc-like programs of the guest's to a socket of
// the host's, by the guest's own AF_VSOCK sockets.
func TestKVMGuestReachesUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path+"_77")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for u, err := l.Accept(); err == nil; u, err = l.Accept() {
			go func() {
				defer u.Close()
				// An answer only once the guest has said all: half-close works.
				all, _ := io.ReadAll(u)
				fmt.Fprintf(u, "%x", sha256.Sum256(all))
			}()
		}
	}()
	g := startLinux(t, Config{Vsock: Vsock{Path: path, CID: 42}, Memory: 512 << 20})
	g.giveLoad()
	for _, size := range []int{0, 1, 1 << 20, 5 << 20} {
		data := noise(size)
		var out bytes.Buffer
		st, err := g.client.Run(t.Context(), agent.Command{
			Args: []string{"/tmp/load", "vsock", "pipe", "77"}, Stdin: bytes.NewReader(data), Stdout: &out, Stderr: &out,
		})
		if want := fmt.Sprintf("%x", sha256.Sum256(data)); err != nil || st.Code != 0 || out.String() != want {
			t.Errorf("%d bytes: %+v, %v, %s, want %s", size, st, err, out.String(), want)
		}
	}
	if out, _ := g.try("/tmp/load vsock pipe 78 </dev/null"); !strings.Contains(out, "reset") {
		t.Errorf("a port that nobody listens on: %s", out)
	}
	// Thousands of connections, all open at once.
	if out, code := g.try("ulimit -n 4096; /tmp/load vsock many 77 2500"); code != 0 {
		t.Errorf("status %d: %s", code, out)
	}
	eventually(t, "only the agent's connection is left", func() bool { return g.Vsock().Conns() == 1 })
}

// TestKVMVhostVsock has the host's kernel carry the packets.
func TestKVMVhostVsock(t *testing.T) {
	g := startLinux(t, Config{Vsock: Vsock{Vhost: true, CID: 4711}})
	// The agent that was started is on the serial port, and takes calls as well.
	call, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(call, &unix.SockaddrVM{CID: 4711, Port: agent.VsockPort}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(call, true); err != nil {
		t.Fatal(err)
	}
	client, err := agent.DialContext(t.Context(), os.NewFile(uintptr(call), "vsock"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	g.client = client
	g.giveLoad()
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: 77}), unix.Listen(fd, 1)); err != nil {
		t.Fatal(err)
	}
	data := noise(1 << 20)
	sums := make(chan string, 1)
	go func() {
		s, _, err := unix.Accept(fd)
		if err != nil {
			sums <- err.Error()
			return
		}
		f := os.NewFile(uintptr(s), "vsock")
		defer f.Close()
		all, _ := io.ReadAll(bufio.NewReader(f))
		sum := fmt.Sprintf("%x", sha256.Sum256(all))
		_, _ = io.WriteString(f, sum)
		sums <- sum
	}()
	var out bytes.Buffer
	st, err := g.client.Run(t.Context(), agent.Command{
		Args: []string{"/tmp/load", "vsock", "pipe", "77"}, Stdin: bytes.NewReader(data), Stdout: &out, Stderr: &out,
	})
	if sum := <-sums; err != nil || st.Code != 0 || out.String() != sum || sum != fmt.Sprintf("%x", sha256.Sum256(data)) {
		t.Errorf("%+v, %v, guest %s, host %s", st, err, out.String(), sum)
	}
}

func TestKVMMachineEndsUnderTheAgent(t *testing.T) {
	g := startLinux(t, Config{})
	s, err := g.client.Start(t.Context(), agent.Command{Args: []string{"sleep", "100"}})
	if err != nil {
		t.Fatal(err)
	}
	g.Kill()
	if _, err := s.Wait(); !errors.Is(err, agent.ErrDisconnected) {
		t.Errorf("%v, want ErrDisconnected", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if _, err := g.DialAgent(ctx); !errors.Is(err, agent.ErrDisconnected) {
		t.Errorf("a dead machine's agent: %v", err)
	}
}
