package load

import (
	"net"
	"testing"
	"time"
)

func TestUDP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- Serve(l) }()
	for _, receive := range []bool{false, true} {
		const amount = 3*datagramWindow + 5
		r, err := RunUDP(UDPJob{Server: l.Addr().String(), Receive: receive, Amount: amount})
		if err != nil || r.Sent != amount || r.Received != amount || r.PerSecond() <= 0 {
			t.Errorf("receive %t: %+v, %v", receive, r, err)
		}
	}
	if _, err := RunUDP(UDPJob{Server: l.Addr().String(), Amount: 1}); err == nil {
		t.Error("one datagram has a rate")
	}
	_ = l.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// lossy loses one datagram in three.
type lossy struct {
	net.Conn
	n int
}

func (l *lossy) Write(b []byte) (int, error) {
	if l.n++; l.n%3 == 0 {
		return len(b), nil
	}
	return l.Conn.Write(b)
}

// TestLostDatagrams: the sender goes on after a loss, and it is told.
func TestLostDatagrams(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const amount = 3 * 2 * datagramWindow
	got := make(chan credit, 1)
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	go func() {
		defer close(got)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if r, err := receiveDatagrams(c.(*net.TCPConn), socket, amount); err == nil {
			got <- r
		}
	}()
	control, err := net.DialTimeout("tcp", l.Addr().String(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	to, err := net.Dial("udp", socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	sent, err := sendDatagrams(control.(*net.TCPConn), &lossy{Conn: to}, amount)
	received := <-got
	if err != nil || sent.received != received.received || received.received != amount/3*2 {
		t.Errorf("%+v, %+v, %v", sent, received, err)
	}
}
