package debian

import (
	"strings"
	"time"

	"github.com/gureum/gureum/guest/image/ext4"
)

// file is one that is laid over what the packages have.
type file struct{ name, content string }

// overlay makes of a root file system a machine's. The root's device is not named here:
// the kernel's command line does, and fstab only says how it is mounted.
var overlay = []file{
	{"etc/fstab", "LABEL=gureum-root / ext4 defaults,errors=remount-ro 0 1\n"},
	{"etc/hostname", "debian\n"},
	{"etc/hosts", "127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost ip6-localhost ip6-loopback\n"},
	{"etc/machine-id", ""}, // empty: systemd makes one at the first boot
	// DHCP on what cloud-init does not set up: its files sort before this one.
	{"etc/systemd/network/80-gureum-dhcp.network", "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n\n[DHCPv4]\nUseDomains=yes\n"},
	// Without a network card there is nothing to wait for, and with one not for ever.
	{"etc/systemd/system/systemd-networkd-wait-online.service.d/gureum.conf", `[Unit]
ConditionPathExistsGlob=/sys/class/net/e*

[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=30
`},
	// cloud-init makes host keys too, but not where there is no seed for it.
	{"etc/systemd/system/ssh.service.d/gureum.conf", `[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
`},
	// The seed disk is the only source: no looking for clouds on the network. A machine
	// without one has nothing to do.
	// The locale is C.UTF-8, for which there is nothing to generate.
	{"etc/cloud/cloud.cfg.d/90-gureum.cfg", "datasource_list: [ NoCloud, ConfigDrive, None ]\nlocale: false\n"},
	{"etc/default/locale", "LANG=C.UTF-8\n"},
	// On a slow host udev takes longer than the usual 90 s to find the serial port, and
	// there would be no login on it.
	{"etc/systemd/system.conf.d/gureum.conf", "[Manager]\nDefaultDeviceTimeoutSec=600s\n"},
	{"etc/cloud/ds-identify.cfg", "policy: search,found=first,maybe=none,notfound=disabled\n"},
}

// gone are files that each machine must make for itself, or that describe the host.
var gone = []string{
	"etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub",
	"etc/ssh/ssh_host_ecdsa_key", "etc/ssh/ssh_host_ecdsa_key.pub",
	"etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.pub",
	"var/lib/dbus/machine-id", "var/lib/systemd/random-seed",
}

// links enable units, and name the resolver.
var links = []file{
	{"etc/systemd/system/multi-user.target.wants/systemd-networkd.service", "/lib/systemd/system/systemd-networkd.service"},
	{"etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service", "/lib/systemd/system/systemd-networkd-wait-online.service"},
	{"etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"},
}

// agentUnit is guest/agent/gureum-agent.service, word for word.
const agentUnit = `# systemd unit of gureum-agent: install it as
# /etc/systemd/system/gureum-agent.service, the program as
# /usr/local/sbin/gureum-agent, and enable it:
#   systemctl enable gureum-agent.service
[Unit]
Description=Gureum guest agent (commands and files for the host)
Documentation=https://github.com/gureum/gureum/blob/main/docs/agent-protocol.md
ConditionVirtualization=vm
Wants=modprobe@vmw_vsock_virtio_transport.service
After=modprobe@vmw_vsock_virtio_transport.service

[Service]
ExecStart=/usr/local/sbin/gureum-agent
Restart=on-failure
RestartSec=5
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`

// Fit lays over a root file system what makes a machine of it, and the guest agent if
// there is one (the program's bytes).
func Fit(w *ext4.Writer, agent []byte, made time.Time) error {
	w.Layer()
	for _, name := range gone {
		if err := w.Remove(name); err != nil {
			return err
		}
	}
	attr := ext4.Attr{Type: ext4.TypeRegular, Perm: 0o644, ModTime: made}
	files, symlinks := overlay, links
	if len(agent) > 0 {
		program := attr
		program.Perm = 0o755
		if err := put(w, "usr/local/sbin/gureum-agent", string(agent), program); err != nil {
			return err
		}
		files = append(files[:len(files):len(files)],
			file{"etc/systemd/system/gureum-agent.service", agentUnit})
		symlinks = append(symlinks[:len(symlinks):len(symlinks)],
			file{"etc/systemd/system/multi-user.target.wants/gureum-agent.service", "/etc/systemd/system/gureum-agent.service"})
	}
	for _, f := range files {
		if err := put(w, f.name, f.content, attr); err != nil {
			return err
		}
	}
	for _, l := range symlinks {
		a := ext4.Attr{Type: ext4.TypeSymlink, Perm: 0o777, ModTime: made, Target: l.content}
		if err := w.Put(l.name, a, 0, nil); err != nil {
			return err
		}
	}
	return nil
}

func put(w *ext4.Writer, name, content string, a ext4.Attr) error {
	return w.Put(name, a, int64(len(content)), strings.NewReader(content))
}
