#!/usr/bin/env bash
# pgbench with known transaction counts: the calls of each of its statements that the REST API reports equal what pgbench
# did - in a run during collection, in a run with a kill -9 of the collector in the middle, and, for a run begun before the
# collector, from the first reading on.
. "$(dirname "$0")/lib/suite.sh"
start_postgres
prepare_suite
case ${1:-one} in
  one) start_api ;;
  apart) start_apart ;;
esac
login

export PGPASSWORD=superuser-password PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=postgres
export PGPORT=$PG_PORT
pgbench -i -s 1 -q >/dev/null 2>&1
# Each run has statements of its own. A query id does not see aliases and constants, so the trees differ in their depth.
script_for() {
  local plus
  case $1 in
    before) plus="+ 1" ;;
    during) plus="+ 1 + 1" ;;
    killed) plus="+ 1 + 1 + 1" ;;
  esac
  cat <<SQL
\set aid random(1, 100000)
BEGIN;
UPDATE pgbench_accounts AS run_$1 SET abalance = run_$1.abalance $plus WHERE run_$1.aid = :aid;
SELECT run_$1.abalance $plus FROM pgbench_accounts AS run_$1 WHERE run_$1.aid = :aid;
END;
SQL
}
bench() {  # run name, clients, transactions per client, further arguments
  local run=$1 clients=$2 transactions=$3
  shift 3
  script_for "$run" >"$WORK/$run.sql"
  pgbench -n -M prepared -c "$clients" -j 1 -t "$transactions" -f "$WORK/$run.sql" "$@" >"$WORK/pgbench-$run.log" 2>&1
}
truth() {  # calls that PostgreSQL itself counted for the statements of a run, one line a statement
  in_source "SELECT queryid || ' ' || calls FROM pg_stat_statements WHERE query LIKE '%run_$1%' AND query NOT LIKE '%pg_stat%' ORDER BY 1"
}
reported() {  # the same from the REST API
  api_get "/api/v1/queries/top?hours=1&order_by=calls&limit=1000" |
    jq -r --arg run "run_$1" '.queries[] | select(.query_text | contains($run)) | .query_id + " " + (.calls | tostring)' | LC_ALL=C sort
}
statements_equal() { [ "$(truth "$1" | LC_ALL=C sort)" = "$(reported "$1")" ] && [ "$(reported "$1" | wc -l)" -ge 2 ]; }

# 1. Begun before the collector starts: from the first reading on.
bench before 2 200
BEFORE=$(in_source "SELECT calls FROM pg_stat_statements WHERE query LIKE 'UPDATE%run_before%'")
start_collector bench STATEMENT_TEXT_INTERVAL=1
first_reading() { [ "$(in_metrics "SELECT count(*) FROM public.metrics WHERE metric_name = 'statements'")" -gt 0 ]; }
within "first reading" 40 first_reading
bench before 2 100
equals "pgbench did" "$((BEFORE + 200))" "$(in_source "SELECT calls FROM pg_stat_statements WHERE query LIKE 'UPDATE%run_before%'")"
from_first_reading() {
  [ "$(api_get "/api/v1/queries/top?hours=1&order_by=calls&limit=1000" |
      jq -r '[.queries[] | select(.query_text | contains("run_before")) | .calls] | unique | map(tostring) | join(" ")')" = 200 ]
}
within "begun before the collector: 200 calls from the first reading on" 30 from_first_reading

# 2. During its run.
bench during 4 500
within "during collection: calls of each statement are equal" 40 statements_equal during
echo "     during: $(truth during | tr '\n' ' ')"

# 3. kill -9 of the collector in the middle.
bench killed 2 600 -R 400 &
BENCH=$!
under_way() { [ "$(in_source "SELECT coalesce(max(calls), 0) FROM pg_stat_statements WHERE query LIKE 'UPDATE%run_killed%'")" -gt "$1" ]; }
within "pgbench is under way" 20 under_way 300
kill -KILL "$COLLECTOR_PID"
within "pgbench goes on without the collector" 20 under_way 700
start_collector bench STATEMENT_TEXT_INTERVAL=1
wait $BENCH
within "kill -9 in the middle: calls of each statement are equal" 60 statements_equal killed
echo "     killed: $(truth killed | tr '\n' ' ')"
equals "killed: pgbench's own count" 1200 "$(in_source "SELECT calls FROM pg_stat_statements WHERE query LIKE 'UPDATE%run_killed%'")"

# 4. Each route, on this data, answers as the suite's own description says.
if [ "${1:-one}" = one ]; then
  check "answers are as /api/v1/openapi.json describes them" python3 "$ROOT/tests/e2e/openapi_check.py" "$URL" "$TOKEN"
  sed 's/^/     /' "$WORK/last.out"
fi
finish
