#!/usr/bin/env bash
# Writes docs/metrics.md from the catalog; tools/docs.sh [build folder, default build/dev].
# COVERAGE=1: docs/coverage.md too, from servers of all versions (tools/fetch-postgres.sh), which takes half a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/dev}
[ -f "$build/build.ninja" ] || cmake --preset dev -B "$build"
ninja -C "$build" pga-catalog-docs
"$build/bin/pga-catalog-docs" >docs/metrics.md.new
mv docs/metrics.md.new docs/metrics.md
if [ "${COVERAGE:-0}" = 1 ]; then
  ninja -C "$build" pga-catalog-coverage
  "$build/bin/pga-catalog-coverage" libs/catalog/coverage.yaml >docs/coverage.md.new
  mv docs/coverage.md.new docs/coverage.md
fi
