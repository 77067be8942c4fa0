package boot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOffsets asks a C compiler with the kernel's header where the fields of
// struct boot_params lie.
func TestOffsets(t *testing.T) {
	fields := []struct {
		expression string
		want       int
	}{
		{"sizeof(struct boot_params)", zeroPageSize},
		{"offsetof(struct boot_params, acpi_rsdp_addr)", bpACPIRSDP},
		{"offsetof(struct boot_params, ext_ramdisk_image)", bpExtRamdiskImage},
		{"offsetof(struct boot_params, ext_ramdisk_size)", bpExtRamdiskSize},
		{"offsetof(struct boot_params, ext_cmd_line_ptr)", bpExtCmdline},
		{"offsetof(struct boot_params, e820_entries)", bpMapEntries},
		{"offsetof(struct boot_params, hdr)", bpSetupHeader},
		{"offsetof(struct boot_params, hdr.boot_flag)", bpBootFlag},
		{"offsetof(struct boot_params, hdr.header)", bpMagic},
		{"offsetof(struct boot_params, hdr.version)", bpVersion},
		{"offsetof(struct boot_params, hdr.type_of_loader)", bpTypeOfLoader},
		{"offsetof(struct boot_params, hdr.loadflags)", bpLoadFlags},
		{"offsetof(struct boot_params, hdr.ramdisk_image)", bpRamdiskImage},
		{"offsetof(struct boot_params, hdr.ramdisk_size)", bpRamdiskSize},
		{"offsetof(struct boot_params, hdr.ext_loader_type)", bpExtLoaderType},
		{"offsetof(struct boot_params, hdr.cmd_line_ptr)", bpCmdline},
		{"offsetof(struct boot_params, hdr.initrd_addr_max)", bpInitrdMax},
		{"offsetof(struct boot_params, hdr.kernel_alignment)", bpAlignment},
		{"offsetof(struct boot_params, hdr.xloadflags)", bpXLoadFlags},
		{"offsetof(struct boot_params, hdr.cmdline_size)", bpCmdlineSize},
		{"offsetof(struct boot_params, hdr.setup_data)", bpSetupData},
		{"offsetof(struct boot_params, edd_mbr_sig_buffer)", bpSetupHeaderEnd},
		{"offsetof(struct boot_params, e820_table)", bpMemoryMap},
		{"sizeof(struct boot_e820_entry)", mapEntrySize},
		{"offsetof(struct boot_e820_entry, type)", 16},
		{"E820_MAX_ENTRIES_ZEROPAGE", maxMapEntries + 1},
		{"LOADED_HIGH", loadedHigh},
		{"XLF_KERNEL_64", kernel64},
	}
	var code strings.Builder
	code.WriteString("#include <stddef.h>\n#include <stdio.h>\n#include <asm/bootparam.h>\nint main(void) {\n")
	for _, f := range fields {
		fmt.Fprintf(&code, "printf(\"%%d\\n\", (int)(%s));\n", f.expression)
	}
	code.WriteString("return 0; }\n")

	dir := t.TempDir()
	source, program := filepath.Join(dir, "offsets.c"), filepath.Join(dir, "offsets")
	if err := os.WriteFile(source, []byte(code.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v (install gcc and linux-libc-dev with 'make setup')\n%s", err, out)
	}
	out, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Fields(string(out)) {
		if want := fmt.Sprint(fields[i].want); line != want {
			t.Errorf("%s is %s, not %s", fields[i].expression, line, want)
		}
	}
}
