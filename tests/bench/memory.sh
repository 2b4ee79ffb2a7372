#!/usr/bin/env bash
# Peak resident memory of pganalytics-api and of one collector that watches a server with STATEMENTS statements (2000)
# for MINUTES (10), at COLLECTION_INTERVAL=10, statements in use all the time: tests/bench/memory.sh [--json FILE]
JSON=/dev/null
if [ "${1:-}" = --json ]; then JSON=$2; fi
. "$(dirname "$0")/../e2e/lib/suite.sh"
statements=${STATEMENTS:-2000}
minutes=${MINUTES:-10}
start_postgres "pg_stat_statements.max = 10000"
prepare_suite
start_api
login
# A query id sees operators, not aliases and constants: the bits of the number choose between + and -.
awk -v count="$statements" 'BEGIN {
  for (i = 0; i < count; i++) {
    text = "SELECT 1"
    for (bit = 0; bit < 14; bit++) text = text (int(i / 2 ^ bit) % 2 ? " + 1" : " - 1")
    print text ";"
  }
}' >"$WORK/statements.sql"
use_statements() { PGPASSWORD=superuser-password psql -X -q -o /dev/null -h 127.0.0.1 -p "$PG_PORT" -U postgres -d postgres -f "$WORK/statements.sql"; }
use_statements
start_collector memory COLLECTION_INTERVAL=10
end=$((SECONDS + minutes * 60))
while [ $SECONDS -lt $end ]; do
  use_statements
  api_get "/api/v1/queries/top?hours=1&limit=100" >/dev/null
  sleep 5 & wait $!
done
peak() { awk '/^VmHWM/ {printf "%.1f", $2 / 1024}' "/proc/$1/status"; }
known=$(in_source "SELECT count(*) FROM pg_stat_statements")
stored=$(in_metrics "SELECT coalesce(sum(rows), 0) FROM public.metrics WHERE metric_name = 'statements'")
echo "memory: after $minutes minutes with $known statements, $stored statement rows stored:"
line() {  # name, process, target
  echo "{\"name\": \"memory.$1\", \"value\": $(peak "$2"), \"unit\": \"MB\", \"target\": $3}" | tee -a "$JSON"
}
line api_peak "$API_PID" 120
line collector_peak "$COLLECTOR_PID" 30
