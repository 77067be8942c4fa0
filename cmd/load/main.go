// Command load makes disk and network load and prints what it measured, one line a
// job. It is static, so that it runs in any guest:
//
//	load disk [-write] [-random] [-bs BYTES] [-depth N] [-seconds S | -requests N] PATH
//	load tcp [-streams N] send|fetch|echo HOST:PORT AMOUNT
//	load serve ADDRESS
//	load frames send DEVICE | listen DEVICE MARK | mark DEVICE MARK
//	load whoami ADDRESS
//	load ask [-udp] ADDRESS
//	load vsock pipe PORT | many PORT N | knock CID PORT
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/gureum/gureum/bench/load"
)

func main() {
	err := errors.New("give disk, tcp, serve, frames, whoami, ask or vsock")
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "disk":
			err = load.DiskCommand(os.Args[2:], os.Stdout)
		case "tcp":
			err = load.TCPCommand(os.Args[2:], os.Stdout)
		case "serve":
			err = serve(os.Args[2:])
		case "frames":
			err = frames(os.Args[2:])
		case "whoami", "ask":
			err = talk(os.Args[1], os.Args[2:])
		case "vsock":
			err = vsock(os.Args[2:])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// frames sends those of its input, or writes those that a device receives.
func frames(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "send":
		return load.SendFrames(args[1], os.Stdin)
	case len(args) == 3 && args[0] == "listen":
		return load.ListenFrames(args[1], []byte(args[2]), os.Stdout)
	case len(args) == 3 && args[0] == "mark":
		return load.Mark(args[1], args[2])
	}
	return errors.New("frames: give send DEVICE, listen DEVICE MARK or mark DEVICE MARK")
}

// talk asks, or tells, which address somebody comes from.
func talk(what string, args []string) error {
	switch {
	case what == "whoami" && len(args) == 1:
		return load.WhoAmI(args[0])
	case what == "ask" && len(args) == 1:
		return load.Ask("tcp", args[0], os.Stdout)
	case what == "ask" && len(args) == 2 && args[0] == "-udp":
		return load.Ask("udp", args[1], os.Stdout)
	}
	return errors.New("give whoami ADDRESS or ask [-udp] ADDRESS")
}

// vsock talks to the host on its vsock: stdin to stdout, many connections, or one to
// see whether it is hung up on.
func vsock(args []string) error {
	var n [2]uint32
	for i := 1; i < len(args) && i <= len(n); i++ {
		v, err := strconv.ParseUint(args[i], 10, 32)
		if err != nil {
			return fmt.Errorf("vsock: %w", err)
		}
		n[i-1] = uint32(v)
	}
	switch {
	case len(args) == 2 && args[0] == "pipe":
		return load.VsockPipe(n[0], os.Stdin, os.Stdout)
	case len(args) == 3 && args[0] == "many":
		return load.VsockMany(n[0], int(n[1]))
	case len(args) == 3 && args[0] == "knock":
		return load.VsockKnock(n[0], n[1])
	}
	return errors.New("vsock: give pipe PORT, many PORT N or knock CID PORT")
}

func serve(args []string) error {
	if len(args) != 1 {
		return errors.New("serve: give one address to listen on")
	}
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	return load.Serve(l)
}
