package seed

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// content reads a file of the image with the tools of mtools.
func content(t *testing.T, image []byte, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("mtype", "-i", path, "::"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("mtype %s: %v\n%s", name, err, out)
	}
	return string(out)
}

func check(t *testing.T, image []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/fsck.fat", "-nv", path).CombinedOutput(); err != nil {
		t.Fatalf("fsck.fat: %v\n%s", err, out)
	}
	out, err := exec.Command("/usr/sbin/blkid", "-p", "-o", "export", path).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("LABEL=CIDATA\n")) || !bytes.Contains(out, []byte("TYPE=vfat\n")) {
		t.Fatalf("blkid: %v\n%s", err, out)
	}
}

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ me: \"quoted\" # x"

func TestSettings(t *testing.T) {
	c := Config{
		Hostname: "web-1", User: "ada", Password: "a: \"b\"\n- c", Keys: []string{key},
		Network: &Network{
			MAC: "52:54:00:AB:CD:EF", Address: netip.MustParsePrefix("10.1.2.3/24"),
			Gateway: netip.MustParseAddr("10.1.2.1"), DNS: []netip.Addr{netip.MustParseAddr("10.1.2.1")},
		},
	}
	image, err := c.Image()
	if err != nil {
		t.Fatal(err)
	}
	check(t, image)
	again, err := c.Image()
	if err != nil || !bytes.Equal(image, again) {
		t.Error("the same settings give another image")
	}
	var meta struct {
		ID   string   `json:"instance-id"`
		Host string   `json:"local-hostname"`
		Keys []string `json:"public-keys"`
	}
	if err := json.Unmarshal([]byte(content(t, image, "meta-data")), &meta); err != nil {
		t.Fatal(err)
	}
	if meta.Host != "web-1" || len(meta.Keys) != 1 || meta.Keys[0] != key || meta.ID == "" {
		t.Errorf("meta-data: %+v", meta)
	}
	user, ok := strings.CutPrefix(content(t, image, "user-data"), cloudConfig)
	var config struct {
		Users    []struct{ Name string }
		Chpasswd struct {
			Users []struct{ Name, Password string }
		}
	}
	if err := json.Unmarshal([]byte(user), &config); err != nil || !ok {
		t.Fatal(err)
	}
	if config.Users[0].Name != "ada" || config.Chpasswd.Users[0].Password != c.Password {
		t.Errorf("user-data: %+v", config)
	}
	network := content(t, image, "network-config")
	for _, want := range []string{`"macaddress": "52:54:00:ab:cd:ef"`, `"10.1.2.3/24"`, `"via": "10.1.2.1"`, `"version": 2`} {
		if !strings.Contains(network, want) {
			t.Errorf("no %s in network-config:\n%s", want, network)
		}
	}
	c.Hostname = "web-2"
	if other, err := c.Image(); err != nil || content(t, other, "meta-data") == content(t, image, "meta-data") {
		t.Error("other settings have the same instance id")
	}
}

func TestUserDataIsUntouched(t *testing.T) {
	for _, size := range []int{1, clusterSize, clusterSize + 1, MaxUserData} {
		data := []byte(strings.Repeat("#!/bin/sh\necho x\n", size/17+1)[:size])
		image, err := (&Config{UserData: data}).Image()
		if err != nil {
			t.Fatal(err)
		}
		check(t, image)
		if got := content(t, image, "user-data"); got != string(data) {
			t.Fatalf("%d bytes came back as %d", size, len(got))
		}
	}
}

func TestBadSettings(t *testing.T) {
	for name, c := range map[string]Config{
		"too much":          {UserData: make([]byte, MaxUserData+1)},
		"user and data":     {UserData: []byte("x"), User: "a"},
		"password alone":    {Password: "x"},
		"user name":         {User: "Root:0"},
		"user name's start": {User: "-a"},
		"key":               {Keys: []string{"nonsense"}},
		"two keys in one":   {Keys: []string{key + "\n" + key}},
		"private key":       {Keys: []string{"-----BEGIN OPENSSH PRIVATE KEY-----"}},
		"network":           {Network: &Network{MAC: "52:54:00:00:00:01"}},
	} {
		if _, err := c.Image(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
