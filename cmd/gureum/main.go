// Command gureum runs virtual machines on Linux KVM.
package main

import (
	"os"

	"github.com/gureum/gureum/cmd/gureum/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
