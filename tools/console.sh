#!/usr/bin/env bash
# The console's own tools, with the pinned Node: tools/console.sh <command>
#   build <file.cc>   bundle, and the C++ file that the gateway embeds
#   check             types, lint, unit tests
#   typescript ...    the compiler
#   node ...          that Node
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
console=$root/services/console
command=${1:?usage: tools/console.sh build|check|typescript|node}
shift
bin=$("$root/tools/fetch-node.sh")
export PATH="$bin:$PATH"

# Packages as the lock file says, once for all builds of this checkout.
packages() {
  exec 8>"$root/build/tools/console.lock"
  flock 8
  local have=$console/node_modules/.lock-of-what-is-here
  if ! cmp -s "$console/package-lock.json" "$have"; then
    local log
    log=$(mktemp)
    if ! (cd "$console" && npm ci --loglevel=error --fetch-timeout=60000 >"$log" 2>&1); then
      tail -n 5 "$log" >&2
      rm -f "$log"
      echo "console: npm cannot bring the packages (its last lines are above); check the network and try again" >&2
      exit 1
    fi
    rm -f "$log"
    cp "$console/package-lock.json" "$have"
  fi
  (cd "$console" && node tools/api.ts)
}

case $command in
  build)
    target=${1:?usage: tools/console.sh build <file.cc>}
    packages
    site=$(dirname "$target")/site
    (cd "$console" && node node_modules/vite/bin/vite.js build --logLevel warn --outDir "$site")
    (cd "$console" && node tools/embed.ts "$site" "$target")
    ;;
  check)
    packages
    cd "$console"
    node node_modules/typescript/bin/tsc -p tsconfig.json
    node node_modules/@biomejs/biome/bin/biome check --error-on-warnings .
    node --test --test-timeout=60000 --test-reporter=spec "src/**/*.test.ts"
    ;;
  typescript)
    packages
    exec node "$console/node_modules/typescript/bin/tsc" "$@"
    ;;
  node) exec node "$@" ;;
  *)
    echo "usage: tools/console.sh build|check|typescript|node" >&2
    exit 2
    ;;
esac
