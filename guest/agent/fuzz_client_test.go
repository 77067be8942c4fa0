package agent

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// FuzzClient is a guest that sends what it likes while the host does all it can at
// once: a command on channel 1, a copy each way on channels 2 and 3, questions. It
// must come to an end, and write nothing but what it was told to.
func FuzzClient(f *testing.F) {
	started := []byte{1, 0, 0, 0, 0, 16, 0, 0}
	content := stream(f, entry{kind: entryFile, mode: 0o644, size: 5}, entry{kind: entryEnd})
	f.Add(newFrame(typeStarted, 2, started), newFrame(typeStdout, 2, content), ExitStatus{}.frame(2))
	f.Add(newFrame(typeStarted, 3, started), newFrame(typeStdout, 3, content), ExitStatus{}.frame(3))
	f.Add((&CopyError{Errno: 2, Message: "no"}).frame(2), (&CopyError{}).frame(1), []byte{})
	f.Add(newFrame(typeInfoReply, 0, (&Info{Hostname: "x"}).encode(make([]byte, 8))), newFrame(typeSetTimeDone, 0, make([]byte, 10)), []byte{})
	f.Add(newFrame(typeStarted, 1, started), newFrame(typeStdout, 1, []byte("hi")), ExitStatus{Code: 3}.frame(1))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		host, guest := net.Pipe()
		const requests = 3 // of channels
		done := hostileGuest(guest, hello{maxCommands: 9, features: ^Features(0)}, requests, a, b, c)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		client, err := DialContext(ctx, host)
		if err != nil {
			t.Fatal(err)
		}
		place := t.TempDir()
		if err := os.WriteFile(place+"/file", make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
		command, err := client.Start(ctx, Command{Args: sh("true"), Stdin: strings.NewReader("in"), Stdout: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		jobs := make(chan error, 4)
		go func() { jobs <- client.CopyFrom(ctx, "/etc/x", place+"/out", CopyLimits{Bytes: 1 << 20, Entries: 50}) }()
		go func() { jobs <- client.CopyTo(ctx, place+"/file", "/x") }()
		go func() { _, err := client.Info(ctx); jobs <- err }()
		go func() { jobs <- client.SetTime(ctx, time.Unix(1, 1)) }()
		for range 4 {
			if err := <-jobs; err != nil {
				t.Log(err)
			}
		}
		_, _ = command.Wait()
		if ctx.Err() != nil {
			t.Fatal("hangs")
		}
		client.Close()
		<-done
		list, err := os.ReadDir(place)
		if err != nil || len(list) > 2 {
			t.Fatalf("%v, %v", list, err)
		}
		_ = os.Chmod(place+"/out", 0o700)
	})
}
