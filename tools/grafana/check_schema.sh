#!/usr/bin/env bash
# The dashboards against the types that Grafana publishes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
types=$("$root/tools/fetch-grafana-schema.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 "$root/tools/grafana/check_schema.py" "$types" "$root/tools/console.sh typescript" "$work"
