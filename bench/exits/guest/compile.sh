#!/bin/sh
# compile.sh OUT: builds the guest with the C compiler of Debian 12. The same compiler makes
# the same bits wherever the source lies.
set -eu
out=$(realpath -m "$1")
cd "$(dirname "$0")"
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -Wno-array-bounds -ffreestanding -fno-pic -no-pie -mno-red-zone -mgeneral-regs-only \
	-mcmodel=small -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -fno-strict-aliasing \
	-nostdlib -static -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments \
	-Wl,-T,link.ld -s -o "$out" \
	entry.S main.c boot.c acpi.c serial.c clock.c interrupt.c apic.c virtio.c mmio.c pci.c second.c report.c events.c map.c memory.c
