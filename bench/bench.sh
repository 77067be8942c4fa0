#!/usr/bin/env bash
# The whole benchmark, beside QEMU and the host itself: here where the host has KVM, else
# in the lab, where time is counted in instructions.
set -euo pipefail
cd "$(dirname "$0")/.."

if bin/gureum doctor >/dev/null 2>&1; then
  exec bin/gureum bench --peer qemu --peer host "$@"
fi
exec bin/lab --deterministic --memory 4G -- bin/gureum bench --instructions --peer qemu --peer host "$@"
