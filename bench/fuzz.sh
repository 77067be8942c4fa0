#!/usr/bin/env bash
# Runs each fuzz target for a while: bench/fuzz.sh [DURATION] [PACKAGE-PATTERN]
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-60s}
go list -f '{{.Dir}}' "${2:-./...}" | while read -r dir; do
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null | awk '{print $2}'); do
    echo "== ${dir#"$PWD"/} $target"
    (cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5x .) </dev/null
  done
done
