#!/usr/bin/env bash
# Writes docs/metrics.md from the catalog, docs/alert-rules.md and the Prometheus form of alerts from their rules; tools/docs.sh [build folder, default build/dev].
# COVERAGE=1: docs/coverage.md too, from servers of all versions (tools/fetch-postgres.sh), which takes half a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/dev}
[ -f "$build/build.ninja" ] || cmake --preset dev -B "$build"
ninja -C "$build" pga-catalog-docs pga-rules
"$build/bin/pga-catalog-docs" >docs/metrics.md.new
mv docs/metrics.md.new docs/metrics.md
"$build/bin/pga-rules" docs >docs/alert-rules.md.new
mv docs/alert-rules.md.new docs/alert-rules.md
for form in prometheus:pganalytics-alerts prometheus-tests:pganalytics-alerts-tests; do
  "$build/bin/pga-rules" "${form%%:*}" >"tools/deploy/prometheus/${form##*:}.yaml.new"
  mv "tools/deploy/prometheus/${form##*:}.yaml.new" "tools/deploy/prometheus/${form##*:}.yaml"
done
if [ "${COVERAGE:-0}" = 1 ]; then
  ninja -C "$build" pga-catalog-coverage
  "$build/bin/pga-catalog-coverage" libs/catalog/coverage.yaml >docs/coverage.md.new
  mv docs/coverage.md.new docs/coverage.md
fi
