#!/usr/bin/env bash
# Builds helm, kubeconform and kustomize from their Go modules into build/tools/bin, and unpacks Kubernetes' JSON schemas from the
# Python package kubernetes-validate and those of the operators' kinds from their Go modules into build/tools/kubernetes-schemas.
# Prints the folder of the programs.
# Exit code 77: the modules cannot be had here (no Go, or no module proxy).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/build/tools/bin
schemas=$PWD/build/tools/kubernetes-schemas
mkdir -p "$bin"
# Tests that run at the same time ask for the same.
exec 9>"$bin/../.chart-tools.lock"
flock 9

command -v go >/dev/null 2>&1 || { echo "chart tools: no Go compiler on this machine" >&2; exit 77; }
# Helm 3.12 and kubeconform 0.6.3 are the last that Debian 12's own Go compiler builds.
helm_version=v3.12.3 kubeconform_version=v0.6.3 kustomize_version=v5.0.3
if [ "$(printf '%s\n' go1.25 "$(go env GOVERSION)" | sort -V | head -n 1)" = go1.25 ]; then
  helm_version=v3.19.0 kubeconform_version=v0.7.0 kustomize_version=v5.7.1
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
build sigs.k8s.io/kustomize/kustomize/v5 "$kustomize_version" kustomize

# Another list of kinds or versions is another folder.
if [ ! -f "$schemas/complete-2" ]; then
  wheel=$(mktemp -d)
  trap 'rm -rf "$log" "$wheel"' EXIT
  rm -rf "$schemas" "$schemas.part"
  if ! python3 -m pip download --quiet --no-deps -d "$wheel" kubernetes-validate==1.37.0 >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    echo "chart tools: the Python package kubernetes-validate cannot be had" >&2
    exit 77
  fi
  # The kinds that the chart makes for operators, as these define them.
  definitions=()
  for kind in \
      github.com/prometheus-operator/prometheus-operator@v0.84.0:example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml \
      github.com/cert-manager/cert-manager@v1.18.0:deploy/crds/crd-certificates.yaml \
      github.com/cloudnative-pg/cloudnative-pg@v1.26.0:config/crd/bases/postgresql.cnpg.io_clusters.yaml \
      sigs.k8s.io/gateway-api@v1.4.1:config/crd/experimental/gateway.networking.k8s.io_{httproutes,grpcroutes,tlsroutes}.yaml; do
    module=${kind%%:*}
    if ! (cd "$wheel" && go mod download -json "$module") >"$log" 2>&1; then
      tail -n 3 "$log" >&2
      echo "chart tools: the Go module $module cannot be had" >&2
      exit 77
    fi
    definitions+=("$(sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p' "$log")/${kind#*:}")
  done
  python3 - "$wheel" "$schemas" "${definitions[@]}" <<'PY'
import json, pathlib, re, sys, zipfile

import yaml

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
        if not folder.endswith("-local") or tuple(map(int, version[1:].split("."))) < (1, 27):
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


def closed(schema):
    """As the API server takes an object of this kind: a field that the definition lacks would be dropped."""
    if isinstance(schema, dict):
        if schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("anyOf", None)
            schema["type"] = ["integer", "string"]
        return {key: closed(value) for key, value in schema.items()}
    return [closed(value) for value in schema] if isinstance(schema, list) else schema


for path in sys.argv[3:]:
    for definition in yaml.safe_load_all(pathlib.Path(path).read_text(encoding="utf-8")):
        for version in definition["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            schema["properties"]["metadata"] = {"type": "object"}
            kind, group = definition["spec"]["names"]["kind"].lower(), definition["spec"]["group"].split(".")[0]
            file = target / "operators" / f"{kind}-{group}-{version['name']}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(closed(schema)))
(target / "complete-2").touch()
target.rename(sys.argv[2])
PY
fi
echo "$bin"
