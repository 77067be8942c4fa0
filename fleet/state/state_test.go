package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gureum/gureum/fleet/spec"
)

func testDirs(t *testing.T) Dirs {
	t.Helper()
	base, err := os.MkdirTemp("", "gur") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	d := Dirs{filepath.Join(base, "s"), filepath.Join(base, "r")}
	if err := d.Make(); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDefaultDirs(t *testing.T) {
	t.Setenv(EnvState, "s")
	t.Setenv(EnvRun, "/r")
	d, err := DefaultDirs()
	if err != nil || !filepath.IsAbs(d.State) || d.Run != "/r" {
		t.Errorf("%+v, %v", d, err)
	}
	long := Dirs{t.TempDir(), "/tmp/" + strings.Repeat("x", 60)}
	if err := long.Make(); err == nil || !strings.Contains(err.Error(), EnvRun) {
		t.Errorf("a path that sockets do not fit behind: %v", err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if held, err := Held(path); held || err != nil {
		t.Errorf("no file: %v, %v", held, err)
	}
	l, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if held, err := Held(path); !held || err != nil {
		t.Errorf("held: %v, %v", held, err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrBusy) {
		t.Errorf("twice: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := WaitLock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waited: %v", err)
	}
	time.AfterFunc(30*time.Millisecond, func() { _ = l.Unlock() })
	again, err := WaitLock(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Unlock(); err != nil {
		t.Error(err)
	}
	if held, err := Held(path); held || err != nil {
		t.Errorf("free: %v, %v", held, err)
	}
}

// TestLookingTakesNoLock has many look whether a lock is held, while it is taken and given
// up: who takes it never finds it busy, and who looks sees none when there is none.
func TestLookingTakesNoLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := TryLock(path)
	if err == nil {
		err = l.Unlock()
	}
	if err != nil {
		t.Fatal(err)
	}
	look := func(rounds int) {
		var wg sync.WaitGroup
		defer wg.Wait()
		for range 4 {
			wg.Go(func() {
				for range rounds {
					if held, err := Held(path); held || err != nil {
						t.Errorf("nobody holds it: %v, %v", held, err)
						return
					}
				}
			})
		}
	}
	look(500)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if _, err := Held(path); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for range 500 {
		l, err := TryLock(path)
		if err != nil {
			t.Error(err)
			break
		}
		if err := l.Unlock(); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
}

func TestRecords(t *testing.T) {
	d := testDirs(t)
	id := NewID(IDLength)
	if _, err := d.GetVM(id); !errors.Is(err, ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	vm := &VM{ID: id, Name: "web", Spec: spec.Spec{CPUs: 2, Disk: []string{"a"}}, Want: WantRunning}
	if err := d.PutVM(vm); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"web", id, id[:4]} {
		got, err := d.FindVM(ref)
		if err != nil || got.ID != id || got.Spec.CPUs != 2 || got.Want != WantRunning {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}
	for _, ref := range []string{"", "we", id[:1], "other"} {
		if got, err := d.FindVM(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %+v, %v", ref, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.VMDir(id), tempPrefix+"x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(d.VMDir(id)); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.VMDir(id), ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := d.RemoveVM(id); err != nil {
		t.Fatal(err)
	}
	if vms, err := d.VMs(); len(vms) > 0 || err != nil {
		t.Errorf("removed: %v, %v", vms, err)
	}
}

func TestDamagedRecordDoesNotHideOthers(t *testing.T) {
	d := testDirs(t)
	good, bad, newer := strings.Repeat("a", IDLength), strings.Repeat("b", IDLength), strings.Repeat("c", IDLength)
	if err := d.PutVM(&VM{ID: good, Name: "good"}); err != nil {
		t.Fatal(err)
	}
	for id, text := range map[string]string{bad: `{"id":"bb`, newer: `{"id":"` + newer + `","wings":2}`} {
		if err := os.MkdirAll(d.VMDir(id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.VMDir(id), vmRecord), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vms, err := d.VMs()
	if len(vms) != 1 || vms[0].Name != "good" || err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), newer) {
		t.Errorf("%v, %v", vms, err)
	}
	if vm, err := d.FindVM("good"); err != nil || vm.ID != good {
		t.Errorf("%v, %v", vm, err)
	}
	if _, err := d.FindVM("lost"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("one that may be among the damaged: %v", err)
	}
}

func TestStrays(t *testing.T) {
	d := testDirs(t)
	for _, dir := range []string{d.VMDir("aaaaaaaaaaaa"), d.VMRun("bbbbbbbbbbbb"), d.VMRun("cccccccccccc")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.PutVM(&VM{ID: "cccccccccccc"}); err != nil {
		t.Fatal(err)
	}
	strays, err := d.Strays()
	if err != nil || strings.Join(strays, " ") != "aaaaaaaaaaaa bbbbbbbbbbbb" {
		t.Errorf("%v, %v", strays, err)
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "web-1", "0", strings.Repeat("x", 63)} {
		if err := CheckName("machine", good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a.b", "a b", "../x", strings.Repeat("x", 64)} {
		if CheckName("machine", bad) == nil {
			t.Errorf("%q is taken for a name", bad)
		}
	}
	for range 100 {
		id := NewID(IDLength)
		if len(id) != IDLength || strings.Trim(id, "0123456789") == "" {
			t.Errorf("id %q", id)
		}
	}
}

func TestStatus(t *testing.T) {
	seven := 7
	for name, c := range map[string]struct {
		alive  bool
		events []Entry
		want   Status
	}{
		"new":      {false, nil, Status{Phase: Created}},
		"starting": {true, nil, Status{Phase: Running}},
		"runs":     {true, []Entry{{Event: EventStart, PID: 5}, {Event: EventStage, Stage: "agent"}}, Status{Phase: Running, PID: 5, Stage: StageAgent}},
		"paused":   {true, []Entry{{Event: EventStart, PID: 5}, {Event: EventPause}}, Status{Phase: Paused, PID: 5}},
		"resumed":  {true, []Entry{{Event: EventStart, PID: 5}, {Event: EventPause}, {Event: EventResume}}, Status{Phase: Running, PID: 5}},
		"ended":    {false, []Entry{{Event: EventStart, PID: 5}, {Event: EventEnd, Reason: "poweroff", Status: &seven}}, Status{Phase: Exited, Reason: "poweroff", ExitStatus: &seven}},
		"again":    {true, []Entry{{Event: EventStart, PID: 5}, {Event: EventEnd, Reason: "x"}, {Event: EventStart, PID: 6}}, Status{Phase: Running, PID: 6}},
		"killed":   {false, []Entry{{Event: EventStart, PID: 5}}, Status{Phase: Lost, Reason: "its process was killed, or the host went down"}},
		"told":     {false, []Entry{{Event: EventStart, PID: 5}, {Event: EventLost, Reason: "killed"}}, Status{Phase: Lost, Reason: "killed"}},
	} {
		if got := statusOf(c.alive, c.events); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestJournalSurvivesATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	add := func(event string) {
		t.Helper()
		j, err := OpenJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Add(Entry{Event: event}); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	add(EventStart)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"event":"en`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	add(EventPause)
	entries, err := ReadJournal(path)
	if err != nil || len(entries) != 2 || entries[0].Event != EventStart || entries[1].Event != EventPause || entries[1].Time.IsZero() {
		t.Errorf("%+v, %v", entries, err)
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	var all, followed bytes.Buffer
	var at LogPosition
	for i := range 60 {
		line := bytes.Repeat([]byte{byte('a' + i%26)}, 128<<10)
		all.Write(line)
		if n, err := l.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
		if i%7 == 0 { // reopened by the next run
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = OpenLog(path); err != nil {
				t.Fatal(err)
			}
		}
		if at, err = FollowLog(path, &followed, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(followed.Bytes(), all.Bytes()) {
		t.Errorf("followed %d of %d bytes, or others", followed.Len(), all.Len())
	}
	var kept bytes.Buffer
	if _, err := ReadLog(path, &kept); err != nil {
		t.Fatal(err)
	}
	if kept.Len() < LogSize/2 || kept.Len() > LogSize+256<<10 || !bytes.HasSuffix(all.Bytes(), kept.Bytes()) {
		t.Errorf("%d bytes are kept, or not the end", kept.Len())
	}
}
