#!/bin/sh
# build.sh: `make lab-qemu`. Builds an emulator for the lab's deterministic mode out
# of Debian's source package of QEMU, with one fault mended (docs/lab.md, "An
# interrupt too many") and PAUSE made cheap, and puts it where the lab looks for it.
# A build that is there already is kept.
#
#   build.sh [-f|-n]    -f builds it in any case; -n only tells whether it is there
set -eu

suite=bookworm
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gureum/lab
# The number goes up with each change of what is changed below, in lab/program.go as well.
target=$cache/qemu-2
if [ -x "$target/bin/qemu-system-x86_64" ] && [ "${1:-}" != -f ]; then
	exit 0
fi
if [ "${1:-}" = -n ]; then
	exit 1
fi

mkdir -p "$cache"
work=$(mktemp -d "${TMPDIR:-/tmp}/gureum-qemu.XXXXXX")
trap 'rm -rf "$work" "$target.new"' EXIT
trap 'exit 130' INT TERM HUP

# The sources of the mirror that packages come from, in lists of their own.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
	awk -v suite="$suite" '$2 == suite { print $1; exit }')
if [ -z "$mirror" ]; then
	echo "lab-qemu: apt knows no mirror of Debian's $suite: add one and run apt-get update" >&2
	exit 1
fi
mkdir -p "$work/lists/partial"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
apt="apt-get -qq -o Dir::Etc::SourceList=$work/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$work/lists -o APT::Sandbox::User=root"
$apt update
cd "$work"
$apt source --download-only qemu >/dev/null
dpkg-source --no-check -x qemu_*.dsc tree >/dev/null

# VMRUN with an interrupt to inject leaves the vector behind as if it were still to
# be delivered. The next time that the emulator leaves its loop it delivers it once
# more, whether the guest has interrupts enabled or not.
helper=tree/target/i386/tcg/sysemu/svm_helper.c
sed -i '/^ *do_interrupt_x86_hardirq(env, vector, 1);/a\            cs->exception_index = -1;' "$helper"
if [ "$(grep -c 'exception_index = -1;' "$helper")" != 1 ]; then
	echo "lab-qemu: $(ls qemu_*.dsc): the place to mend is not where it was" >&2
	exit 1
fi

# PAUSE leaves the emulator's loop, to let another CPU run. In the deterministic mode there
# is no other, and an idle CPU polls, some million times a second: it was most of the time
# that the mode took. What is left of it is that a hypervisor may intercept it.
translate=tree/target/i386/tcg/translate.c
sed -i '/gen_helper_pause(cpu_env/{s/.*/            gen_svm_check_intercept(s, SVM_EXIT_PAUSE);/;n;/DISAS_NORETURN/d}' "$translate"
if [ "$(grep -c 'gen_svm_check_intercept(s, SVM_EXIT_PAUSE);' "$translate")" != 1 ] || grep -q gen_helper_pause "$translate"; then
	echo "lab-qemu: $(ls qemu_*.dsc): the pause is not where it was" >&2
	exit 1
fi

echo "lab-qemu: building $(ls qemu_*.dsc | sed 's/\.dsc$//') (some minutes)" >&2
mkdir build
cd build
../tree/configure --prefix="$target" --firmwarepath=/usr/share/qemu:/usr/share/seabios \
	--target-list=x86_64-softmmu --without-default-features --enable-system --enable-tcg \
	--enable-virtfs --enable-attr --enable-cap-ng --enable-fdt=system \
	--disable-docs --disable-tools --disable-werror --disable-qom-cast-debug --meson=meson >configure.log 2>&1 ||
	{ tail -20 configure.log >&2; exit 1; }
ninja qemu-system-x86_64 >build.log 2>&1 || { tail -20 build.log >&2; exit 1; }
mkdir -p "$target.new/bin"
cp qemu-system-x86_64 "$target.new/bin/"
strip "$target.new/bin/qemu-system-x86_64"
rm -rf "$target"
mv "$target.new" "$target"
echo "lab-qemu: $target/bin/qemu-system-x86_64" >&2
