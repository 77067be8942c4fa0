package qcow2

// Description is what an image's header says.
type Description struct {
	Size          int64
	Version       int
	ClusterSize   int64
	RefcountBits  int
	Compression   string
	BackingName   string
	BackingFormat string
	Snapshots     int
	Dirty         bool
	Corrupt       bool
}

// Describe reads an image's header and nothing else.
func Describe(store Storage) (Description, error) {
	h, _, err := readHeader(store)
	if err != nil {
		return Description{}, err
	}
	compression := "zlib"
	if h.compression == compressionZstd {
		compression = "zstd"
	}
	return Description{
		Size: h.size, Version: int(h.version), ClusterSize: h.clusterSize(), RefcountBits: 1 << h.refOrder,
		Compression: compression, BackingName: h.backingName, BackingFormat: h.backingFormat, Snapshots: h.snapshots,
		Dirty: h.incompatible&incompatDirty != 0, Corrupt: h.incompatible&incompatCorrupt != 0,
	}, nil
}
