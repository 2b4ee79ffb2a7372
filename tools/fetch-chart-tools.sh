#!/usr/bin/env bash
# Builds helm and kubeconform from their Go modules into build/tools/bin, and unpacks Kubernetes' JSON schemas from the
# Python package kubernetes-validate into build/tools/kubernetes-schemas. Prints the folder of the programs.
# Exit code 77: the modules cannot be had here (no Go, or no module proxy).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/build/tools/bin
schemas=$PWD/build/tools/kubernetes-schemas
mkdir -p "$bin"

command -v go >/dev/null 2>&1 || { echo "chart tools: no Go compiler on this machine" >&2; exit 77; }
# Helm 3.12 and kubeconform 0.6.3 are the last that Debian 12's own Go compiler builds.
helm_version=v3.12.3 kubeconform_version=v0.6.3
if [ "$(printf '%s\n' go1.25 "$(go env GOVERSION)" | sort -V | head -n 1)" = go1.25 ]; then
  helm_version=v3.19.0 kubeconform_version=v0.7.0
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
build() {  # module path, version, program
  [ ! -x "$bin/$3" ] || return 0
  if ! GOBIN=$bin go install "$1@$2" >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    echo "chart tools: $3 $2 could not be built from its Go module" >&2
    exit 77
  fi
}
build github.com/yannh/kubeconform/cmd/kubeconform "$kubeconform_version" kubeconform
build helm.sh/helm/v3/cmd/helm "$helm_version" helm

if [ ! -d "$schemas" ]; then
  wheel=$(mktemp -d)
  trap 'rm -rf "$log" "$wheel"' EXIT
  if ! python3 -m pip download --quiet --no-deps -d "$wheel" kubernetes-validate==1.37.0 >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    echo "chart tools: the Python package kubernetes-validate cannot be had" >&2
    exit 77
  fi
  python3 - "$wheel" "$schemas" <<'PY'
import json, pathlib, re, sys, zipfile

REF = re.compile(r'"\$ref": "#/\$defs/([^"]+)"')
wheel = next(pathlib.Path(sys.argv[1]).glob("*.whl"))
target = pathlib.Path(sys.argv[2] + ".part")


def strict(schema):
    # A field that Kubernetes does not know is a mistake in the chart.
    if "properties" in schema and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    return schema


with zipfile.ZipFile(wheel) as archive:
    def load(name):
        return json.loads(archive.read(name).replace(b'"/api/_definitions.json#', b'"#'))

    folders = sorted({str(pathlib.PurePosixPath(n).parent) for n in archive.namelist() if n.endswith("/_definitions.json")})
    for folder in folders:
        version = ".".join(pathlib.PurePosixPath(folder).name.removesuffix("-local").split(".")[:2])
        if version not in ("v1.27", "v1.30", "v1.33"):
            continue
        definitions = load(folder + "/_definitions.json")["$defs"]
        for name in archive.namelist():
            file = pathlib.PurePosixPath(name)
            if str(file.parent) != folder or not name.endswith(".json") or file.name.startswith("_"):
                continue
            schema = strict(load(name))
            if "x-kubernetes-group-version-kind" not in schema or not {"kind", "metadata"} <= schema.get("properties", {}).keys():
                continue
            # Each file stands alone: it carries the definitions it reaches.
            needed, queue = {}, REF.findall(json.dumps(schema))
            while queue:
                reached = queue.pop()
                if reached not in needed:
                    needed[reached] = strict(definitions[reached])
                    queue += REF.findall(json.dumps(needed[reached]))
            schema["$defs"] = needed
            path = target / version / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(schema))
target.rename(sys.argv[2])
PY
fi
echo "$bin"
