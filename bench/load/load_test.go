package load

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDiskMakesItsRequests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, j := range []DiskJob{
		{BlockSize: 4096, Depth: 1, Requests: 10},
		{BlockSize: 4096, Depth: 32, Requests: 1000, Random: true},
		{BlockSize: 512, Depth: 7, Requests: 3, Write: true},
		{BlockSize: 4096, Depth: 8, Requests: 101, Random: true, Mixed: true, Jobs: 3},
		{BlockSize: 4096, Depth: 2, Requests: 1, Jobs: 2},
		{BlockSize: 128 << 10, Depth: 4, Duration: 20 * time.Millisecond, Write: true},
	} {
		j.Path, j.Buffered = path, true
		r, err := RunDisk(j)
		if err != nil {
			t.Fatalf("%+v: %v", j, err)
		}
		if len(r.Latencies) != r.Requests || slices.Min(r.Latencies) <= 0 {
			t.Errorf("%+v: %d latencies of %d requests", j, len(r.Latencies), r.Requests)
		}
		if j.Requests != 0 && r.Requests != j.Requests || r.Requests == 0 || r.Bytes != int64(r.Requests*j.BlockSize) {
			t.Errorf("%+v: %+v", j, r)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 1<<20 {
		t.Errorf("the file is %v bytes long now (%v)", st.Size(), err)
	}
}

func TestDiskRefusesWhatCannotBe(t *testing.T) {
	small := filepath.Join(t.TempDir(), "small")
	if err := os.WriteFile(small, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	good := DiskJob{Path: small, BlockSize: 512, Depth: 1, Requests: 1, Buffered: true}
	for want, spoil := range map[string]func(*DiskJob){
		"less than one block": func(*DiskJob) {},
		"block size":          func(j *DiskJob) { j.BlockSize = 100 },
		"depth":               func(j *DiskJob) { j.Depth = 0 },
		"duration":            func(j *DiskJob) { j.Requests = 0 },
		"jobs":                func(j *DiskJob) { j.Jobs = -1 },
		"not both":            func(j *DiskJob) { j.Write, j.Mixed = true, true },
		"no such file":        func(j *DiskJob) { j.Path += "er" },
	} {
		j := good
		spoil(&j)
		if _, err := RunDisk(j); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- Serve(l) }()
	for _, j := range []TCPJob{
		{Kind: "send", Amount: 3 << 20, Streams: 1},
		{Kind: "fetch", Amount: 3 << 20, Streams: 2},
		{Kind: "echo", Amount: 50, Streams: 1},
		{Kind: "connect", Amount: 20, Streams: 2},
	} {
		j.Server = l.Addr().String()
		r, err := RunTCP(j)
		if err != nil || r.Amount != j.Amount {
			t.Errorf("%+v: %+v, %v", j, r, err)
		}
		if each := j.Kind == KindEcho || j.Kind == KindConnect; each && uint64(len(r.Latencies)) != j.Amount {
			t.Errorf("%+v: %d latencies", j, len(r.Latencies))
		}
	}
	if _, err := RunTCP(TCPJob{Server: l.Addr().String(), Kind: "other", Amount: 1, Streams: 1}); err == nil {
		t.Error("an unknown kind was accepted")
	}
	_ = l.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestDiskMix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	// All blocks differ, and a write has in its buffer what the read before it has found.
	before := make([]byte, 1<<20)
	for i := range before {
		before[i] = byte(i / 4096)
	}
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	const blocks = 256
	if _, err := RunDisk(DiskJob{Path: path, BlockSize: 4096, Depth: 1, Requests: blocks, Mixed: true, Buffered: true}); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for i := range blocks {
		if !bytes.Equal(after[i*4096:(i+1)*4096], before[i*4096:(i+1)*4096]) {
			written++
		}
	}
	if share := float64(written) / blocks; share < 0.2 || share > 0.4 {
		t.Errorf("%v of the requests were writes, want 0.3", share)
	}
}
