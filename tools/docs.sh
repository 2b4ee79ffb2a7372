#!/usr/bin/env bash
# Writes docs/metrics.md from the catalog; tools/docs.sh [build folder, default build/dev].
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/dev}
[ -f "$build/build.ninja" ] || cmake --preset dev -B "$build"
ninja -C "$build" pga-catalog-docs
"$build/bin/pga-catalog-docs" >docs/metrics.md.new
mv docs/metrics.md.new docs/metrics.md
