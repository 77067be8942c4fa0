// Package image keeps disk images that machines start from: it builds Debian from the
// package archive, imports root file systems, container images and disks, and resolves an
// image's name to what a machine needs to boot it.
//
// cmd/gureum calls it. It never mounts anything, unpacks nothing into folders of the host,
// and needs no root, but for what the Debian tools want. Names in the archives that it
// imports exist only inside the file system that it writes (package ext4), so that there
// is nothing on the host for them to reach.
//
// What comes from an archive becomes an ext4 file system without a partition table, on
// the disk's first byte, with kernel and RAM disk copied out beside it. There is no boot
// loader that would need a partition, the kernel is loaded by the VMM, and a file system
// that is the whole disk grows with it in one step (resize2fs).
package image
