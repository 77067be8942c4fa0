package spec

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits are what a machine's process, guest and all, may use of the host. Zero is no
// limit.
type Limits struct {
	CPU    float64 // CPUs; 0.5 is half of one
	Memory uint64  // bytes
	Pids   int     // threads
	IO     IOLimit
}

// IOLimit is on each of the host's disks that the machine uses. Zero is no limit.
type IOLimit struct {
	ReadBPS, WriteBPS   uint64 // bytes a second
	ReadIOPS, WriteIOPS uint64 // operations a second
}

// leastLimit is the least memory that a machine's process starts in.
const leastLimit = 32 << 20

func (p *Plan) parseLimits(s *Spec) (err error) {
	l := &p.Limits
	if s.CPULimit != "" {
		l.CPU, err = strconv.ParseFloat(s.CPULimit, 64)
		if err != nil || !(l.CPU >= 0.01 && l.CPU <= 1<<16) {
			return fmt.Errorf("cpu-limit %q: give a number of CPUs from 0.01, as 1.5", s.CPULimit)
		}
	}
	if s.MemoryLimit != "" {
		if l.Memory, err = ParseSize(s.MemoryLimit); err != nil {
			return fmt.Errorf("memory-limit: %w", err)
		}
		if l.Memory < leastLimit {
			return fmt.Errorf("memory-limit %s: the machine's process alone needs 32M", s.MemoryLimit)
		}
	}
	if s.PidsLimit < 0 || s.PidsLimit > 0 && s.PidsLimit < leastThreads+s.CPUs {
		return fmt.Errorf("pids-limit %d: give at least %d and one for each CPU", s.PidsLimit, leastThreads)
	}
	l.Pids = s.PidsLimit
	if s.IOLimit == "" {
		return nil
	}
	for part := range strings.SplitSeq(s.IOLimit, ",") {
		if err := l.IO.set(part); err != nil {
			return fmt.Errorf("io-limit: %w", err)
		}
	}
	return nil
}

// leastThreads is how many the process has that its devices and its runtime use.
const leastThreads = 32

// set reads one KEY=VALUE.
func (l *IOLimit) set(part string) (err error) {
	key, value, _ := strings.Cut(part, "=")
	to := map[string]*uint64{"rbps": &l.ReadBPS, "wbps": &l.WriteBPS, "riops": &l.ReadIOPS, "wiops": &l.WriteIOPS}[key]
	if to == nil {
		return fmt.Errorf("%q: give rbps=SIZE, wbps=SIZE, riops=N or wiops=N", part)
	}
	if strings.HasSuffix(key, "iops") {
		*to, err = strconv.ParseUint(value, 10, 32)
	} else {
		*to, err = ParseSize(value)
	}
	if err == nil && *to == 0 {
		err = errors.New("it would stop the machine")
	}
	if err != nil {
		return fmt.Errorf("%q: %w", part, err)
	}
	return nil
}

// DeviceLimit is a limit of one of a machine's disks or interfaces, or of all of them.
type DeviceLimit struct {
	Number int // from 0 on; -1 for all
	BPS    uint64
	Ops    uint64
}

// ParseDeviceLimit reads [NUMBER,]bps=SIZE,OPS=N, or one of the two. What is absent, or 0,
// is no limit. ops is the name of the second one.
func ParseDeviceLimit(text, ops string) (l DeviceLimit, err error) {
	l.Number = -1
	words := strings.Split(text, ",")
	if n, err := strconv.ParseUint(words[0], 10, 16); err == nil {
		l.Number, words = int(n), words[1:]
	}
	if len(words) == 0 {
		return l, fmt.Errorf("%q: give bps=SIZE, %s=N or both, 0 for no limit", text, ops)
	}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "bps":
			l.BPS, err = ParseSize(value)
		case ops:
			l.Ops, err = strconv.ParseUint(value, 10, 32)
		default:
			err = fmt.Errorf("give bps=SIZE, %s=N or both, 0 for no limit", ops)
		}
		if err != nil {
			return l, fmt.Errorf("%q: %w", word, err)
		}
	}
	return l, nil
}
