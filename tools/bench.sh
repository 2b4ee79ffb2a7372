#!/usr/bin/env bash
# Builds the bench preset and runs every measured benchmark: tools/bench.sh [name part ...]
# Figures depend on the machine; compare ratios of one run. What the space bench finds goes to build/bench/report.json too;
# BENCH_SOURCES (2), BENCH_DAYS (7) and BENCH_CHANGED (300) say how large a fleet it loads.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh test
tools/build.sh bench
for program in build/bench/bin/*_benchmark build/bench/bin/{ingest_bench,readable_bench}; do
  [ -x "$program" ] || continue
  name=${program##*/}
  [ $# -eq 0 ] || [[ " $* " == *" ${name%_benchmark} "* ]] || continue
  echo "== $name"
  PGA_SOURCE_DIR=$PWD PGA_BINARY_DIR=$PWD/build/bench "$program"
done
if [ $# -eq 0 ] || [[ " $* " == *" memory "* ]]; then
  PGA_BINARY_DIR=$PWD/build/bench tests/bench/memory.sh
fi
if [ $# -eq 0 ] || [[ " $* " == *" space "* ]]; then
  PGA_E2E_BIN=$PWD/build/bench/bin SPACE_JSON=$PWD/build/bench/report.json \
    tests/bench/space.sh "${BENCH_SOURCES:-2}" "${BENCH_DAYS:-7}" "${BENCH_CHANGED:-300}"
fi
