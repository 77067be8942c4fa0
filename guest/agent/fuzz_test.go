package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"time"
)

// FuzzGuestStream is a guest that sends what it likes once a command runs. The
// host must neither panic nor hang, nor hold more than its windows.
func FuzzGuestStream(f *testing.F) {
	f.Add(newFrame(typeStarted, 1, []byte{1, 0, 0, 0, 0, 16, 0, 0}))
	f.Add(append(newFrame(typeStdout, 1, []byte("hi")), ExitStatus{Code: 3}.frame(1)...))
	f.Add((&ExecError{Code: 127, Errno: 2, Message: "no"}).frame(1))
	f.Add(window{streamStdin, 100}.frame(1))
	f.Add(closedFrame(1, streamStdin))
	f.Add(hello{version: 1, minVersion: 1}.frame(typeGuestHello))
	f.Add(newFrame(typeShutdownDone, 0, []byte{0, 0}))
	f.Add(newFrame(typePong, 0, make([]byte, 8)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		host, guest := net.Pipe()
		done := hostileGuest(guest, hello{maxCommands: 2, features: FeatureTTY}, 1, stream)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err := DialContext(ctx, host)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		_, err = c.Run(ctx, Command{Args: sh("true"), Stdout: &out, Stdin: bytes.NewReader(make([]byte, 1000))})
		if ctx.Err() != nil {
			t.Fatal("hangs")
		}
		var fault *ExecError
		if err != nil && !errors.Is(err, ErrDisconnected) && !errors.As(err, &fault) {
			t.Fatal(err)
		}
		c.Close()
		<-done
	})
}

// hostileGuest is a guest that greets the host, waits for a number of requests and
// then sends what it likes.
func hostileGuest(guest net.Conn, greeting hello, requests int, parts ...[]byte) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		r := newFrameReader(guest)
		h, _ := r.sync(typeHostHello)
		greeting.version, greeting.minVersion, greeting.nonce = 1, 1, h.nonce
		_, _ = guest.Write(greeting.frame(typeGuestHello))
		for range requests {
			_, _, _ = r.next()
		}
		go discard(guest)
		for _, part := range parts {
			_, _ = guest.Write(part)
		}
		guest.Close()
	}()
	return done
}

// FuzzHostStream is a host that sends what it likes. Commands are refused just
// before they would start.
func FuzzHostStream(f *testing.F) {
	exec, err := (&execRequest{args: []string{"true"}, stdoutWindow: 1, stderrWindow: 1}).encode()
	if err != nil {
		f.Fatal(err)
	}
	start := hello{version: 1, minVersion: 1, nonce: 5}.frame(typeHostHello)
	part := newFrame(typeExec, 2, exec[:9])
	part[1] = flagMore
	f.Add(bytes.Join([][]byte{start, newFrame(typeExec, 1, exec)}, nil))
	f.Add(bytes.Join([][]byte{start, part, newFrame(typeExec, 2, exec[9:])}, nil))
	f.Add(bytes.Join([][]byte{[]byte("garbage"), start, newFrame(typePing, 0, make([]byte, 8)), start}, nil))
	f.Add(bytes.Join([][]byte{start, newFrame(typeSignal, 1, []byte{9}), newFrame(typeResize, 1, []byte{1, 0, 2, 0})}, nil))
	f.Add(bytes.Join([][]byte{start, newFrame(typeShutdown, 0, []byte{1})}, nil))
	f.Fuzz(func(t *testing.T, stream []byte) {
		rw := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(stream), io.Discard}
		refuse := errors.New("refused")
		err := Serve(rw, ServeOptions{Ready: func() error { return refuse }, Shutdown: func(ShutdownKind) {}})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzExec holds that what is accepted means what it says: it can be encoded
// again, to the same bytes.
func FuzzExec(f *testing.F) {
	b, err := (&execRequest{
		flags: execTTY, rows: 24, cols: 80, stdoutWindow: 1, stderrWindow: MaxWindow,
		dir: "/", args: []string{"sh", "-c", ""}, env: []string{"A=b"},
	}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, p []byte) {
		req, err := parseExec(p)
		if err != nil {
			return
		}
		again, err := req.encode()
		if err != nil || !bytes.Equal(again, p) {
			t.Fatalf("%x encodes to %x, %v", p, again, err)
		}
	})
}

// FuzzSync holds that a hello is found behind any garbage.
func FuzzSync(f *testing.F) {
	mark := hello{version: 1, minVersion: 1, nonce: 7}.frame(typeHostHello)
	f.Add([]byte("x"))
	f.Add(mark[:20])
	f.Add(bytes.Repeat(mark[:9], 600))
	f.Fuzz(func(t *testing.T, garbage []byte) {
		if bytes.Contains(garbage, []byte(helloMagic)) {
			return
		}
		r := newFrameReader(io.MultiReader(bytes.NewReader(garbage), bytes.NewReader(mark)))
		h, err := r.sync(typeHostHello)
		if err != nil || !reflect.DeepEqual(h, hello{version: 1, minVersion: 1, nonce: 7}) {
			t.Fatal(h, err)
		}
	})
}
