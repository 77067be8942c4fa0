package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
)

func TestEscapeReader(t *testing.T) {
	for _, c := range []struct {
		name, in, out, escapes string
		help                   bool
	}{
		{name: "plain", in: "ls -l\n", out: "ls -l\n"},
		{name: "stop", in: "a\x1dqb", out: "ab", escapes: "q"},
		{name: "power", in: "\x1dp", escapes: "p"},
		{name: "literal", in: "a\x1d\x1db", out: "a\x1db"},
		{name: "help", in: "\x1d?x", out: "x", help: true},
		{name: "cut short", in: "a\x1d", out: "a"},
	} {
		for _, chunks := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			var escapes, help bytes.Buffer
			r := &escapeReader{in: chunks(bytes.NewBufferString(c.in)), help: &help, text: escapeHelp, keys: "pq", escape: func(k byte) { escapes.WriteByte(k) }}
			out, err := io.ReadAll(r)
			if err != nil || string(out) != c.out || escapes.String() != c.escapes || (help.Len() > 0) != c.help {
				t.Errorf("%s: %q, escapes %q, help %v, %v", c.name, out, escapes.String(), help.Len() > 0, err)
			}
		}
	}
}

func TestInputCanBeCalledBack(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	in, err := newInput(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if n, err := in.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	done := make(chan error)
	go func() {
		_, err := in.Read(buf)
		done <- err
	}()
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, io.EOF) {
		t.Errorf("the reader got %v, want io.EOF", err)
	}
}
