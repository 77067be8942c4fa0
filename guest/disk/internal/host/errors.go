package host

import "errors"

// The errors that callers decide on. They are wrapped in ones that name the file and say
// what to do, so match them with errors.Is.
var (
	// ErrLocked: another process has the image open in a way that does not go with ours.
	ErrLocked = errors.New("image is in use by another process")
	// ErrReadOnly: a write, discard or resize was asked of a disk opened read-only.
	ErrReadOnly = errors.New("disk is read-only")
	// ErrRange: the request reaches past the end of the disk.
	ErrRange = errors.New("request outside the disk")
	// ErrFormat: the file's content is not of the format that was named, or looks like
	// another than the one that was assumed.
	ErrFormat = errors.New("wrong disk format")
	// ErrCorrupt: the image's own tables contradict themselves.
	ErrCorrupt = errors.New("image is corrupt")
	// ErrUnsupported: the image uses a feature of its format that is not built.
	ErrUnsupported = errors.New("feature not supported")
	// ErrBacking: the image wants a backing file that it may not have.
	ErrBacking = errors.New("backing file not allowed")
	// ErrShrink: a resize to less than the present size was asked.
	ErrShrink = errors.New("disk cannot shrink")
)

// CheckRange gives ErrRange unless n bytes from off on lie within size bytes. It is safe
// for any values, negative ones too.
func CheckRange(off, n, size int64) error {
	if off < 0 || n < 0 || off > size || n > size-off {
		return ErrRange
	}
	return nil
}
