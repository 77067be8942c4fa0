// Package vsock is the virtio socket device (virtio 1.2, section 5.10): stream
// connections between programs in the guest and programs on the host, without a
// network.
//
//	guest -- TX queue --> transmit --> Conn's buffer --> Read, WriteTo
//	guest <- RX queue --- receive <--- Conn.out <------- Write
//
// This process has connections as [Conn]s, by [Device.Dial] and [Device.Listen].
// Other programs of the host come through Unix sockets, by Firecracker's convention
// (unix.go); or the host's kernel does all of it (vhost.go).
//
// Nothing waits for a single peer. The guest is given credit for as much as a
// connection's buffer holds (section 5.10.6.3), so one whose reader is slow stops
// its own sender; and a Write waits until the guest has room for it, so there is no
// buffer that way at all. A connection on which nothing happens holds no buffer.
//
// Package vm makes the device; a transport drives it. It never believes a guest's
// CID, and never opens any file but the Unix sockets whose names begin with
// Config.Path.
package vsock
