#!/usr/bin/env bash
# Brings the types that Grafana publishes of dashboards (npm package @grafana/schema) into build/tools/grafana-schema and prints the
# folder. What is there stays untouched.
set -euo pipefail
cd "$(dirname "$0")/.."
version=11.6.0
wanted=fa42e55d57fd4fb4eae865f5f498c24c6369c84d9ad7722c778247638c08e9f9359858ab6ebdb20c2d3d0dd1898c2bdca0361590fc0abe7b6e0d120f85e20184
target=$PWD/build/tools/grafana-schema
mkdir -p build/tools
# One caller at a time; the others find the work done.
exec 9>"$target.lock"
flock 9
if [ "$(cat "$target/version" 2>/dev/null)" = "$version" ]; then
  echo "$target"
  exit 0
fi
bin=$(tools/fetch-node.sh)
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! (cd "$work" && PATH="$bin:$PATH" npm pack --silent --fetch-timeout=60000 "@grafana/schema@$version" >npm.log 2>&1); then
  tail -n 5 "$work/npm.log" >&2
  echo "fetch-grafana-schema: npm cannot bring @grafana/schema $version (its last lines are above)" >&2
  exit 1
fi
echo "$wanted  $work/grafana-schema-$version.tgz" | sha512sum --check --quiet
tar -xzf "$work/grafana-schema-$version.tgz" -C "$work"
echo "$version" >"$work/package/version"
rm -rf "$target"
mv "$work/package" "$target"
echo "$target"
