#!/usr/bin/env bash
# Configures and builds one preset: tools/build.sh <preset> [ninja target ...]
# The release preset without targets also leaves the programs in the checkout's root.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?usage: tools/build.sh <preset> [target ...]}
shift
tools/setup.sh build

export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-5G}
programs=(pganalytics-api pganalytics-collector pgactl)
targets=("$@")
[ "$preset" != release ] || [ ${#targets[@]} -gt 0 ] ||
  targets=("${programs[@]}" pga-auth pga-registry pga-ingest pga-query pga-compactor pga-ruler pga-gateway pga_descriptor_set)

log=build/$preset/configure.log
mkdir -p "build/$preset"
if ! cmake --preset "$preset" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
cmake --build --preset "$preset" ${JOBS:+-j "$JOBS"} ${targets[0]:+--target "${targets[@]}"}

if [ "$preset" = release ]; then
  for program in "${programs[@]}"; do
    [ ! -x "build/release/bin/$program" ] || ln -f "build/release/bin/$program" "$program"
  done
fi
