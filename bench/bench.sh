#!/usr/bin/env bash
# The whole benchmark, beside QEMU and the host itself: here where the host has KVM, else
# in the lab, where time is counted in instructions.
set -euo pipefail
cd "$(dirname "$0")/.."

# The embedded kernel is no bzImage; Debian's for virtual machines is.
bzimage=()
if file=$(bin/lab kernel linux-image-cloud-amd64); then
  bzimage=(--bzimage "$file")
else
  echo "there is no bzImage to measure with: see the message above" >&2
fi

if bin/gureum doctor >/dev/null 2>&1; then
  exec bin/gureum bench --peer qemu --peer host "${bzimage[@]}" "$@"
fi
exec bin/lab --deterministic --memory 6G -- bin/gureum bench --instructions --peer qemu --peer host "${bzimage[@]}" "$@"
