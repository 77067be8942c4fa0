// Package kvm gives Linux's /dev/kvm as typed Go values: a System is the device,
// a VM one virtual machine, a VCPU one virtual CPU, an EventFD a doorbell that the
// kernel rings (ioeventfd) or hears (irqfd).
//
//	System --CreateVM--> VM --CreateVCPU--> VCPU --Run--> Exit, IO, MMIO, ...
//	                      |
//	                      +-- memory slots, irqchip, PIT, GSI routes, irqfd, ioeventfd, dirty log
//
// Names mirror the ioctls and there is no policy here: vcpu decides what CPUID a guest
// sees, guest decides what lies in memory, vm puts it together. The package never
// touches guest memory, never starts a goroutine and never installs a signal handler.
//
// It stands on the structures and the request encoders of gokvm's kvm package and on
// golang.org/x/sys/unix. gokvm's calls that hand a pointer to the kernel are not used: they
// carry it as a uintptr through a plain Go function, where the collector and a growing
// stack may leave it behind. What gokvm lacks or gets wrong is here.
//
// # Descriptors
//
// Each value owns its descriptor. Close may be called twice and from any goroutine; the
// descriptor goes away when the last call that was using it has returned, so its number is
// never reused under a running call. A call after Close gives ErrClosed. All descriptors
// are close-on-exec: a child process sees none of them.
//
// # Interruption
//
// Every ioctl but KVM_RUN is repeated on EINTR, in one place (ioctl.go). KVM_RUN gives
// ErrInterrupted for EINTR and EAGAIN: somebody wants the vCPU's thread, and only its owner
// knows what for.
//
// Source for all of it: Linux Documentation/virt/kvm/api.rst and include/uapi/linux/kvm.h.
package kvm
