// Package net is the virtio network device (virtio 1.2, section 5.1): frames go
// between the guest's memory and a [Backend], such as a tap of the host, without
// a copy in between.
//
//	guest driver                     host
//	  receive queues  <- receiver  <-  Backend.Readv
//	  transmit queues -> transmitter -> Backend.Writev
//	  control queue   -> controller -> Backend.SetPairs, SetOffloads, SetFilter
//
// Package vm makes a [Device] and hands it to a transport. Each queue has one
// goroutine. With vhost the kernel works on the receive and transmit queues and
// only the control queue stays here; what the guest can see is the same.
//
// Nothing here looks into a frame, keeps more than one frame a queue, or trusts
// a header that the guest wrote: it is copied out, checked, and rewritten.
package net
