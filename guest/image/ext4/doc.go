// Package ext4 makes ext4 file systems without a mount, without privileges and without
// tools: package image pours a root file system into a Writer, entry by entry, and the
// image is complete when Finish returns. A Reader finds files in such an image, or in any
// other ext4, to take a kernel out of it.
//
// Why an own writer and not "mke2fs -d": that copies a folder of the host, so an archive
// from a stranger would first have to be unpacked on the host, as root or under fakeroot
// for its owners and devices. Here names exist only in memory: there is nothing that a
// hostile name could reach. Contents go into their final blocks while they are read, so
// that an image is made in one pass over its archive.
//
// The result has 4 KiB blocks, 256-byte inodes, extents, checksums of all metadata
// (metadata_csum, 64bit) and a journal. Kernels grow it online. Not made: hashed
// directories (Linux hashes new large ones itself), inline data, quotas.
//
// Sources: Documentation/filesystems/ext4 and fs/ext4/*.h of Linux; fs/jbd2 for the journal.
package ext4
