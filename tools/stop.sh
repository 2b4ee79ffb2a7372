#!/usr/bin/env bash
# Stops what `make run` started: collector, api, PostgreSQL. STATE= names the state folder.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/embedded_postgres.sh
. tools/processes.sh
state=$(realpath -m "${STATE:-.pganalytics}")
if [ ! -d "$state" ]; then
  echo "stop: nothing runs from $state"
  exit 0
fi
[ ! -d "$state/run" ] || : >"$state/run/stopping"  # shows the terminal of `make run` that this is no crash
stop_suite "$state"
echo "stop: all stopped; the data stays in $state"
