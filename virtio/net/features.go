package net

import "encoding/binary"

// Feature bits of the network device (section 5.1.3); the USO ones are those of
// virtio 1.3, which Linux 6.2 and newer know.
const (
	FeatureCsum              = 0
	FeatureGuestCsum         = 1
	FeatureCtrlGuestOffloads = 2
	FeatureMTU               = 3
	FeatureMAC               = 5
	FeatureGuestTSO4         = 7
	FeatureGuestTSO6         = 8
	FeatureGuestECN          = 9
	FeatureGuestUFO          = 10
	FeatureHostTSO4          = 11
	FeatureHostTSO6          = 12
	FeatureHostECN           = 13
	FeatureHostUFO           = 14
	FeatureMergeableRX       = 15
	FeatureStatus            = 16
	FeatureCtrlVQ            = 17
	FeatureCtrlRX            = 18
	FeatureCtrlRXExtra       = 20
	FeatureGuestAnnounce     = 21
	FeatureMQ                = 22
	FeatureCtrlMACAddr       = 23
	FeatureGuestUSO4         = 54
	FeatureGuestUSO6         = 55
	FeatureHostUSO           = 56
	FeatureSpeedDuplex       = 63
)

// Offload bits of [Backend]: TUN_F_* of linux/if_tun.h.
const (
	OffloadCsum = 0x01 // frames may come with a checksum still to be filled in
	OffloadTSO4 = 0x02 // TCP over IPv4 may come in pieces larger than the MTU
	OffloadTSO6 = 0x04 // TCP over IPv6
	OffloadECN  = 0x08 // such pieces may have the CWR flag set
	OffloadUFO  = 0x10 // UDP that is still to be fragmented
	OffloadUSO4 = 0x20 // UDP over IPv4 that is still to be segmented
	OffloadUSO6 = 0x40 // UDP over IPv6
)

// offloadFeature pairs an offload of the backend with the features that stand for
// it: one for frames to the guest, one for frames from the guest.
type offloadFeature struct {
	offload     uint32
	guest, host uint
}

var offloadFeatures = [...]offloadFeature{
	{OffloadCsum, FeatureGuestCsum, FeatureCsum},
	{OffloadTSO4, FeatureGuestTSO4, FeatureHostTSO4},
	{OffloadTSO6, FeatureGuestTSO6, FeatureHostTSO6},
	{OffloadECN, FeatureGuestECN, FeatureHostECN},
	{OffloadUFO, FeatureGuestUFO, FeatureHostUFO},
	{OffloadUSO4, FeatureGuestUSO4, FeatureHostUSO},
	{OffloadUSO6, FeatureGuestUSO6, FeatureHostUSO},
}

// features are those of a device whose backend takes these offloads.
func features(cfg *Config, offloads uint32) uint64 {
	f := uint64(1)<<FeatureMAC | 1<<FeatureMergeableRX | 1<<FeatureStatus | 1<<FeatureSpeedDuplex |
		1<<FeatureCtrlVQ | 1<<FeatureCtrlRX | 1<<FeatureCtrlRXExtra | 1<<FeatureCtrlMACAddr | 1<<FeatureGuestAnnounce
	if cfg.MTU != 0 {
		f |= 1 << FeatureMTU
	}
	if cfg.Backend.Pairs() > 1 {
		f |= 1 << FeatureMQ
	}
	for _, o := range offloadFeatures {
		if offloads&o.offload != 0 {
			f |= 1<<o.guest | 1<<o.host
		}
	}
	if offloads&(OffloadUSO4|OffloadUSO6) != OffloadUSO4|OffloadUSO6 {
		f &^= 1 << FeatureHostUSO // it stands for both
	}
	if offloads != 0 {
		f |= 1 << FeatureCtrlGuestOffloads
	}
	return f
}

// guestOffloads turns a set of GUEST_* feature bits into the backend's offloads.
// Segmentation needs the checksum (section 5.1.3.1).
func guestOffloads(bits uint64) uint32 {
	if bits>>FeatureGuestCsum&1 == 0 {
		return 0
	}
	var out uint32
	for _, o := range offloadFeatures {
		if bits>>o.guest&1 != 0 {
			out |= o.offload
		}
	}
	if out&(OffloadTSO4|OffloadTSO6) == 0 {
		out &^= OffloadECN
	}
	if out&(OffloadUSO4|OffloadUSO6) != OffloadUSO4|OffloadUSO6 {
		out &^= OffloadUSO4 | OffloadUSO6 // a tap takes both or none
	}
	return out
}

// guestOffloadBits are the features that the driver may switch while the device
// runs (section 5.1.6.5.6.1).
const guestOffloadBits = 1<<FeatureGuestCsum | 1<<FeatureGuestTSO4 | 1<<FeatureGuestTSO6 | 1<<FeatureGuestECN |
	1<<FeatureGuestUFO | 1<<FeatureGuestUSO4 | 1<<FeatureGuestUSO6

// Bits of the status field (section 5.1.4).
const (
	statusLinkUp   = 1
	statusAnnounce = 2
)

// configSize is the length of the configuration space up to and with duplex.
const configSize = 17

const duplexFull = 1

// config lays the configuration space out (section 5.1.4).
func (d *Device) config() (c [configSize]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(c[0:], d.mac[:])
	var status uint16
	if d.link.Load() {
		status |= statusLinkUp
	}
	if d.announce {
		status |= statusAnnounce
	}
	binary.LittleEndian.PutUint16(c[6:], status)
	binary.LittleEndian.PutUint16(c[8:], uint16(d.pairs))
	binary.LittleEndian.PutUint16(c[10:], d.cfg.MTU)
	binary.LittleEndian.PutUint32(c[12:], d.cfg.Speed)
	c[16] = duplexFull
	return c
}
