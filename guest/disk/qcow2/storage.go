package qcow2

import (
	"io"
	"slices"
)

// Storage is the file that an image lies in. Its methods may be called from several
// goroutines at once.
type Storage interface {
	io.ReaderAt
	io.WriterAt // lengthens the file as needed
	// Sync is the barrier: what was written before is durable when it returns.
	Sync() error
	Size() (int64, error)
	Truncate(size int64) error
	// Punch gives a range back, after which it reads as zeroes, and tells whether it could.
	Punch(off, n int64) (bool, error)
	Zero(off, n int64, unmap bool) error
	// Device tells that the file has a length of its own, so that what lies past the part
	// in use may hold anything.
	Device() bool
	Close() error
}

// Backing is the image under an image: what reads where nothing was written yet.
type Backing interface {
	io.ReaderAt
	Size() int64
	Close() error
}

// readFull fills p from off, with zeroes for what lies past the file's end.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		clear(p[n:])
		return nil
	}
	return err
}

// clusterSet is a set of cluster numbers, sorted: the image's tables, which no guest data
// may lie over.
type clusterSet []int64

func (s *clusterSet) add(first, n int64) {
	for c := first; c < first+n; c++ {
		if i, found := slices.BinarySearch(*s, c); !found {
			*s = slices.Insert(*s, i, c)
		}
	}
}

func (s *clusterSet) remove(first, n int64) {
	i, _ := slices.BinarySearch(*s, first)
	j, _ := slices.BinarySearch(*s, first+n)
	*s = slices.Delete(*s, i, j)
}

// overlaps tells whether any of n clusters from first on is in the set.
func (s clusterSet) overlaps(first, n int64) bool {
	i, _ := slices.BinarySearch(s, first)
	return i < len(s) && s[i] < first+n
}
