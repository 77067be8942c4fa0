package report

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checks looks at a page as its reader would: what does not fit, and which text is too pale
// (WCAG 2.2, 1.4.3: a contrast of 4.5 to what is behind it).
const checks = `(() => {
  const found = {overflow: [], pale: [], texts: 0, dark: matchMedia('(prefers-color-scheme: dark)').matches};
  const luminance = c => { const l = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
  const numbers = c => (c.match(/[\d.]+/g) || []).map(Number);
  const behind = e => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const name = e => e.tagName + '.' + (e.getAttribute('class') || '') + ': ' + (e.textContent || '').trim().slice(0, 60);
  const width = document.documentElement.clientWidth;
  for (const e of document.querySelectorAll('body *')) {
    const style = getComputedStyle(e), box = e.getBoundingClientRect(), svg = e.closest('svg');
    if (style.display === 'none' || box.width === 0) continue;
    if (!svg && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && style.display !== 'inline') found.overflow.push(name(e));
    if (box.right > width + 1 || box.left < -1) found.overflow.push('page edge: ' + name(e));
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    found.texts++;
    const front = luminance(numbers(svg ? style.fill : style.color).slice(0, 3)), back = luminance(behind(svg ? svg.parentElement : e));
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (!(contrast >= 4.5)) found.pale.push(contrast.toFixed(2) + ' ' + name(e));
  }
  if (document.documentElement.scrollWidth > width) found.overflow.push('the page scrolls sideways');
  return found;
})()`

// TestPageInBrowser opens the page in Chromium, light and dark, as wide as a desk's and a phone's
// screen. With GUREUM_PICTURES it leaves pictures in that folder, to be looked at.
func TestPageInBrowser(t *testing.T) {
	var text bytes.Buffer
	r := sample()
	if err := HTML(&text, r, map[string]string{"boot": "from exec to exit"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "file://" + path
	b := openBrowser(t)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{1280, 800, 390} {
			b.requests = nil
			b.show(url, scheme, width)
			var found struct {
				Overflow, Pale []string
				Texts          int
				Dark           bool
			}
			b.evaluate(&found, checks)
			if len(found.Overflow) > 0 || len(found.Pale) > 0 || found.Texts < 100 || found.Dark != (scheme == "dark") {
				t.Errorf("%s, %d wide: %+v", scheme, width, found)
			}
			if len(b.requests) != 1 || b.requests[0] != url {
				t.Errorf("requests: %q", b.requests)
			}
			checkPicture(t, b.picture(), scheme, width)
		}
	}
	checkContent(t, b)
	checkAlone(t, b)
}

// checkPicture looks at the corner of the page: is it bright in light, dim in dark?
func checkPicture(t *testing.T, data []byte, scheme string, width int) {
	t.Helper()
	if dir := os.Getenv("GUREUM_PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, scheme+"-"+strings.Repeat("w", width/400)+".png"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if got := picture.Bounds().Dx(); got != width {
		t.Errorf("the picture is %d wide, not %d", got, width)
	}
	red, green, blue, _ := picture.At(2, 2).RGBA()
	if bright := (red+green+blue)/3 > 0x8000; bright != (scheme == "light") {
		t.Errorf("%s: the page is %x %x %x", scheme, red, green, blue)
	}
}

// checkContent counts: each series has a line, each distribution a histogram, and its texts
// are texts.
func checkContent(t *testing.T, b *browser) {
	t.Helper()
	var got struct {
		Rows, Boxes, Histograms, Bins, Scripts, Notes, Even, Noisy int
		Names, Hosts                                               []string
	}
	b.evaluate(&got, `(() => { const n = s => document.querySelectorAll(s).length, all = s => [...document.querySelectorAll(s)].map(e => e.textContent);
	  return {rows: n('.figure .row'), boxes: n('.figure .plot .box'), histograms: [...document.querySelectorAll('.histogram .row')].filter(e => e.querySelector('.bin')).length, bins: n('.bin'), scripts: n('script'),
	    notes: n('.note'), even: n('.mark.even'), noisy: n('.mark.noisy'), names: all('.figure h3, .single h3'), hosts: all('#host dd')}; })()`)
	r := sample()
	if got.Rows != len(r.Series) || got.Boxes != len(r.Series) || got.Histograms != 3 || got.Bins < 30 || got.Scripts != 0 || got.Notes != len(r.Notes) {
		t.Errorf("%+v", got)
	}
	names := strings.Join(got.Names, "\n")
	for _, s := range r.Series {
		if !strings.Contains(names, s.Figure) {
			t.Errorf("%q has no heading", s.Figure)
		}
	}
	if got.Even == 0 || got.Noisy == 0 || !strings.Contains(strings.Join(got.Hosts, "\n"), r.Environment.CPU) {
		t.Errorf("%+v", got)
	}
}

// checkAlone tries to load something: the page's own policy must not let it.
func checkAlone(t *testing.T, b *browser) {
	t.Helper()
	var policy string
	b.evaluate(&policy, `document.querySelector('meta[http-equiv="Content-Security-Policy"]').content`)
	if !strings.HasPrefix(policy, "default-src 'none';") {
		t.Errorf("policy %q", policy)
	}
	var blocked bool
	b.evaluate(&blocked, `(() => { document.addEventListener('securitypolicyviolation', () => { window.blocked = true; });
	  const i = new Image(); i.src = 'https://example.com/x.png'; document.body.append(i); return true; })()`)
	var state []bool
	for range 100 {
		b.evaluate(&state, `[window.blocked === true]`)
		if state[0] {
			return
		}
	}
	t.Error("a picture from elsewhere was not refused")
}
