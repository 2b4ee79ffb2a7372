#!/usr/bin/env bash
# Managed instances move between real collectors under load: one that joins gets its share, one that stops or is killed
# loses it, and the sums of each source meet PostgreSQL's own counter to the last call. Everything is done by pgactl.
. "$(dirname "$0")/lib/suite.sh"
start_postgres
prepare_suite
start_api
login
export PGPASSWORD=superuser-password PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=postgres PGPORT=$PG_PORT
export PGACTL_URL=$URL PGACTL_TOKEN=$TOKEN PGACTL_INSTANCE_PASSWORD_FILE=$WORK/secrets/monitor XDG_CONFIG_HOME=$WORK
printf 'collector_name: managed\n' >"$WORK/fleet.yaml"
managed() { "$BIN/pgactl" managed "$@"; }
start_it() { start_collector "$1" COLLECTOR_CONFIG="$WORK/fleet.yaml" HOST_METRICS=false; }

work() {  # n calls of one statement
  printf 'SELECT 40 + 2 AS the_counted_one;\n' >"$WORK/one.sql"
  pgbench -n -c 2 -j 1 -t "$1" -R 100 -f "$WORK/one.sql" >/dev/null 2>&1
}
work 5
sql() { psql -X -A -t -q -c "$1"; }
QUERY_ID=$(sql "SELECT queryid FROM pg_stat_statements WHERE query LIKE '%the_counted_one%' LIMIT 1")

start_it one
FIRST_PID=$COLLECTOR_PID
NAMES="orders billing stock users"
for name in $NAMES kept; do
  pinned=()
  [ $name != kept ] || pinned=(--collector one)
  check "added $name" managed add $name --endpoint 127.0.0.1 --port "$PG_PORT" --user pganalytics_monitor --ssl-mode prefer --interval 1 "${pinned[@]}"
done
on() {  # how many each of the collectors one and two watches, which are reached
  managed list -o json | jq -r '[.[] | select(.status == "monitoring" and .name != "kept") | .assigned_collector_id] | "\(map(select(. == "one")) | length) \(map(select(. == "two")) | length)"'
}
on_is() { [ "$(on)" = "$1" ]; }
within "the only collector watches them all" 30 on_is "4 0" || exit 1; [ $FAILED = 0 ] || { managed list; exit 1; }
READINGS="readable.statements(now() - interval '1 day', now() + interval '1 hour')"
# The first reading is a key frame of what stands now: increases count from there on.
BASE=$(sql "SELECT sum(calls) FROM pg_stat_statements WHERE queryid = $QUERY_ID")
begun() { [ "$(in_metrics "SELECT count(DISTINCT source_name) FROM $READINGS WHERE queryid = $QUERY_ID AND kind = 'keyframe'")" = 5 ]; }
within "first readings" 40 begun

work 1200 &
LOAD=$!
start_it two
within "one that joins gets its share" 40 on_is "2 2"
kill -KILL "$COLLECTOR_PID"
within "when it is killed the other one takes them back" 40 on_is "4 0"
start_it two
within "and it gets them again" 40 on_is "2 2"
stop_pid "$COLLECTOR_PID"
within "when it stops the other one takes them back" 40 on_is "4 0"
wait $LOAD

truth() { sql "SELECT sum(calls) FROM pg_stat_statements WHERE queryid = $QUERY_ID"; }
stored() { in_metrics "SELECT $BASE + coalesce(sum(calls), 0) FROM $READINGS WHERE kind = 'delta' AND queryid = $QUERY_ID AND source_name = '$1'"; }
same() { [ "$(truth)" = "$(stored "$1")" ]; }
for name in $NAMES kept; do within "the sums of $name are the server's own" 30 same $name; done
equals "no frame twice" 0 "$(in_metrics "SELECT count(*) FROM (SELECT FROM public.metrics WHERE interval_ms > 0 GROUP BY source_id, metric_id, database_oid, \"timestamp\" HAVING count(*) > 1) d")"
equals "what names its collector never moved" 1 "$(in_metrics "SELECT owner_epoch FROM metrics.source WHERE name = 'kept'")"
check "others did" eval "[ \"\$(in_metrics \"SELECT count(*) FROM metrics.source WHERE owner_epoch > 4\")\" -gt 0 ]"
check "disks and logs have no password" \
  eval '! grep -rlF monitor-password "$WORK/collector-one" "$WORK/collector-two" "$WORK/collector.log" "$WORK/api.log"'
check "an operator tests one" managed test orders
check "pauses it" managed pause orders
equals "paused" paused "$(managed show orders -o json | jq -r .status)"
check "and deletes it" managed delete orders
equals "the collector of the others still runs" 1 "$(ps -o pid= -p "$FIRST_PID" | wc -l)"
finish
