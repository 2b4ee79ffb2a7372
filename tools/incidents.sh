#!/usr/bin/env bash
# Plays a day of incidents on real servers and says which rule found each (tests/incidents/README.md).
# SEEDS=1,2,3,4,5 and QUIET=240 (seconds of quiet time before each) change what is played; further arguments are run.sh's.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh test
tools/build.sh dev pganalytics-api pganalytics-collector
PGA_SOURCE_DIR=$PWD PGA_BINARY_DIR=$PWD/build/dev exec tests/incidents/run.sh \
  --seeds "${SEEDS:-1,2,3,4,5}" --quiet "${QUIET:-240}" "$@"
