#!/usr/bin/env bash
# Renders k8s/pganalytics.yaml, plain manifests for those without Helm, from the chart. --print writes to stdout only.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(tools/fetch-chart-tools.sh | tail -n 1)
render() {
  echo "# Rendered from helm/pganalytics by tools/render_k8s.sh; change the chart, not this file."
  "$bin/helm" template pganalytics helm/pganalytics --namespace pganalytics --kube-version 1.30.0 --skip-tests \
    -f helm/pganalytics/ci/default-values.yaml
}
if [ "${1:-}" = --print ]; then render; else render >k8s/pganalytics.yaml; fi
