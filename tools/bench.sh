#!/usr/bin/env bash
# Builds the bench preset, runs the measured benchmarks and makes one report: tools/bench.sh [name ...]
# A table on the terminal and build/bench/report.json. BENCH=small (default; about ten minutes on two idle cores) or full
# (the load of 50 sources and 30 days among it; hours); `tools/bench_report.py --list` says what runs. Figures depend on
# the machine; compare ratios of one run. docs/sizing.md is made from the report by tools/sizing.py.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh bench
tools/build.sh bench pganalytics-api pganalytics-collector pgactl fleetsim ingest_bench upkeep_bench readable_bench \
  storage_read_benchmark columns_kernels_benchmark columns_encoding_benchmark frame_benchmark token_benchmark \
  pga-auth pga-registry pga-ingest pga-query pga-compactor pga-ruler pga-gateway
exec tools/bench_report.py --mode "${BENCH:-small}" "$@"
