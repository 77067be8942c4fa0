#!/bin/sh
# compile.sh: the bits of Gureum's default guest kernel, out of a kernel source
# tree. It is deterministic: source, gureum.config, patches/ and the compiler
# decide every bit of vmlinux; directory, user, host, time and locale do not.
#
#   compile.sh SOURCE-TREE WORK-DIR DATE
#
# SOURCE-TREE is Debian's unpacked kernel source; it is changed only if there
# are patches. DATE is what `uname -v` shows. WORK-DIR/out then holds vmlinux
# (stripped ELF), vmlinux.lz4, gureum.resolved.config, COPYING, System.map.
#
# build.sh calls this for `make kernel`, verify.sh for `make verify-kernel`.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$1" && pwd)
mkdir -p "$2"
work=$(cd "$2" && pwd)
date=$3

die() {
	echo "guest kernel: $*" >&2
	exit 1
}

# What the kernel build would otherwise take from the machine.
export LC_ALL=C TZ=UTC
export KBUILD_BUILD_TIMESTAMP="$date" KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_USER=gureum KBUILD_BUILD_HOST=gureum
unset KCONFIG_CONFIG KBUILD_OUTPUT LOCALVERSION KCFLAGS KAFLAGS MAKEFLAGS || true
umask 022

# GCC 12 is Debian 12's; RUSTC and PAHOLE are switched off because the mere
# presence of these tools changes the configuration. The maps keep paths of
# the source and build directories out of the bits.
kmake() {
	make -s -C "$source" O="$work/obj" ARCH=x86_64 \
		CC=gcc-12 HOSTCC=gcc-12 RUSTC=false BINDGEN=false PAHOLE=false \
		KCFLAGS="-ffile-prefix-map=$source=. -ffile-prefix-map=$work/obj=." \
		KAFLAGS="-ffile-prefix-map=$source=. -ffile-prefix-map=$work/obj=." "$@"
}

# Refuses a line of the fragment that the kernel's configuration did not take.
check_config() {
	awk '
		function value(line) { sub(/^[^=]*=/, "", line); return line }
		/^CONFIG_[A-Za-z0-9_]+=/ { name = $0; sub(/=.*/, "", name); v = value($0) }
		/^# CONFIG_[A-Za-z0-9_]+ is not set/ { name = $2; v = "n" }
		/^CONFIG_|^# CONFIG_.* is not set/ {
			if (NR == FNR) { got[name] = v; next }
			have = (name in got) ? got[name] : "n"
			if (have != v) { print "  " name "=" v " became " have; bad = 1 }
		}
		END { exit bad }
	' "$work/obj/.config" "$here/gureum.config" >&2 || die "lines of gureum.config did not take"
}

for patch in "$here"/patches/*.patch; do
	[ -e "$patch" ] || continue
	patch -d "$source" -p1 --forward --batch <"$patch" >&2 || die "$patch does not apply"
done

rm -rf "$work/obj" "$work/out"
mkdir -p "$work/obj" "$work/out"
kmake KCONFIG_ALLCONFIG="$here/gureum.config" allnoconfig >&2
check_config
kmake -j"${JOBS:-$(nproc)}" vmlinux >&2

cd "$work/out"
objcopy --strip-all --remove-section=.comment "$work/obj/vmlinux" vmlinux
cp "$work/obj/System.map" System.map
grep -v '^# Linux/\|^# Compiler' "$work/obj/.config" >gureum.resolved.config
{
	cat "$source/COPYING"
	for licence in preferred/GPL-2.0 exceptions/Linux-syscall-note; do
		printf '\n======== LICENSES/%s ========\n\n' "$licence"
		cat "$source/LICENSES/$licence"
	done
} >COPYING
# The legacy frame (-l) is the one that kernels use: no checksums, large blocks.
lz4 -q -l -12 -f vmlinux vmlinux.lz4
