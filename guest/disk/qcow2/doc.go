// Package qcow2 reads and writes disk images in QEMU's qcow2 format, versions 2 and 3, as
// its specification lays them out (QEMU, docs/interop/qcow2).
//
// guest/disk opens images through it. A guest's offset finds its place in the file by two
// levels of tables (L1, L2), in units of clusters; a reference count of each cluster of the
// file says whether it is free. Nothing here follows a file name: the backing image, if
// there is one, is handed in by the caller, who decides what an image may reach.
//
// # What holds after a crash
//
// Tables are changed in memory and written by Flush, in an order with barriers between, so
// that at any instant the file on the medium is sound, whichever writes of the last step
// got there: reference counts first, then the L2 tables that use the clusters, then the L1
// entries that use new L2 tables; a cluster that is given up is free to be used again only
// after the table without it is durable. A crash loses what was not flushed and may leak
// clusters, which a check finds.
//
// # Locks, from the outermost in
//
//   - alloc: whoever changes tables, and Flush. Never waited for with io held.
//   - io: held to read round each lookup with its data transfer; taken to write to wait
//     until nobody can still use a cluster that is to become free.
//   - mu: the L1 table, the L2 cache and the set of table clusters, for moments only.
//
// Reads, and writes to clusters that are there, take io to read and mu for the lookup, and
// move their data side by side.
package qcow2
