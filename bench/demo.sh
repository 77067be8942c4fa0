#!/usr/bin/env bash
# Boots the embedded guest: here if this host can, else in the lab.
set -euo pipefail
cd "$(dirname "$0")/.."

guest='echo "Hello from $(uname -sr) in a virtual machine"
echo "CPUs:   $(nproc), $(sed -n "s/^model name.*: //p" /proc/cpuinfo | head -n 1)"
echo "Memory: $(free -m | awk "/^Mem:/ {print \$2}") MiB"
echo "Up for: $(cut -d " " -f 1 /proc/uptime) s"'

run=(bin/gureum run --cpus 2 --memory 256M -- sh -c "$guest")
if bin/gureum doctor >/dev/null 2>&1; then
  exec "${run[@]}"
fi
echo 'This host has no KVM that runs Linux; booting one that has, in the lab ...' >&2
exec bin/lab -- "${run[@]}"
