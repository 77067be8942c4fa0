#!/bin/sh
# inputs.sh: one hash over everything of ours that decides the bits of the
# guest kernel: gureum.config, compile.sh, patches/*.patch. MANIFEST records it
# (inputs-sha256); if it no longer agrees, the artefact is stale and wants
# `make kernel`. linux_test.go computes the same.
set -eu
export LC_ALL=C
cd "$(dirname "$0")"
for input in compile.sh gureum.config patches/*.patch; do
	[ -e "$input" ] || continue
	sha256sum "$input"
done | sha256sum | cut -d' ' -f1
