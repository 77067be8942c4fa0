package kernel

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testConfig = `# Linux/x86 6.1.0 Kernel Configuration
CONFIG_PVH=y
CONFIG_VIRTIO_BLK=m
CONFIG_NR_CPUS=64
# CONFIG_ACPI is not set
CONFIG_DEFAULT_HOSTNAME="(none)"
`

// configVmlinux is a kernel with a banner and its configuration inside.
func configVmlinux(t testing.TB) []byte {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(testConfig)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data := append([]byte("\x90Linux version %s (%s)\x00"), "IKCFG_ST but no stream"...)
	data = append(data, make([]byte, searchChunk-len(data)-4)...) // across a chunk's end
	data = append(data, "Linux version 6.1.0-test (builder@host) #1 SMP\n\x00IKCFG_ST"...)
	data = append(data, packed.Bytes()...)
	data = append(data, "IKCFG_ED"...)
	return fixtureELF(0x1000000,
		fixtureSegment{segmentLoad, 0x1000, 0xffffffff81000000, 0x1000000, data, 0},
		fixtureSegment{segmentNote, 0x200, 0, 0, fixtureNote(0x1000010), 0})
}

func TestInspect(t *testing.T) {
	vmlinux := configVmlinux(t)
	h := goodHeader(pack(t, LZ4, vmlinux))
	for name, image := range map[string][]byte{"vmlinux": vmlinux, "bzImage": fixtureBzImage(h)} {
		t.Run(name, func(t *testing.T) {
			info, err := Inspect(writeImage(t, name, image))
			if err != nil {
				t.Fatal(err)
			}
			if info.Protocols != PVH|Linux64 || info.PVHEntry != 0x1000010 || info.Entry != 0x1000000 {
				t.Errorf("%s, %#x, %#x", info.Protocols, info.PVHEntry, info.Entry)
			}
			if info.FileSize != uint64(len(image)) || info.UnpackedSize != uint64(len(vmlinux)) || len(info.Segments) != 1 {
				t.Errorf("sizes %d, %d; %d segments", info.FileSize, info.UnpackedSize, len(info.Segments))
			}
			if string(info.Config) != testConfig || !strings.Contains(info.ConfigSource, "IKCONFIG") {
				t.Errorf("configuration %q from %q", info.Config, info.ConfigSource)
			}
			facts := map[string]string{}
			for _, f := range info.Facts {
				facts[f.Option] = f.Value
			}
			for option, want := range map[string]string{
				"CONFIG_PVH": "y", "CONFIG_VIRTIO_BLK": "m", "CONFIG_NR_CPUS": "64", "CONFIG_ACPI": "n",
			} {
				if facts[option] != want {
					t.Errorf("%s is %q", option, facts[option])
				}
			}
			if name == "vmlinux" {
				if info.Version != "Linux version 6.1.0-test (builder@host) #1 SMP" || info.Setup != nil {
					t.Errorf("version %q, %+v", info.Version, info.Setup)
				}
				return
			}
			if s := info.Setup; s == nil || s.Protocol != "2.15" || s.PrefAddress != 0x1000000 || len(s.XLoadFlags) != 7 {
				t.Errorf("setup %+v", s)
			}
			if info.Version != h.version || info.InitrdMax != 0x7fffffff || info.CmdlineMax != 2047 {
				t.Errorf("%q, %#x, %d", info.Version, info.InitrdMax, info.CmdlineMax)
			}
		})
	}
}

// TestInspectConfigBeside finds the configuration as distributions install it.
func TestInspectConfigBeside(t *testing.T) {
	path := writeImage(t, "vmlinuz", testBzImage(t))
	config := filepath.Join(filepath.Dir(path), "config-6.1.0-test")
	if err := os.WriteFile(config, []byte(testConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(path)
	if err != nil || info.ConfigSource != config || len(info.Facts) == 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestInspectFallback(t *testing.T) {
	info, err := Inspect(writeImage(t, "bzImage", fixtureBzImage(goodHeader([]byte("unknown")))))
	if err != nil || info.Unpacked == nil || info.Entry != 0x1000200 || info.UnpackedSize != 0 || info.Protocols != Linux64 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestExtract(t *testing.T) {
	vmlinux := fixtureVmlinux()
	for name, image := range map[string][]byte{
		"vmlinux": vmlinux, "bzImage": fixtureBzImage(goodHeader(pack(t, Zstd, vmlinux))),
	} {
		var got bytes.Buffer
		if err := Extract(writeImage(t, name, image), &got); err != nil || !bytes.Equal(got.Bytes(), vmlinux) {
			t.Errorf("%s: %d bytes, %v", name, got.Len(), err)
		}
	}
	unknown := writeImage(t, "bzImage", fixtureBzImage(goodHeader([]byte("unknown"))))
	if err := Extract(unknown, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Errorf("unknown compression: %v", err)
	}
}

// TestExtractVerbatim: the cache trims .bss, which must not show.
func TestExtractVerbatim(t *testing.T) {
	data := append(pattern(0x1000), make([]byte, 0x8000)...)
	vmlinux := fixtureELF(0x1000000, fixtureSegment{segmentLoad, 0x1000, 0, 0x1000000, data, 0})
	var got bytes.Buffer
	path := writeImage(t, "bzImage", fixtureBzImage(goodHeader(pack(t, Zstd, vmlinux))))
	if err := Extract(path, &got); err != nil || !bytes.Equal(got.Bytes(), vmlinux) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
}

func TestList(t *testing.T) {
	trustTimes(t)
	o := cacheOptions(t)
	boot := t.TempDir()
	for name, content := range map[string][]byte{
		"vmlinuz-6.1": testBzImage(t), "vmlinux-6.1": fixtureVmlinux(), "vmlinuz-bad": []byte("text"),
		"config-6.1": []byte(testConfig), "initrd.img": {}, "bzImage.old": testBzImage(t),
	} {
		if err := os.WriteFile(filepath.Join(boot, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(boot, "vmlinuz-dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	list, err := List(o, boot, "/nonexistent")
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	loads(t, filepath.Join(boot, "vmlinuz-6.1"), o)
	if list, err = List(o, boot); err != nil || len(list) != 4 {
		t.Fatalf("%+v, %v", list, err)
	}
	if k := list[0]; !k.Cached || k.Format != FormatBzImage || k.Version != "6.1.0-test (builder@host) #1 SMP" || k.Size == 0 || k.Used.IsZero() {
		t.Errorf("%+v", k)
	}
	for _, k := range list[1:] {
		if k.Cached || k.Format == FormatBzImage != (k.Version != "") {
			t.Errorf("%+v", k)
		}
	}
}
