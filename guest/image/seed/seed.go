// Package seed makes the disk from which cloud-init in a guest takes its settings: host
// name, user, ssh keys, password, addresses, and the user's own cloud-config. It is
// cloud-init's NoCloud source: a small FAT file system with the label CIDATA.
//
// cmd/gureum builds one for a machine and gives it to the guest as a second, read-only
// disk. It is built in memory; nothing of it stays on the host. FAT and not ISO 9660:
// it is the simpler of the two that cloud-init takes, and its long names need no
// extension. Settings are written as JSON, which is YAML too, so that no value can end
// one setting and begin another.
//
// Source: cloud-init's documentation of NoCloud and of network config version 2.
package seed

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Config is what the guest is told. The zero value tells it nothing but an instance id.
type Config struct {
	Hostname string
	// User is made, with sudo and the keys; "" leaves it at the image's default user.
	User     string
	Password string   // of User, for the console; ssh still wants a key
	Keys     []string // ssh public keys, as lines of authorized_keys
	// UserData is the user's own: a cloud-config, a script, or what else cloud-init
	// takes. It cannot go with User and Password, which it can say better itself.
	UserData []byte
	// Network sets an address; nil leaves it at DHCP on the first interface.
	Network *Network
}

// Network is a static address of one interface.
type Network struct {
	MAC     string // of the interface, as 52:54:00:12:34:56
	Address netip.Prefix
	Gateway netip.Addr // not valid: none
	DNS     []netip.Addr
}

// MaxUserData bounds Config.UserData, in bytes.
const MaxUserData = 1 << 20

// keyStart begins every key in base64, behind its type: the three upper bytes of a length
// (RFC 4253, section 6.6).
const keyStart = " AAAA"

// ErrConfig is the error of settings that cannot be.
var ErrConfig = errors.New("cloud-init seed")

func (c *Config) check() error {
	if len(c.UserData) > MaxUserData {
		return fmt.Errorf("%w: user data of more than %d bytes", ErrConfig, MaxUserData)
	}
	if len(c.UserData) > 0 && (c.User != "" || c.Password != "") {
		return fmt.Errorf("%w: a user or password beside your own cloud-init file: set it there", ErrConfig)
	}
	if c.Password != "" && c.User == "" {
		return fmt.Errorf("%w: a password without a user: name the user", ErrConfig)
	}
	if err := checkUser(c.User); err != nil {
		return err
	}
	for _, key := range c.Keys {
		if !strings.Contains(key, keyStart) || strings.ContainsAny(key, "\n\x00") {
			return fmt.Errorf("%w: %.40q is not a line of authorized_keys", ErrConfig, key)
		}
		if strings.Contains(key, "PRIVATE KEY") {
			return fmt.Errorf("%w: that is a private key: give the .pub file", ErrConfig)
		}
	}
	if n := c.Network; n != nil && (!n.Address.IsValid() || n.MAC == "") {
		return fmt.Errorf("%w: a network without an address or a MAC", ErrConfig)
	}
	return nil
}

// checkUser accepts names as useradd(8) does.
func checkUser(name string) error {
	for i, r := range name {
		first := r >= 'a' && r <= 'z' || r == '_'
		later := first || r >= '0' && r <= '9' || r == '-'
		if !later || i == 0 && !first || i >= 32 {
			return fmt.Errorf("%w: user %q: give a lower-case letter, then at most 31 letters, digits, - or _", ErrConfig, name)
		}
	}
	return nil
}

// Image builds the disk. The same settings give the same bytes, and the same instance id:
// a guest that has seen them does not set itself up again.
func (c *Config) Image() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	user, err := c.userData()
	if err != nil {
		return nil, err
	}
	files := []file{{"user-data", user}}
	if c.Network != nil {
		network, err := c.network()
		if err != nil {
			return nil, err
		}
		files = append(files, file{"network-config", network})
	}
	meta, err := c.metaData(files)
	if err != nil {
		return nil, err
	}
	return fat(append(files, file{"meta-data", meta}))
}

func (c *Config) metaData(files []file) ([]byte, error) {
	sum := sha256.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%s %d\n%s", f.name, len(f.content), f.content)
	}
	fmt.Fprintf(sum, "%q %q", c.Hostname, c.Keys)
	meta := map[string]any{"instance-id": "gureum-" + hex.EncodeToString(sum.Sum(nil)[:8])}
	if c.Hostname != "" {
		meta["local-hostname"] = c.Hostname
	}
	if len(c.Keys) > 0 {
		meta["public-keys"] = c.Keys // of the default user
	}
	return marshal("", meta)
}

// cloudConfig begins user data of that kind.
const cloudConfig = "#cloud-config\n"

func (c *Config) userData() ([]byte, error) {
	if len(c.UserData) > 0 {
		return c.UserData, nil
	}
	config := map[string]any{}
	if c.User != "" {
		config["users"] = []map[string]any{{
			"name": c.User, "shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL",
			"lock_passwd": c.Password == "", "ssh_authorized_keys": append([]string{}, c.Keys...),
		}}
	}
	if c.Password != "" {
		config["chpasswd"] = map[string]any{
			"expire": false,
			"users":  []map[string]any{{"name": c.User, "password": c.Password, "type": "text"}},
		}
	}
	return marshal(cloudConfig, config)
}

func (c *Config) network() ([]byte, error) {
	n := c.Network
	card := map[string]any{
		"match":     map[string]any{"macaddress": strings.ToLower(n.MAC)},
		"addresses": []string{n.Address.String()},
	}
	if n.Gateway.IsValid() {
		to := "0.0.0.0/0"
		if n.Gateway.Is6() {
			to = "::/0"
		}
		card["routes"] = []map[string]any{{"to": to, "via": n.Gateway.String()}}
	}
	if len(n.DNS) > 0 {
		card["nameservers"] = map[string]any{"addresses": n.DNS}
	}
	return marshal("", map[string]any{"version": 2, "ethernets": map[string]any{"primary": card}})
}

func marshal(head string, v any) ([]byte, error) {
	p, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return append(append([]byte(head), p...), '\n'), nil
}
