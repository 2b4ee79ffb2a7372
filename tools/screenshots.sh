#!/usr/bin/env bash
# Makes the README's pictures: a real suite, a real collector, real work, pages in Chromium, pgactl as it prints.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh test
tools/build.sh dev pganalytics-api pganalytics-collector pgactl
PGA_BINARY_DIR=$PWD/build/dev tests/e2e/console_test.sh pictures "$PWD/docs/pictures"
