package report

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// browser is a headless Chromium that is spoken to by its DevTools protocol over two pipes
// (--remote-debugging-pipe: messages in JSON, each ended by a zero byte). Unlike its command line
// the protocol can choose dark or light and the size of a phone, and it tells each request.
type browser struct {
	t       *testing.T
	in      *os.File
	out     *bufio.Reader
	last    int
	session string
	// requests are the addresses that the page asked for.
	requests []string
}

// message is one of the protocol's, either way.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    any             `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     json.RawMessage `json:"error,omitempty"`
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: 'make setup' installs it", err)
	}
	toRead, toWrite, err := os.Pipe() // what we write
	if err != nil {
		t.Fatal(err)
	}
	fromRead, fromWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--host-resolver-rules=MAP * ~NOTFOUND", "--user-data-dir="+t.TempDir(), "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{toRead, fromWrite} // descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = toRead.Close(), fromWrite.Close()
	b := &browser{t: t, in: toWrite, out: bufio.NewReader(fromRead)}
	t.Cleanup(sync.OnceFunc(func() {
		b.session = ""
		b.call("Browser.close", nil)
		_ = cmd.Wait()
		_, _ = toWrite.Close(), fromRead.Close()
	}))
	b.attach()
	return b
}

// attach opens a tab; what is called from then on is for it.
func (b *browser) attach() {
	var target struct{ TargetID string }
	b.get(&target, "Target.createTarget", map[string]any{"url": "about:blank"})
	var session struct{ SessionID string }
	b.get(&session, "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true})
	b.session = session.SessionID
	b.call("Emulation.setScrollbarsHidden", map[string]any{"hidden": true})
	b.call("Network.enable", nil)
	b.call("Page.enable", nil)
}

// call makes a call and gives its result, and takes note of requests that are told meanwhile.
func (b *browser) call(method string, params any) json.RawMessage {
	b.t.Helper()
	b.last++
	if params == nil {
		params = map[string]any{}
	}
	text, err := json.Marshal(message{ID: b.last, SessionID: b.session, Method: method, Params: params})
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	for {
		m := b.next(method)
		if m.ID != b.last {
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error)
		}
		return m.Result
	}
}

// next is the next message; an event that tells of a request is noted.
func (b *browser) next(waiting string) message {
	b.t.Helper()
	text, err := b.out.ReadBytes(0)
	if err != nil {
		b.t.Fatalf("chromium is gone, waiting for %s: %v", waiting, err)
	}
	var m message
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		b.t.Fatal(err)
	}
	if m.Method == "Network.requestWillBeSent" {
		var event struct {
			Params struct{ Request struct{ URL string } }
		}
		if err := json.Unmarshal(text[:len(text)-1], &event); err != nil {
			b.t.Fatal(err)
		}
		b.requests = append(b.requests, event.Params.Request.URL)
	}
	return m
}

func (b *browser) get(into any, method string, params any) {
	b.t.Helper()
	if err := json.Unmarshal(b.call(method, params), into); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

// show opens a page in a window so wide, in light or dark, and waits until it is there.
func (b *browser) show(url, scheme string, width int) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700})
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}})
	b.call("Page.navigate", map[string]any{"url": url})
	for b.next("Page.loadEventFired").Method != "Page.loadEventFired" {
	}
}

// evaluate gives the value of an expression of the page.
func (b *browser) evaluate(into any, expression string) {
	b.t.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.get(&got, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true})
	if got.ExceptionDetails != nil {
		b.t.Fatalf("%s", got.ExceptionDetails)
	}
	if err := json.Unmarshal(got.Result.Value, into); err != nil {
		b.t.Fatalf("%s: %v", got.Result.Value, err)
	}
}

// picture is the whole page as a PNG.
func (b *browser) picture() []byte {
	b.t.Helper()
	var got struct{ Data string }
	b.get(&got, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true})
	png, err := base64.StdEncoding.DecodeString(got.Data)
	if err != nil {
		b.t.Fatal(fmt.Errorf("picture: %w", err))
	}
	return png
}
