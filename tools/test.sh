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
results=$PWD/build/dev/results
rm -rf "$results"
mkdir -p "$results"
trap 'tools/test_times.py build/dev "$results"/*.xml || true' EXIT

run() {  # name of the round, then arguments of ctest
  local name=$1
  shift
  ctest --preset dev -j "$jobs" --output-junit "$results/$name.xml" "$@"
}
case $suite in
  unit) run unit -L '^unit$' ;;
  integration) run integration -L '^(integration|e2e)$' ;;
  all)
    run fast -L '^(lint|unit|bench)$'
    run slow -LE '^(lint|unit|bench)$'
    ;;
  *)
    echo "usage: tools/test.sh [unit|integration]" >&2
    exit 2
    ;;
esac
echo "tests: all passed in $(($(date +%s) - start)) s"
