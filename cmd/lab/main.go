// Command lab runs a command on a host with hardware-style KVM, on a machine
// that has none. See docs/lab.md.
package main

import (
	"os"

	"github.com/gureum/gureum/lab"
)

func main() {
	os.Exit(lab.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
