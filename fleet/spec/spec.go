// Package spec is the definition of a machine in the words of the command line: what
// gureum run's flags say, what a file for gureum up says, and what is kept on disk of a
// machine that lives longer than a command.
//
//	flags, YAML, JSON --> Spec --Plan--> Plan (a vm.Config and what it needs) --> vm.New
//
// The command line and package fleet call it. It reads the store of images and files of
// the user, and makes nothing but the layers that Prepare is asked for. It never starts
// anything.
package spec

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/gureum/gureum/guest/image"
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/vm"
)

// Spec defines a machine. Each field is a flag of gureum run of the same name; the zero
// value is the flag's default. Its form in JSON and YAML is published in docs/vms.md.
type Spec struct {
	Name      string `json:"name,omitempty"`
	CPUs      int    `json:"cpus,omitempty"`
	Memory    string `json:"memory,omitempty"`
	HugePages string `json:"hugepages,omitempty"`

	Kernel string `json:"kernel,omitempty"`
	Initrd string `json:"initrd,omitempty"`
	Append string `json:"append,omitempty"`

	Transport string   `json:"transport,omitempty"`
	Disk      []string `json:"disk,omitempty"`
	Cache     string   `json:"cache,omitempty"`
	Net       []string `json:"net,omitempty"`
	Vsock     string   `json:"vsock,omitempty"`
	Share     []string `json:"share,omitempty"`
	PMEM      []string `json:"pmem,omitempty"`
	Balloon   string   `json:"balloon,omitempty"`
	NoBalloon bool     `json:"no-balloon,omitempty"`
	NoRNG     bool     `json:"no-rng,omitempty"`

	CloudInit    string   `json:"cloud-init,omitempty"`
	SSHKey       []string `json:"ssh-key,omitempty"`
	User         string   `json:"user,omitempty"`
	PasswordFile string   `json:"password-file,omitempty"`
	IP           string   `json:"ip,omitempty"`

	Command []string `json:"command,omitempty"`
	Env     []string `json:"env,omitempty"`
	Workdir string   `json:"workdir,omitempty"`

	CPULimit    string `json:"cpu-limit,omitempty"`
	MemoryLimit string `json:"memory-limit,omitempty"`
	PidsLimit   int    `json:"pids-limit,omitempty"`
	IOLimit     string `json:"io-limit,omitempty"`

	Publish []string `json:"publish,omitempty"`
	Restart string   `json:"restart,omitempty"`
	Label   []string `json:"label,omitempty"`
	Rm      bool     `json:"rm,omitempty"`
	// NoReboot has the machine end when its guest reboots.
	NoReboot bool `json:"no-reboot,omitempty"`

	KVMDevice string `json:"kvm-device,omitempty"`
}

// Plan is a Spec that was understood.
type Plan struct {
	Config vm.Config
	// Image is the image of the store that the machine boots; nil for none. Prepare
	// finds it.
	Image *image.Resolved
	// Ports are the interfaces on networks of the fleet. Their vm.NIC lacks the tap.
	Ports []Port
	// Publish are ports of the host that lead into the guest.
	Publish []Publish
	Limits  Limits
	Restart Restart
	Labels  map[string]string

	spec    Spec
	refs    map[int]imageRef // what --disk says of images, by the disk's number
	cleanup []func() error
}

// Plan reads the words. Its errors are the user's, and it makes nothing.
func (s *Spec) Plan() (*Plan, error) {
	p := &Plan{spec: *s, refs: map[int]imageRef{}}
	c := &p.Config
	c.Name, c.CPUs, c.KVM = s.Name, s.CPUs, s.KVMDevice
	c.Kernel, c.Initrd, c.Append = s.Kernel, s.Initrd, s.Append
	c.Transport = vm.Transport(s.Transport)
	c.RNG.Off, c.Balloon.Off = s.NoRNG, s.NoBalloon
	for _, parse := range []func(*Spec) error{p.parseMemory, p.parseDisks, p.parseNICs, p.parseOthers, p.parseLimits, p.parseFleet} {
		if err := parse(s); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Plan) parseMemory(s *Spec) (err error) {
	c := &p.Config
	if s.Memory != "" {
		if c.Memory, err = ParseSize(s.Memory); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
		if c.Memory == 0 {
			return errors.New("memory: 0 bytes is too little: give at least " + vm.FormatSize(vm.MinMemory))
		}
	}
	if s.Balloon != "" {
		if c.Balloon.Size, err = ParseSize(s.Balloon); err != nil {
			return fmt.Errorf("balloon: %w", err)
		}
	}
	switch s.HugePages {
	case "":
	case "thp":
		c.THP = true
	case "2M", "2m":
		c.HugePages = memory.Page2M
	case "1G", "1g":
		c.HugePages = memory.Page1G
	default:
		return fmt.Errorf("hugepages %q: give 2M, 1G or thp", s.HugePages)
	}
	return nil
}

func (p *Plan) parseOthers(s *Spec) (err error) {
	if s.Vsock != "" {
		if p.Config.Vsock, err = parseVsock(s.Vsock); err != nil {
			return err
		}
	}
	for _, text := range s.PMEM {
		v, err := parsePMEM(text)
		if err != nil {
			return err
		}
		p.Config.PMEM = append(p.Config.PMEM, v)
	}
	for _, text := range s.Share {
		v, err := parseShare(text)
		if err != nil {
			return err
		}
		p.Config.Shares = append(p.Config.Shares, v)
	}
	return nil
}

// Anchor makes the paths in it absolute, so that it means the same from any folder.
// A disk is only taken for a path if it looks like one or is there; see isImageName.
func (s *Spec) Anchor(dir string) {
	for _, path := range []*string{&s.Kernel, &s.Initrd, &s.CloudInit, &s.PasswordFile, &s.KVMDevice} {
		*path = anchor(dir, *path)
	}
	for i, d := range s.Disk {
		s.Disk[i] = anchorDisk(dir, d)
	}
	for i, text := range s.PMEM {
		s.PMEM[i] = anchor(dir, text) // FILE[,ro] begins with the path
	}
	for i, text := range s.Share {
		s.Share[i] = anchor(dir, text)
	}
	for i, name := range s.SSHKey {
		s.SSHKey[i] = anchor(dir, name)
	}
	if s.Vsock != "" && s.Vsock != "vhost" && !strings.HasPrefix(s.Vsock, "vhost,") {
		s.Vsock = anchor(dir, s.Vsock)
	}
}

func anchor(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// anchorDisk makes the paths in a --disk absolute.
func anchorDisk(dir, text string) string {
	words := splitCommas(text)
	if !isImageName(dir, words[0]) {
		words[0] = anchor(dir, words[0])
	}
	for i, word := range words {
		if path, is := strings.CutPrefix(word, "persist="); is && i > 0 {
			words[i] = "persist=" + anchor(dir, path)
		}
		words[i] = strings.ReplaceAll(words[i], ",", ",,")
	}
	return strings.Join(words, ",")
}
