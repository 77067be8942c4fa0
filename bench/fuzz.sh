#!/usr/bin/env bash
# Runs fuzz targets for a while each: bench/fuzz.sh [DURATION [COUNT [PACKAGE-PATTERN]]]
# With COUNT only so many, the next ones with each commit, so that all have their turn.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-60s} count=${2:-0}
targets=()
while read -r dir; do
  while read -r name; do
    targets+=("$dir $name")
  done < <(cat "$dir"/*_test.go 2>/dev/null | sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p')
done < <(go list -f '{{.Dir}}' "${3:-./...}")

first=0
if [ "$count" -gt 0 ] && [ "$count" -lt ${#targets[@]} ]; then
  first=$(($(git rev-list --count HEAD) * count % ${#targets[@]}))
else
  count=${#targets[@]}
fi
for ((i = first; i < first + count; i++)); do
  read -r dir name <<<"${targets[i % ${#targets[@]}]}"
  echo "== ${dir#"$PWD"/} $name"
  (cd "$dir" && go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 5x .) </dev/null
done
