package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/guest/kernel"
	"github.com/gureum/gureum/vm"
)

func newKernelCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernel",
		Short: "Look at kernel images",
		Example: "  gureum kernel ls\n" +
			"  gureum kernel inspect /boot/vmlinuz-6.1.0-44-amd64",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKernelListCommand(s), newKernelInspectCommand(s), newKernelExtractCommand(s))
	return cmd
}

// checkOutput accepts the forms that listings come in.
func checkOutput(form string) error {
	if form != "table" && form != "json" {
		return fmt.Errorf("output %q: give table or json", form)
	}
	return nil
}

func newKernelListCommand(s Streams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the host's kernels and those unpacked in the cache",
		Example: "  gureum kernel ls\n  gureum kernel ls -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			kernels, err := kernel.List(kernel.Options{}, "/boot")
			if err != nil {
				return machineErrorf("%w", err)
			}
			return printKernels(s.Out, output, kernels)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "form of the output: table or json")
	return cmd
}

// listedJSON is a kernel in kernel ls -o json.
type listedJSON struct {
	Path    string `json:"path"`
	Format  string `json:"format"`
	Version string `json:"version"`
	Size    int64  `json:"size_bytes"`
	Cached  bool   `json:"cached"`
}

func printKernels(w io.Writer, form string, kernels []kernel.Listed) error {
	if form == "json" {
		list := make([]listedJSON, 0, len(kernels))
		for _, k := range kernels {
			list = append(list, listedJSON{k.Path, k.Format.String(), k.Version, k.Size, k.Cached})
		}
		return printJSON(w, list)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "FORMAT\tSIZE\tVERSION\tPATH")
	for _, k := range kernels {
		fmt.Fprintf(table, "%s\t%.1f MB\t%s\t%s\n", k.Format, float64(k.Size)/1e6, k.Version, k.Path)
	}
	return table.Flush()
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func newKernelInspectCommand(s Streams) *cobra.Command {
	var output string
	var config bool
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show format, compression, version, entry points and configuration of a kernel",
		Example: "  gureum kernel inspect /boot/vmlinuz-6.1.0-44-amd64\n" +
			"  gureum kernel inspect --config vmlinux | grep VIRTIO\n" +
			"  gureum kernel inspect -o json vmlinuz",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			info, err := kernel.Inspect(args[0])
			if err != nil {
				return err
			}
			if config {
				return printConfig(s.Out, info)
			}
			if output == "json" {
				return printJSON(s.Out, kernelJSON(info))
			}
			return printKernel(s.Out, info)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "form of the output: table or json")
	cmd.Flags().BoolVar(&config, "config", false, "print the kernel's whole configuration")
	return cmd
}

func printConfig(w io.Writer, info *kernel.Info) error {
	if len(info.Config) == 0 {
		return machineErrorf("%s holds no configuration (CONFIG_IKCONFIG), and none lies beside it", info.Path)
	}
	_, err := w.Write(info.Config)
	return err
}

// infoJSON is a kernel in kernel inspect -o json.
type infoJSON struct {
	Path         string            `json:"path"`
	Format       string            `json:"format"`
	Compression  string            `json:"compression"`
	Version      string            `json:"version"`
	FileSize     uint64            `json:"file_bytes"`
	UnpackedSize uint64            `json:"unpacked_bytes"`
	Entry        uint64            `json:"entry"`
	PVHEntry     uint64            `json:"pvh_entry"`
	MemoryEnd    uint64            `json:"memory_end"`
	CmdlineMax   int               `json:"cmdline_max"`
	Facts        map[string]string `json:"config,omitempty"`
}

func kernelJSON(info *kernel.Info) infoJSON {
	facts := map[string]string{}
	for _, f := range info.Facts {
		facts[f.Option] = f.Value
	}
	return infoJSON{
		Path: info.Path, Format: info.Format.String(), Compression: info.Compression.String(), Version: info.Version,
		FileSize: info.FileSize, UnpackedSize: info.UnpackedSize, Entry: info.Entry, PVHEntry: info.PVHEntry,
		MemoryEnd: info.HighestGPA, CmdlineMax: info.CmdlineMax, Facts: facts,
	}
}

func printKernel(w io.Writer, info *kernel.Info) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("format", "%s", info.Format)
	row("version", "%s", info.Version)
	row("compression", "%s", info.Compression)
	row("file", "%d bytes", info.FileSize)
	if info.Unpacked != nil {
		row("unpacked", "not on the host: %v", info.Unpacked)
	} else {
		row("unpacked", "%d bytes", info.UnpackedSize)
	}
	row("64-bit entry", "%#x", info.Entry)
	if info.PVHEntry != 0 {
		row("PVH entry", "%#x", info.PVHEntry)
	} else {
		row("PVH entry", "none")
	}
	row("memory", "%s of a guest up to %#x", vm.FormatSize(memorySize(info)), info.HighestGPA)
	row("command line", "at most %d bytes", info.CmdlineMax)
	if info.ConfigSource != "" {
		row("configuration", "from %s", info.ConfigSource)
	}
	for _, f := range info.Facts {
		row("  "+f.Option, "%s", f.Value)
	}
	return table.Flush()
}

// memorySize is what the kernel's segments take in guest memory, in bytes.
func memorySize(info *kernel.Info) uint64 {
	var n uint64
	for _, s := range info.Segments {
		n += s.MemSize
	}
	return n
}

func newKernelExtractCommand(s Streams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "extract FILE",
		Short:   "Unpack the ELF kernel out of an image",
		Example: "  gureum kernel extract -o vmlinux /boot/vmlinuz-6.1.0-44-amd64\n  gureum kernel extract vmlinuz > vmlinux",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if output == "" {
				return kernel.Extract(args[0], s.Out)
			}
			return extractFile(args[0], output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to `FILE` rather than standard output")
	return cmd
}

// extractFile writes the file beside its final place first, so that a failure
// leaves nothing half-written.
func extractFile(image, name string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".gureum-")
	if err != nil {
		return err
	}
	err = kernel.Extract(image, f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
