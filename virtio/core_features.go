package virtio

// offered are all features that the driver may accept.
func (c *Core) offered() uint64 {
	f := c.cfg.Device.Features() | 1<<FeatureVersion1 | 1<<FeatureIndirectDesc | 1<<FeatureEventIdx
	if _, ok := c.cfg.Device.(RingResetter); ok {
		f |= 1 << FeatureRingReset
	}
	return f
}

// DeviceFeatures reads 32 bits of what the device offers; sel counts words.
func (c *Core) DeviceFeatures(sel uint32) uint32 { return word(c.offered(), sel) }

// DriverFeatures reads 32 bits of what the driver accepted.
func (c *Core) DriverFeatures(sel uint32) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return word(c.features, sel)
}

// SetDriverFeatures writes 32 bits of what the driver accepts, before FEATURES_OK.
func (c *Core) SetDriverFeatures(sel, v uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Status()&StatusFeaturesOK != 0 {
		c.complain("features written after FEATURES_OK")
		return
	}
	if sel > 1 {
		return
	}
	shift := 32 * sel
	c.features = c.features&^(0xFFFF_FFFF<<shift) | uint64(v)<<shift
}

func word(v uint64, sel uint32) uint32 {
	if sel > 1 {
		return 0
	}
	return uint32(v >> (32 * sel))
}

func (c *Core) featuresFit() bool {
	return c.features&^c.offered() == 0 && c.features>>FeatureVersion1&1 != 0
}
