// Package api is how a machine's process is talked to while it runs: JSON over HTTP on
// a Unix socket. docs/openapi.yaml describes it for other programs.
//
// The types here are what goes over the wire, and Client is the caller's side; package
// fleet/vmm serves it. A field is never removed or given another meaning within a
// version; a caller leaves fields alone that it does not know, so any two releases that
// speak the same version can work together.
package api

import (
	"time"
)

// Version is that of the interface: the first element of each path.
const Version = "v1"

// Info is what a machine's process says of itself (GET /v1).
type Info struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Release is the gureum that serves this, which may not be the caller's.
	Release string    `json:"release"`
	PID     int       `json:"pid"`
	State   string    `json:"state"` // created, running, paused or stopped
	Stage   string    `json:"stage"` // kernel or agent
	Started time.Time `json:"started"`
	CPUs    int       `json:"cpus"`
	Memory  uint64    `json:"memory_bytes"`
	Kernel  string    `json:"kernel"`
	Disks   []Disk    `json:"disks"`
	NICs    []NIC     `json:"nics"`
	// Guest is what the agent tells; absent when there is none or it does not answer.
	Guest *Guest `json:"guest,omitempty"`
}

// Disk is a disk of the machine.
type Disk struct {
	ID   string `json:"id"`
	Path string `json:"path"`
	Size uint64 `json:"size_bytes"`
}

// NIC is a network interface of the machine.
type NIC struct {
	MAC   string `json:"mac"`
	Up    bool   `json:"link_up"`
	Vhost bool   `json:"vhost"`
}

// Guest is what the agent tells of the guest.
type Guest struct {
	Hostname  string     `json:"hostname"`
	Kernel    string     `json:"kernel"`
	Uptime    float64    `json:"uptime_seconds"`
	Load      [3]float64 `json:"load"`
	Total     uint64     `json:"memory_total_bytes"`
	Available uint64     `json:"memory_available_bytes"`
	Addresses []string   `json:"addresses"`
}

// Stats are counters of a machine (GET /v1/stats). All but Memory count from its start.
type Stats struct {
	Time time.Time `json:"time"`
	// CPU is the time of all threads of the process in nanoseconds, guest included.
	CPU uint64 `json:"cpu_ns"`
	// Exits counts exits of the virtual CPUs to the process, by reason.
	Exits map[string]uint64 `json:"exits"`
	// Memory is what the guest has from the host, Balloon what it gave back.
	Memory  Memory  `json:"memory"`
	Devices []Queue `json:"queues"`
	Blocks  []Block `json:"disks"`
}

// Memory is about guest memory, in bytes.
type Memory struct {
	Size          uint64 `json:"size_bytes"`
	BalloonTarget uint64 `json:"balloon_target_bytes"`
	BalloonActual uint64 `json:"balloon_bytes"`
}

// Queue has the counters of a queue of a virtio device.
type Queue struct {
	Device     string `json:"device"` // its kind and number: net0
	Queue      int    `json:"queue"`
	Kicks      uint64 `json:"kicks"`
	Interrupts uint64 `json:"interrupts"`
	Suppressed uint64 `json:"interrupts_suppressed"`
	Requests   uint64 `json:"requests"`
	BytesOut   uint64 `json:"bytes_out"` // from the guest
	BytesIn    uint64 `json:"bytes_in"`  // to the guest
	Errors     uint64 `json:"errors"`
}

// Block has the counters of a disk.
type Block struct {
	ID         string `json:"id"`
	Reads      uint64 `json:"reads"`
	Writes     uint64 `json:"writes"`
	ReadBytes  uint64 `json:"read_bytes"`
	WriteBytes uint64 `json:"written_bytes"`
	Errors     uint64 `json:"errors"`
}

// Stop asks for an end (POST /v1/stop).
type Stop struct {
	// Timeout is how long the guest may take, in seconds; then it is killed.
	Timeout float64 `json:"timeout_seconds"`
}

// Size is that of a terminal in characters (POST /v1/console/size).
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Update changes a running machine (PATCH /v1). Fields that are absent change nothing.
type Update struct {
	// Balloon is how much memory to take from the guest, in bytes.
	Balloon *uint64 `json:"balloon_bytes,omitempty"`
	// Links are cables to plug in or out.
	Links []Link `json:"links,omitempty"`
	// DiskLimits and NICLimits are new limits of single devices.
	DiskLimits []DiskLimit `json:"disk_limits,omitempty"`
	NICLimits  []NICLimit  `json:"nic_limits,omitempty"`
}

// DiskLimit is the limit of a disk; 0 is none.
type DiskLimit struct {
	Disk int    `json:"disk"` // the disk's number, as in Info
	BPS  uint64 `json:"bps"`  // bytes a second
	IOPS uint64 `json:"iops"` // requests a second
}

// NICLimit is the limit of a network interface, for each direction; 0 is none.
type NICLimit struct {
	NIC int    `json:"nic"` // the interface's number, as in Info
	BPS uint64 `json:"bps"` // bytes a second
	PPS uint64 `json:"pps"` // packets a second
}

// Link is the cable of a network interface.
type Link struct {
	NIC int  `json:"nic"` // the interface's number, as in Info
	Up  bool `json:"up"`
}

// Error is the body of an answer whose status is not 2xx.
type Error struct {
	Message string `json:"error"`
}
