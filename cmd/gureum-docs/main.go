// Command gureum-docs writes gureum's manual pages and shell completions. It is
// apart from gureum so that the program itself does not carry the generator.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/gureum/gureum/cmd/gureum/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gureum-docs DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gureum-docs:", err)
		os.Exit(1)
	}
}

// write puts the pages into DIR/man/man1 and the completions into
// DIR/completions.
func write(dir string) error {
	root := cli.NewRoot(cli.Streams{In: os.Stdin, Out: io.Discard, Err: io.Discard})
	root.DisableAutoGenTag = true
	pages, completions := filepath.Join(dir, "man", "man1"), filepath.Join(dir, "completions")
	for _, d := range []string{pages, completions} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	// A fixed date: the same program gives the same pages.
	date := time.Unix(0, 0)
	header := &doc.GenManHeader{Section: "1", Source: "Gureum", Manual: "Gureum", Date: &date}
	return errors.Join(
		doc.GenManTree(root, header, pages),
		writeCompletions(root, completions))
}

func writeCompletions(root *cobra.Command, dir string) error {
	return errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(dir, "gureum.bash"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "_gureum")),
		root.GenFishCompletionFile(filepath.Join(dir, "gureum.fish"), true))
}
