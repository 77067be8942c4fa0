// Command mk builds the default guest's user land: init from its source, Debian's
// busybox, and the files under guest/userland/root, packed into one archive that
// the program embeds, with a MANIFEST that says what is in it and where it came
// from. `make userland` runs it; its result is committed.
//
// The same sources, Go and busybox give the same bytes. It changes nothing but
// the three files in guest/userland.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	busybox := flag.String("busybox", "/bin/busybox", "statically linked busybox of Debian's package busybox-static")
	flag.Parse()
	if err := run(*busybox); err != nil {
		fmt.Fprintln(os.Stderr, "mk:", err)
		os.Exit(1)
	}
}

func run(busyboxPath string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	var in inputs
	if in.busybox, err = readBusybox(busyboxPath); err != nil {
		return err
	}
	if in.init, err = buildInit(root); err != nil {
		return err
	}
	if in.sources, err = initSources(root); err != nil {
		return err
	}
	in.files = os.DirFS(filepath.Join(root, "guest/userland/root"))
	a, err := pack(in)
	if err != nil {
		return err
	}
	if err := a.compress(); err != nil {
		return err
	}
	if err := a.store(filepath.Join(root, "guest/userland"), in); err != nil {
		return err
	}
	fmt.Printf("user land: %d KiB, %d KiB packed; init %d KiB, busybox %s %d KiB\n",
		len(a.data)>>10, len(a.packed)>>10, len(in.init)>>10, in.busybox.version, len(in.busybox.data)>>10)
	return nil
}
