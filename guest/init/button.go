package main

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// Input events, see include/uapi/linux/input.h and input-event-codes.h.
const (
	inputEventSize = 24
	evKey          = 1
	keyPower       = 116
	keyDown        = 1
)

// watchButtons reads all input devices: the ACPI power button is one of them.
func (g *guest) watchButtons() {
	devices, _ := filepath.Glob("/dev/input/event*")
	for _, path := range devices {
		if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
			go g.watchButton(f)
		}
	}
}

// watchButton waits for the power button on one input device.
func (g *guest) watchButton(f *os.File) {
	defer f.Close()
	var ev [inputEventSize]byte
	for {
		if _, err := io.ReadFull(f, ev[:]); err != nil {
			return
		}
		if powerPressed(ev[:]) {
			go g.end(agent.PowerOff)
		}
	}
}

// powerPressed looks at one struct input_event of 64-bit Linux.
func powerPressed(ev []byte) bool {
	kind := binary.LittleEndian.Uint16(ev[16:])
	code := binary.LittleEndian.Uint16(ev[18:])
	value := binary.LittleEndian.Uint32(ev[20:])
	return kind == evKey && code == keyPower && value == keyDown
}
