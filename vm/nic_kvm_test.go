package vm

import (
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	virtionet "github.com/gureum/gureum/virtio/net"
)

const testTap = "gurvm0"

// network starts a guest with one interface and joins it to the host; it returns the
// host's address as the guest sees it.
func network(t *testing.T, transport Transport, nic NIC) (*linuxGuest, string) {
	t.Helper()
	c := Config{Transport: transport, CPUs: nic.Queues, NICs: []NIC{nic}}
	g := startLinux(t, c)
	if nic.User {
		g.sh("ip link set eth0 up && udhcpc -i eth0 -n -q")
		return g, "10.0.2.2"
	}
	if out, err := exec.Command("ip", "addr", "add", "10.9.0.1/24", "dev", nic.Tap).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	g.sh("ip link set eth0 up && ip addr add 10.9.0.2/24 dev eth0 && ping -c 2 10.9.0.1")
	return g, "10.9.0.1"
}

// TestKVMNetworkExits counts what TCP costs: while it flows there is no exit to user
// space for it, on either transport, with the frames moved here, by the host's
// kernel, or by the network in user space.
func TestKVMNetworkExits(t *testing.T) {
	for _, transport := range []Transport{TransportMMIO, TransportPCI} {
		for name, nic := range map[string]NIC{
			"user":      {User: true, HostLoopback: true},
			"vhost off": {Tap: testTap, Vhost: virtionet.VhostOff},
			"vhost on":  {Tap: testTap, Vhost: virtionet.VhostOn},
			"2 queues":  {Tap: testTap, Vhost: virtionet.VhostOff, Queues: 2},
		} {
			t.Run(fmt.Sprintf("%s, %s", transport, name), func(t *testing.T) {
				g, host := network(t, transport, nic)
				if vhost := g.NICs()[0].Vhost; vhost != (nic.Vhost == virtionet.VhostOn) {
					t.Errorf("vhost %v", vhost)
				}
				g.countExits("out", host, func(c net.Conn, b []byte) (int, error) { return c.Read(b) }, "nc %s %d </dev/zero")
				g.countExits("in", host, func(c net.Conn, b []byte) (int, error) { return c.Write(b) }, "nc %s %d </dev/null >/dev/null")
			})
		}
	}
}

// countExits lets a stream flow and counts exits in the middle of it, where no
// command of the agent disturbs.
func (l *linuxGuest) countExits(what, host string, step func(net.Conn, []byte) (int, error), script string) {
	l.t.Helper()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		l.t.Fatal(err)
	}
	defer listener.Close()
	const before, counted = 1 << 20, 8 << 20 // bytes
	var exits, nanos uint64
	done := make(chan error, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		flow := func(n int) {
			b := make([]byte, 128<<10)
			for sum := 0; sum < n && err == nil; {
				var size int
				size, err = step(c, b)
				sum += size
			}
		}
		flow(before)
		first, start := l.userExits(), time.Now()
		flow(counted)
		exits, nanos = l.userExits()-first, uint64(time.Since(start))
		done <- err
	}()
	l.try(fmt.Sprintf(script, host, listener.Addr().(*net.TCPAddr).Port))
	if err := <-done; err != nil {
		l.t.Fatal(err)
	}
	per := float64(exits) / (counted >> 16)
	l.t.Logf("%s: %d exits to user space for %d MiB, %.3f for 64 KiB; %.0f Mbit/s", what, exits, counted>>20, per, counted*8e3/float64(nanos))
	if per > 0.1 {
		l.t.Errorf("%s: %.3f exits to user space for 64 KiB: %v", what, per, l.Exits())
	}
}

func (l *linuxGuest) userExits() (n uint64) {
	for _, v := range l.Exits() {
		n += v
	}
	return n
}

// TestKVMLink has a guest see its cable plugged out and in.
func TestKVMLink(t *testing.T) {
	for name, mode := range map[string]virtionet.VhostMode{"off": virtionet.VhostOff, "on": virtionet.VhostOn} {
		t.Run("vhost "+name, func(t *testing.T) {
			g, host := network(t, TransportAuto, NIC{Tap: testTap, Vhost: mode})
			for _, up := range []bool{false, true, false, true} {
				if err := g.SetLink(0, up); err != nil {
					t.Fatal(err)
				}
				want := map[bool]string{false: "0", true: "1"}[up]
				g.sh("for i in $(seq 100); do [ $(cat /sys/class/net/eth0/carrier) = " + want + " ] && exit 0; sleep 0.05; done; exit 1")
				ping := "ping -c 1 -W 1 " + host
				if up { // a packet may be lost while the cable is put in
					ping = "for i in $(seq 20); do ping -c 1 -W 2 " + host + " && exit 0; sleep 0.1; done; exit 1"
				}
				if _, status := g.try(ping); status != 0 == up {
					t.Errorf("link up %v: ping gave %d", up, status)
				}
			}
		})
	}
}
