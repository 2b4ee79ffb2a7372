#!/usr/bin/env bash
# kill -9 of collector, api and PostgreSQL in turn, under load: every batch that the collector's spool accepted is stored
# once. The truth is PostgreSQL's own counter, which the stored increases must meet to the last call.
. "$(dirname "$0")/lib/suite.sh"
start_postgres
prepare_suite
start_api
login
export PGPASSWORD=superuser-password PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=postgres PGPORT=$PG_PORT

# The watched server is a second cluster, so that the crash of the metrics database does not touch the counters.
METRICS_HOME=$PG_HOME METRICS_PORT=$PG_PORT
mkdir -p "$WORK/source"
chmod 711 "$WORK/source"
pg_locate "$WORK/source"
pg_init "$WORK/superuser-password"
SOURCE_HOME=$PG_HOME
SOURCE_PORT=$(free_port $((26000 + RANDOM % 3000)))
pg_start "$SOURCE_PORT"
stop_source() { PG_HOME=$SOURCE_HOME; pg_as "$PG_BIN/pg_ctl" -D "$SOURCE_HOME/data" -m immediate -w stop >/dev/null 2>&1 || true; PG_HOME=$METRICS_HOME; }
trap 'code=$?; stop_source; (exit $code); cleanup' EXIT
PG_HOME=$METRICS_HOME
source_sql() { psql -X -A -t -q -p "$SOURCE_PORT" -c "$1"; }
source_sql "CREATE ROLE pganalytics_monitor LOGIN IN ROLE pg_monitor"
source_sql "CREATE EXTENSION pg_stat_statements"
pg_set_password pganalytics_monitor "$WORK/monitor-password" psql -X -q -p "$SOURCE_PORT"

work() {  # n calls of one statement
  printf 'SELECT 40 + 2 AS the_counted_one;\n' >"$WORK/one.sql"
  pgbench -n -p "$SOURCE_PORT" -c 2 -j 1 -t "$1" -R 500 -f "$WORK/one.sql" >/dev/null 2>&1
}
work 10
start_it() { start_collector killed POSTGRES_PORT="$SOURCE_PORT"; }
QUERY_ID=$(source_sql "SELECT queryid FROM pg_stat_statements WHERE query LIKE '%the_counted_one%' LIMIT 1")
# The first reading is a key frame of what stands now: increases count from there on.
BASE=$(source_sql "SELECT sum(calls) FROM pg_stat_statements WHERE queryid = $QUERY_ID")
start_it
READINGS="readable.statements(now() - interval '1 day', now() + interval '1 hour')"
first_reading() { [ "$(in_metrics "SELECT count(*) FROM $READINGS WHERE kind = 'keyframe' AND queryid = $QUERY_ID")" -gt 0 ]; }
within "first reading" 40 first_reading

truth() { source_sql "SELECT sum(calls) FROM pg_stat_statements WHERE queryid = $QUERY_ID"; }
counted() { [ "$(truth)" -ge "$1" ]; }
some_calls() {  # at most; waits until a random number of calls more has been counted
  await 20 counted $(($(truth) + RANDOM % $1))
}
for round in 1 2; do
  for victim in collector api postgres; do
    work 1000 &
    LOAD=$!
    some_calls 600
    case $victim in
      collector)
        kill -KILL "$COLLECTOR_PID"
        some_calls 300
        start_it
        ;;
      api)
        kill -KILL "$API_PID"
        some_calls 300
        start_api >/dev/null
        ;;
      postgres)
        SERVER=$(pg_running_pid)
        # Its children hold the shared memory until they have ended.
        CHILDREN=$(pgrep -P "$SERVER")
        kill -KILL "$SERVER"
        # shellcheck disable=SC2086
        await 20 gone "$SERVER" $CHILDREN
        # The dead server's lock files would name a process that nobody has reaped yet.
        rm -f "$METRICS_HOME/data/postmaster.pid" "$METRICS_HOME"/run/.s.PGSQL.*
        pg_start "$METRICS_PORT"
        ;;
    esac
    wait $LOAD
    pass "round $round: $victim killed under load"
  done
done
stored() { in_metrics "SELECT $BASE + coalesce(sum(calls), 0) FROM $READINGS WHERE kind = 'delta' AND queryid = $QUERY_ID"; }
same() { [ "$(truth)" = "$(stored)" ]; }
within "stored increases meet the server's counter" 90 same
echo "     server counted $(truth), stored $(stored)"
equals "no receipt twice" 0 "$(in_metrics "SELECT count(*) FROM (SELECT FROM metrics.ingest_receipt GROUP BY collector_id, stream_id, seq HAVING count(*) > 1) d")"
equals "no frame twice" 0 "$(in_metrics "SELECT count(*) FROM (SELECT FROM public.metrics WHERE interval_ms > 0 GROUP BY source_id, metric_id, database_oid, \"timestamp\" HAVING count(*) > 1) d")"
finish
