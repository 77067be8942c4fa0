package service

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestHostsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts.json")
	for _, hosts := range [][]Host{testHosts(), {}, testHosts()[:1]} {
		if err := WriteHosts(path, hosts); err != nil {
			t.Fatal(err)
		}
		got, _, err := ReadHosts(path)
		if err != nil || !reflect.DeepEqual(got, hosts) {
			t.Errorf("%+v, %v; want %+v", got, err, hosts)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	// What a writer that was killed has left is taken over.
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), ".hosts.json.new"), []byte(strings.Repeat("x", 100000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteHosts(path, testHosts()); err != nil {
		t.Fatal(err)
	}
	if got, _, err := ReadHosts(path); err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, _, err := ReadHosts(path + ".no"); !os.IsNotExist(errUnwrap(err)) {
		t.Errorf("missing: %v", err)
	}
}

func errUnwrap(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || os.IsNotExist(err) {
			return err
		}
		err = u.Unwrap()
	}
}

// TestHostsWritersTogether holds that a reader always sees one writer's whole work.
func TestHostsWritersTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts.json")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for range 20 {
				var hosts []Host
				for i := range 1 + w*10 {
					hosts = append(hosts, Host{Name: fmt.Sprintf("w%d-%d", w, i), MAC: [6]byte{2, 0, 0, 0, byte(w), byte(i)}})
				}
				if err := WriteHosts(path, hosts); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for reads := 0; ; reads++ {
		select {
		case <-done:
			if reads == 0 {
				t.Error("no read")
			}
			return
		default:
		}
		hosts, _, err := ReadHosts(path)
		if os.IsNotExist(errUnwrap(err)) {
			continue
		}
		if err != nil || len(hosts) == 0 {
			t.Fatalf("%d hosts, %v", len(hosts), err)
		}
		var w, i int
		if _, err := fmt.Sscanf(hosts[0].Name, "w%d-%d", &w, &i); err != nil || len(hosts) != 1+w*10 {
			t.Fatalf("%d hosts of writer %d: %v", len(hosts), w, err)
		}
	}
}

func TestHostsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts.json")
	mac := webMAC
	for _, h := range []Host{
		{Name: "", MAC: mac},
		{Name: "a b", MAC: mac},
		{Name: "-a", MAC: mac},
		{Name: "a..b", MAC: mac},
		{Name: strings.Repeat("a", 64), MAC: mac},
		{Name: strings.Repeat("a.", 120) + "a", MAC: mac},
		{Name: "ü", MAC: mac},
		{Name: "a"},
		{Name: "a", MAC: [6]byte{1}},
		{Name: "a", MAC: mac, IP: netip.MustParseAddr("fd00::1")},
		{Name: "a", MAC: mac, IP6: netip.MustParseAddr("10.0.0.1")},
		{Name: "a", MAC: mac, IP6: netip.MustParseAddr("fe80::1%lo")},
	} {
		if err := WriteHosts(path, []Host{h}); err == nil {
			t.Errorf("%+v: no error", h)
		}
	}
	twice := testHosts()
	twice[1].MAC = twice[0].MAC
	if err := WriteHosts(path, twice); err == nil || !strings.Contains(err.Error(), `"Web" and "db.prod"`) {
		t.Errorf("two with one MAC address: %v", err)
	}
	twice = testHosts()
	twice[1].IP = twice[0].IP
	if err := WriteHosts(path, twice); err == nil {
		t.Error("two with one address: no error")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file of wrong hosts")
	}
	for _, text := range []string{"", "{", `{"hosts":[{"name":"a","mac":"x"}]}`, `{"hosts":[{"name":"a","mac":"02:00:00:00:00:01","ip":"fd00::1"}]}`, `{"hosts":[{"name":"a b","mac":"02:00:00:00:00:01"}]}`, strings.Repeat(" ", maxHostsFile+1)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ReadHosts(path); err == nil {
			t.Errorf("%.40q: no error", text)
		}
	}
	if err := WriteHosts(filepath.Join(path, "x"), nil); err == nil {
		t.Error("no folder: no error")
	}
}

// TestStoreFollows changes the file under an open store.
func TestStoreFollows(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hosts.json")
	var log strings.Builder
	s, err := openHosts(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	expect := func(what string, n int) {
		t.Helper()
		if got := len(s.current().byMAC); got != n {
			t.Errorf("%s: %d hosts, want %d", what, got, n)
		}
	}
	expect("no file", 0)
	for i := range 50 {
		if err := WriteHosts(path, testHosts()[:i%3]); err != nil {
			t.Fatal(err)
		}
		expect("written", i%3)
	}
	// The folder is known by its descriptor, not by its name.
	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(moved, "hosts.json")
	if err := WriteHosts(path, testHosts()); err != nil {
		t.Fatal(err)
	}
	expect("moved", 2)
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("broken", 2)
	expect("broken", 2)
	if n := strings.Count(log.String(), "hosts file is not read"); n != 1 {
		t.Errorf("%d lines: %s", n, log.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("removed", 0)
	if err := WriteHosts(path, testHosts()[:1]); err != nil {
		t.Fatal(err)
	}
	expect("new", 1)
}

func BenchmarkCurrent(b *testing.B) {
	s := newClosed(b, testConfig())
	for b.Loop() {
		if len(s.hosts.current().byMAC) != 2 {
			b.Fatal("hosts")
		}
	}
}
