#!/usr/bin/env bash
# Incidents played on real servers under the real suite: run.sh [--short] [--seeds 1,2,3] [--kinds a,b] [--quiet SECONDS].
# What is played and what is counted: README.md.
. "$(dirname "$0")/../e2e/lib/suite.sh"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
start_postgres
prepare_suite

mkdir -p "$WORK/rules" "$WORK/play"
chmod 711 "$WORK/play"
python3 "$HERE/rules.py" "$ROOT/services/ruler/rules" "$WORK/rules"
RULES_DIR=$WORK/rules RULES_WITHOUT_BUILTIN=true RULES_INTERVAL=1 RULER_LEASE=4 start_api
login

INCIDENTS_WORK=$WORK/play INCIDENTS_URL=$URL INCIDENTS_TOKEN=$TOKEN INCIDENTS_COLLECTOR=$BIN/pganalytics-collector \
  INCIDENTS_SECRET=$WORK/secrets/registration INCIDENTS_PG_BIN=$PG_BIN \
  INCIDENTS_ALERTS="host=127.0.0.1 port=$PG_PORT user=pganalytics password=owner-password dbname=pganalytics" \
  python3 "$HERE/play.py" "$@" &
PIDS+=($!)
wait $!
