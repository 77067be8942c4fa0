#!/bin/sh
# verify.sh: `make verify-kernel`. Rebuilds the guest kernel from the source
# version that MANIFEST records, in a temporary directory, and compares bits.
#
# Exit status: 0 the same bits; 1 other bits, or the build failed; 3 cannot be
# judged here: the archive has dropped the source version, or the compiler or
# linker is another one than recorded.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/source.sh"

recorded() { sed -n "s/^$1: //p" "$here/MANIFEST"; }

need_tools
[ "$("$here/inputs.sh")" = "$(recorded inputs-sha256)" ] ||
	die "gureum.config, compile.sh or patches/ changed since the artefact was built: run 'make kernel'"
[ "$(sha256 "$here/vmlinux.lz4")" = "$(recorded image-sha256)" ] ||
	die "vmlinux.lz4 is not the file that MANIFEST records"
[ "$(compiler)" = "$(recorded compiler)" ] ||
	die "compiler is '$(compiler)', the artefact was built with '$(recorded compiler)'; use that one, or run 'make kernel'" 3
[ "$(linker)" = "$(recorded linker)" ] ||
	die "linker is '$(linker)', the artefact was built with '$(recorded linker)'; use that one, or run 'make kernel'" 3

work=$(mktemp -d "${TMPDIR:-/tmp}/gureum-kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

fetch_source "$(recorded source-version)"
[ "$(sha256 "$deb")" = "$(recorded source-sha256)" ] ||
	die "$deb is not the package that the artefact was built from"
unpack "$work"
"$here/compile.sh" "$tree" "$work/build" "$source_date"

out=$work/build/out
lz4 -q -dc "$here/vmlinux.lz4" >"$work/committed"
if ! cmp "$work/committed" "$out/vmlinux" >&2; then
	diff "$here/gureum.resolved.config" "$out/gureum.resolved.config" >&2 || true
	die "the rebuilt vmlinux differs from the committed one"
fi
[ "$(sha256 "$out/vmlinux")" = "$(recorded vmlinux-sha256)" ] || die "MANIFEST records another vmlinux-sha256"
cmp "$here/gureum.resolved.config" "$out/gureum.resolved.config" >&2 || die "gureum.resolved.config differs"
echo "guest kernel: $(recorded release) rebuilt from $package $source_version: the same $(recorded vmlinux-size) bytes, sha256 $(recorded vmlinux-sha256)"
