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

# fuzz DIR NAME: Go's fuzzer now and then takes the end of its own time for a failure of the
# target, as "context deadline exceeded" alone. A real one comes with the input, or a panic.
fuzz() {
  local status=0
  (cd "$1" && go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 5x .) </dev/null 2>&1 | tee "$log" || status=$?
  [ "$status" -eq 0 ] && return
  if grep -q '^ *context deadline exceeded$' "$log" && ! grep -qE 'Failing input|panic|hung|terminated|DATA RACE|_test\.go:[0-9]+' "$log"; then
    echo "== $2: its time was up, and no input failed"
    return
  fi
  return "$status"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
first=0
if [ "$count" -gt 0 ] && [ "$count" -lt ${#targets[@]} ]; then
  first=$(($(git rev-list --count HEAD) * count % ${#targets[@]}))
else
  count=${#targets[@]}
fi
for ((i = first; i < first + count; i++)); do
  read -r dir name <<<"${targets[i % ${#targets[@]}]}"
  echo "== ${dir#"$PWD"/} $name"
  fuzz "$dir" "$name"
done
