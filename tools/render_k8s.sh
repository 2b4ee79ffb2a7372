#!/usr/bin/env bash
# Renders k8s/base and k8s/overlays, kustomize's manifests for those without Helm, from the chart: tools/render_k8s.sh [folder]
# Each overlay is k8s/values.yaml with k8s/overlays/NAME/values.yaml over it; into a folder other than k8s it writes all but these.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(tools/fetch-chart-tools.sh | tail -n 1)
exec python3 tools/charts/kustomize.py "$bin/helm" "${1:-k8s}"
