#!/usr/bin/env bash
# Clients of the REST API, made from its OpenAPI document: tools/clients.sh [DOCUMENT [FOLDER]]
# Without DOCUMENT it is that of this checkout, built first; FOLDER (build/clients) gets python/ and typescript/, each a package.
# Generators and their packages are pinned: tools/python/clients.requirements, tools/clients/typescript/package-lock.json.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
document=${1:-}
target=$(realpath -m "${2:-build/clients}")
if [ -z "$document" ]; then
  document=build/dev/openapi.json
  tools/build.sh dev "$root/$document" >&2
fi
document=$(realpath "$document")
python=$(tools/fetch-python.sh clients)
PATH="$(tools/fetch-node.sh):$PATH"

# The packages of the generator for TypeScript, once for a lock file.
node=$root/build/tools/clients
mkdir -p "$node"
exec 8>"$node.lock"
flock 8
if ! cmp -s tools/clients/typescript/package-lock.json "$node/node_modules/.lock-of-what-is-here"; then
  cp tools/clients/typescript/{package.json,package-lock.json,.npmrc} "$node"
  if ! (cd "$node" && npm ci --loglevel=error --fetch-timeout=60000 >"$node/npm.log" 2>&1); then
    tail -n 5 "$node/npm.log" >&2
    echo "clients: npm cannot bring the packages (its last lines are above); check the network and try again" >&2
    exit 1
  fi
  cp tools/clients/typescript/package-lock.json "$node/node_modules/.lock-of-what-is-here"
fi
flock -u 8

work=$(mktemp -d "$node/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
tools/clients/bodies.py "$document" >"$work/openapi.json"
# A route that cannot be generated is a failure: nobody would miss it before it is needed.
if ! PYTHONPATH=$python python3 -m openapi_python_client generate --path "$work/openapi.json" --config tools/clients/python.yaml \
     --meta setup --output-path "$work/python" --fail-on-warning >"$work/python.log" 2>&1; then
  cat "$work/python.log" >&2
  exit 1
fi
mkdir -p "$work/typescript/src"
cp tools/clients/typescript/{package.json,tsconfig.json} "$work/typescript"
cp tools/clients/typescript/index.ts "$work/typescript/src"
node "$node/node_modules/openapi-typescript/bin/cli.js" "$document" --output "$work/typescript/src/schema.d.ts" >"$work/typescript.log" 2>&1 ||
  { cat "$work/typescript.log" >&2; exit 1; }
node "$node/node_modules/typescript/bin/tsc" -p "$work/typescript"
cp "$work/typescript/src/schema.d.ts" "$work/typescript/dist"
cp LICENSE "$work/python"
cp LICENSE "$work/typescript"
chmod -R go+rX "$work/python" "$work/typescript"

mkdir -p "$target"
for language in python typescript; do
  rm -rf "${target:?}/$language"
  mv "$work/$language" "$target/$language"
done
echo "$target"
