#!/usr/bin/env bash
# The checks that need no build: format, layers, protos, waits, sizes of tests, wording, dashboards.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh test
tools/format.sh
python3 tools/checks/layer_check.py
python3 tools/checks/proto_check.py
python3 tools/checks/time_check.py
python3 tools/checks/test_check.py
python3 tools/checks/wording_check.py
python3 tools/grafana/generate.py --check
echo "lint: clean"
