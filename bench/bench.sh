#!/usr/bin/env bash
# The whole benchmark, beside QEMU and the host itself: here where the host has KVM, else
# in the lab, where time is counted in instructions. Without arguments all is measured, and
# results are left in bin/bench.json and bin/bench.html.
set -euo pipefail
cd "$(dirname "$0")/.."

# The embedded kernel is no bzImage; Debian's for virtual machines is.
bzimage=()
if file=$(bin/lab kernel linux-image-cloud-amd64); then
  bzimage=(--bzimage "$file")
else
  echo "there is no bzImage to measure with: see the message above" >&2
fi
bench=(bin/gureum bench --log-level info --peer qemu --peer host "${bzimage[@]}")

if bin/gureum doctor >/dev/null 2>&1; then
  if [ $# -eq 0 ]; then
    set -- --json bin/bench.json --html bin/bench.html
  fi
  exec "${bench[@]}" "$@"
fi

lab=(bin/lab --deterministic --memory 6G)
if [ $# -gt 0 ]; then
  exec "${lab[@]}" -- "${bench[@]}" --instructions "$@"
fi

# Two labs share the groups: each takes a CPU of this machine, and instructions are as many
# beside another lab. Four runs are the fewest that have an interval. Ctrl-C is passed on,
# once (set -m keeps the terminal's from the labs), and ends both with what they have.
set -m
out=$(mktemp -d "${TMPDIR:-/tmp}/gureum-bench.XXXXXX")
labs=()
interrupted=
trap 'kill "${labs[@]}" 2>/dev/null || true; wait; rm -rf "$out"' EXIT
trap 'interrupted=1; kill -INT "${labs[@]}" 2>/dev/null || true' INT TERM HUP
measure() { # NAME GROUP...
  local name=$1
  shift
  "${lab[@]}" --share "$out" -- "${bench[@]}" --instructions --runs 4 --machines 6 --json "$out/$name.json" "$@" </dev/null >"$out/$name.txt" &
  labs+=($!)
}
measure one boot footprint cpu
measure two exits block net density snapshot
failed=0
for job in "${labs[@]}"; do
  status=0
  while kill -0 "$job" 2>/dev/null; do
    status=0
    wait "$job" || status=$?
  done
  if [ "$status" -ne 0 ]; then
    failed=$status
  fi
done
results=()
for name in one two; do
  if [ -f "$out/$name.json" ]; then
    results+=("$out/$name.json")
  fi
done
if [ "${#results[@]}" -eq 0 ] || { [ "$failed" -ne 0 ] && [ -z "$interrupted" ]; }; then
  cat "$out"/*.txt
  if [ -n "$interrupted" ]; then
    failed=130
  fi
  exit "$failed"
fi
bin/gureum bench show "${results[@]}" --json bin/bench.json --html bin/bench.html
echo "bench: also in bin/bench.json and bin/bench.html" >&2
if [ -n "$interrupted" ]; then
  exit 130
fi
