#!/usr/bin/env bash
# Builds the dev preset and runs its tests: tools/test.sh [unit|integration]
# Fast tests run first; the script's exit code is that of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=${1:-all}
start=$(date +%s)

tools/setup.sh test
tools/build.sh dev
[ "$suite" = unit ] || tools/fetch-postgres.sh

jobs=${JOBS:-$(nproc)}
case $suite in
  unit) ctest --preset dev -j "$jobs" -L '^unit$' ;;
  integration) ctest --preset dev -j "$jobs" -L '^(integration|e2e)$' ;;
  all)
    ctest --preset dev -j "$jobs" -L '^(lint|unit|bench)$'
    ctest --preset dev -j "$jobs" -LE '^(lint|unit|bench)$'
    ;;
  *)
    echo "usage: tools/test.sh [unit|integration]" >&2
    exit 2
    ;;
esac
echo "tests: all passed in $(($(date +%s) - start)) s"
