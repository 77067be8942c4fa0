package spec

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gureum/gureum/vm"
)

func TestPlan(t *testing.T) {
	s := Spec{
		Name: "a", CPUs: 2, Memory: "1G", HugePages: "2M", Append: "quiet", Transport: "pci",
		Disk: []string{"d.raw,ro", "e,,f.raw,cache=none"}, Cache: "writeback",
		Net: []string{"user", "tap:t0,mac=02:00:00:00:00:01"}, Vsock: "s,cid=7",
		Share: []string{".:here:ro"}, PMEM: []string{"p,ro"}, NoRNG: true, NoBalloon: true,
	}
	p, err := s.Plan()
	if err != nil {
		t.Fatal(err)
	}
	c := p.Config
	if c.Name != "a" || c.CPUs != 2 || c.Memory != 1<<30 || c.HugePages != 2<<20 || c.Append != "quiet" || c.Transport != vm.TransportPCI {
		t.Errorf("%+v", c)
	}
	if len(c.Disks) != 2 || c.Disks[0].Cache != vm.CacheWriteback || c.Disks[1].Cache != vm.CacheNone || c.Disks[1].Path != "e,f.raw" {
		t.Errorf("disks: %+v", c.Disks)
	}
	if len(c.NICs) != 2 || !c.NICs[0].User || c.NICs[1].Tap != "t0" || c.Vsock != (vm.Vsock{On: true, Path: "s", CID: 7}) {
		t.Errorf("interfaces %+v, sockets %+v", c.NICs, c.Vsock)
	}
	if !reflect.DeepEqual(c.Shares, []vm.Share{{Dir: ".", Tag: "here", ReadOnly: true}}) || !reflect.DeepEqual(c.PMEM, []vm.PMEM{{Path: "p", ReadOnly: true}}) {
		t.Errorf("shares %+v, persistent memory %+v", c.Shares, c.PMEM)
	}
	if !c.RNG.Off || !c.Balloon.Off {
		t.Error("devices that were switched off are there")
	}
}

func TestPlanRefuses(t *testing.T) {
	for want, s := range map[string]Spec{
		`memory: "lots"`:          {Memory: "lots"},
		"0 bytes is too little":   {Memory: "0"},
		`balloon: "x"`:            {Balloon: "x"},
		`hugepages "3M"`:          {HugePages: "3M"},
		`cache "none at all"`:     {Cache: "none at all"},
		"give the path":           {Disk: []string{",ro"}},
		`network "here:"`:         {Net: []string{"here:"}},
		"is no IPv4 address":      {Net: []string{"here,ip=fd00::1"}},
		"write it as HOSTPORT":    {Publish: []string{"80"}},
		`"0" is no port`:          {Publish: []string{"0:80"}},
		`"sctp" is no protocol`:   {Publish: []string{"80:80/sctp"}},
		`"x" is no address`:       {Publish: []string{"x:80:80"}},
		`restart "maybe"`:         {Restart: "maybe"},
		`restart "always:3"`:      {Restart: "always:3"},
		`restart "on-failure:0"`:  {Restart: "on-failure:0"},
		"rm and restart":          {Restart: "always", Rm: true},
		`label "=x"`:              {Label: []string{"=x"}},
		"given twice":             {Label: []string{"a=1", "a=2"}},
		"give the path of a sock": {Vsock: "cid=3"},
		"give HOSTDIR:TAG":        {Share: []string{"here"}},
		`"rx" is no option`:       {PMEM: []string{"file,rx"}},
		"names no file":           {PMEM: []string{",ro"}},
	} {
		if _, err := s.Plan(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
}

// TestPublishWithoutNetwork is refused to who makes a machine; one that was disconnected
// may be so.
func TestPublishWithoutNetwork(t *testing.T) {
	s := Spec{CPUs: 1, Memory: "64M", Publish: []string{"80:80"}}
	for _, c := range []struct {
		net  []string
		want string
	}{{nil, "on no network"}, {[]string{"user"}, "on no network"}, {[]string{"here"}, ""}} {
		s.Net = c.net
		p, err := s.Plan()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Check(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.net, err, c.want)
		}
	}
}

func TestAnchor(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("file.raw", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := Spec{
		Kernel: "k", Initrd: "/abs", CloudInit: "../c", PasswordFile: "",
		Disk:  []string{"debian:12,persist=mine", "file.raw,ro", "sub/a,,b", "/x"},
		Share: []string{".:t:ro"}, PMEM: []string{"p,ro"}, SSHKey: []string{"id.pub"}, Vsock: "s,cid=4",
	}
	s.Anchor(dir)
	want := Spec{
		Kernel: dir + "/k", Initrd: "/abs", CloudInit: filepath.Dir(dir) + "/c",
		Disk:  []string{"debian:12,persist=" + dir + "/mine", dir + "/file.raw,ro", dir + "/sub/a,,b", "/x"},
		Share: []string{dir + "/.:t:ro"}, PMEM: []string{dir + "/p,ro"}, SSHKey: []string{dir + "/id.pub"}, Vsock: dir + "/s,cid=4",
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v\nwant\n%+v", s, want)
	}
	s = Spec{Vsock: "vhost,cid=9"}
	s.Anchor(dir)
	if s.Vsock != "vhost,cid=9" {
		t.Errorf("%q was taken for a path", s.Vsock)
	}
}

func TestPlanOfAFleetsMachine(t *testing.T) {
	s := Spec{
		Net:     []string{"user", "blue,ip=10.88.0.9,queues=2"},
		Publish: []string{"8080:80", "127.0.0.1:5353:53/udp", "[::1]:22:22/tcp"},
		Restart: "on-failure:3", Label: []string{"tier=web", "blue"},
	}
	p, err := s.Plan()
	if err != nil {
		t.Fatal(err)
	}
	want := []Port{{NIC: 1, Network: "blue", IP: netip.MustParseAddr("10.88.0.9")}}
	if !reflect.DeepEqual(p.Ports, want) || p.Config.NICs[1].Queues != 2 {
		t.Errorf("ports %+v, interfaces %+v", p.Ports, p.Config.NICs)
	}
	var published []string
	for _, x := range p.Publish {
		published = append(published, x.String())
	}
	if got := strings.Join(published, " "); got != "8080:80 127.0.0.1:5353:53/udp [::1]:22:22" {
		t.Errorf("published: %s", got)
	}
	if p.Restart != (Restart{RestartOnFailure, 3}) || !reflect.DeepEqual(p.Labels, map[string]string{"tier": "web", "blue": ""}) {
		t.Errorf("restart %+v, labels %v", p.Restart, p.Labels)
	}
}

func TestDeviceLimits(t *testing.T) {
	for text, want := range map[string]DeviceLimit{
		"bps=1M":           {-1, 1 << 20, 0},
		"0,bps=1K,iops=20": {0, 1024, 20},
		"3,iops=0":         {3, 0, 0},
	} {
		if got, err := ParseDeviceLimit(text, "iops"); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "0", "bps", "bps=x", "pps=1", "iops=-1", "99999999,bps=1", "bps=1,,"} {
		if got, err := ParseDeviceLimit(bad, "iops"); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestLimits(t *testing.T) {
	good := Spec{CPULimit: "1.5", MemoryLimit: "1G", PidsLimit: 64, IOLimit: "rbps=1M,wiops=7"}
	p, err := good.Plan()
	want := Limits{CPU: 1.5, Memory: 1 << 30, Pids: 64, IO: IOLimit{ReadBPS: 1 << 20, WriteIOPS: 7}}
	if err != nil || p.Limits != want {
		t.Errorf("%+v, %v, want %+v", p.Limits, err, want)
	}
	for _, bad := range []Spec{
		{CPULimit: "0"},
		{CPULimit: "-1"},
		{CPULimit: "NaN"},
		{CPULimit: "Inf"},
		{CPULimit: "many"},
		{MemoryLimit: "31M"},
		{MemoryLimit: "x"},
		{PidsLimit: -1},
		{PidsLimit: 31},
		{PidsLimit: 40, CPUs: 9},
		{IOLimit: "rbps"},
		{IOLimit: "rbps=0"},
		{IOLimit: "iops=1"},
		{IOLimit: "riops=x"},
	} {
		if _, err := bad.Plan(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
