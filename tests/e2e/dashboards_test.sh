#!/usr/bin/env bash
# Every panel of every dashboard of tools/deploy/grafana, asked as Grafana would: SQL on data of real collectors (a primary, its
# standby and their host) and on a day of simulated sources, as the logins of readers, compared with the API; PromQL in a real
# Prometheus that scrapes suite and collectors.
#   dashboards_test.sh             all of it
#   MEASURE=1 SOURCES=50 CHANGED=300 TIMES=FILE dashboards_test.sh
#                                  every panel over a day of that many simulated sources too; times of the panels in FILE.*
. "$(dirname "$0")/lib/suite.sh"
PROMETHEUS_BIN=${PROMETHEUS_BIN:-/usr/bin/prometheus}
[ -x "$PROMETHEUS_BIN" ] || { echo "dashboards: $PROMETHEUS_BIN is not installed; run: tools/setup.sh test" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
start_postgres "wal_level = replica
logging_collector = on
log_lock_waits = on
log_temp_files = 0"
prepare_suite
for role in pganalytics_reader pganalytics_reader_texts; do
  pg_set_password $role "$WORK/owner-password" env PGPASSWORD=superuser-password psql -X -q -h 127.0.0.1 -p "$PG_PORT" -U postgres -d metrics
done
check "the history of simulated sources" "$BIN/fleetsim" load --url "$SUPER_URL/metrics" --sources "${SOURCES:-1}" --days 1 --statements 500 \
  --changed "${CHANGED:-100}"

api_metrics=$(free_port $((10000 + RANDOM % 1000)))
METRICS_LISTEN=127.0.0.1:$api_metrics start_api
login
export PGPASSWORD=superuser-password PGHOST=127.0.0.1 PGUSER=postgres PGPORT=$PG_PORT
createdb shop
export PGDATABASE=shop
pgbench -i -s 1 -q >/dev/null 2>&1
psql -X -q -c "CREATE TABLE orders (id serial PRIMARY KEY, note text); INSERT INTO orders (note) SELECT md5(g::text) FROM generate_series(1, 20000) g;
  CREATE INDEX orders_note ON orders (note); ANALYZE orders" -c "GRANT SELECT ON SEQUENCE orders_id_seq TO pganalytics_monitor"

# A server of a later version, where it is there (tools/fetch-postgres.sh): it has pg_stat_io.
newer_bin=${PGA_PG_18_DIR:-$ROOT/build/postgres/18}/bin
if [ -x "$newer_bin/postgres" ]; then
  newer_port=$(free_port $((27000 + RANDOM % 500)))
  {
    pg_as "$newer_bin/initdb" -D "$PG_HOME/newer" -U postgres --auth=trust --no-sync &&
      pg_as "$newer_bin/pg_ctl" -D "$PG_HOME/newer" -l "$PG_HOME/newer.log" -w -t 60 start \
        -o "-p $newer_port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c track_io_timing=on"
  } >"$WORK/newer.log" 2>&1 &
  NEWER_PID=$!
fi
# A standby of the watched server.
standby_port=$(free_port $((26000 + RANDOM % 500)))
pg_as env PGPASSWORD=superuser-password "$PG_BIN/pg_basebackup" -h 127.0.0.1 -p "$PG_PORT" -U postgres -D "$PG_HOME/standby" -R -C -S standby \
  -c fast >"$WORK/standby.log" 2>&1
pg_as "$PG_BIN/pg_ctl" -D "$PG_HOME/standby" -l "$PG_HOME/standby.log" -o "-p $standby_port" -w -t 60 start >>"$WORK/standby.log" 2>&1
PIDS+=("$(pg_as head -n 1 "$PG_HOME/standby/postmaster.pid")")
SERVERS=("${PIDS[-1]}")

primary_metrics=$(free_port $((11200 + RANDOM % 1000)))
standby_metrics=$(free_port $((12400 + RANDOM % 1000)))
start_collector primary SOURCE_NAME=primary STATEMENT_TEXT_INTERVAL=1 POSTGRES_DATABASES='*' METRICS_LISTEN=127.0.0.1:"$primary_metrics" \
  ENABLED_METRICS="$(cd "$ROOT" && grep -l '^optional: true' libs/catalog/metrics/*.yaml | xargs -n 1 basename -s .yaml | paste -sd, -)"
COLLECTORS=("$COLLECTOR_PID")
start_collector standby SOURCE_NAME=standby POSTGRES_PORT="$standby_port" METRICS_LISTEN=127.0.0.1:"$standby_metrics"
COLLECTORS+=("$COLLECTOR_PID")
if [ -n "${NEWER_PID:-}" ]; then
  check "the server of PostgreSQL 18" wait "$NEWER_PID"
  PIDS+=("$(pg_as head -n 1 "$PG_HOME/newer/postmaster.pid")")
  SERVERS+=("${PIDS[-1]}")
  psql -X -q -p "$newer_port" -d postgres -c "CREATE ROLE pganalytics_monitor LOGIN IN ROLE pg_monitor"
  newer_metrics=$(free_port $((13600 + RANDOM % 1000)))
  start_collector newer SOURCE_NAME=newer POSTGRES_PORT="$newer_port" METRICS_LISTEN=127.0.0.1:"$newer_metrics"
  COLLECTORS+=("$COLLECTOR_PID")
  export NEWER=1
else
  echo "dashboards: no PostgreSQL 18 in ${newer_bin%/bin}; two panels are asked without it"
fi
cat >"$WORK/prometheus.yml" <<CONF
global: {scrape_interval: 1s}
scrape_configs:
  - {job_name: pganalytics, static_configs: [{targets: ['127.0.0.1:$api_metrics']}]}
  - {job_name: pganalytics-collectors, static_configs: [{targets: [$(printf "'127.0.0.1:%s', " "$primary_metrics" "$standby_metrics" ${newer_metrics:+"$newer_metrics"})]}]}
CONF
prometheus_port=$(free_port $((14800 + RANDOM % 1000)))
start prometheus "$PROMETHEUS_BIN" --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/prometheus" \
  --web.listen-address=127.0.0.1:"$prometheus_port" --log.level=warn

# Work: transactions, sessions that hold others, one that stays open, temporary tables and files, a slow vacuum.
PGAPPNAME=shop start pgbench pgbench -n -c 3 -j 1 -R 30 -T 600
PGAPPNAME=report start report psql -X -q -c "BEGIN" -c "SELECT count(*), txid_current() FROM orders" -c "SELECT pg_sleep(600)"
cat >"$WORK/work.sql" <<'SQL'
SET work_mem = '64kB';
CREATE TEMP TABLE IF NOT EXISTS scratch (id int, note text);
INSERT INTO scratch SELECT g, md5(g::text) FROM generate_series(1, 3000) g;
SELECT count(*) FROM (SELECT * FROM orders ORDER BY note || id) s;
SELECT count(*) FROM orders WHERE note LIKE '%ab%';
SELECT * FROM orders WHERE note = 'x';
SQL
PGAPPNAME=work start work pgbench -n -c 1 -R 2 -T 600 -f "$WORK/work.sql"
PGAPPNAME=vacuum PGOPTIONS="-c vacuum_cost_delay=20 -c vacuum_cost_limit=1" start vacuum psql -X -q -c "VACUUM (DISABLE_PAGE_SKIPPING) pgbench_accounts"
readings() { [ "$(in_metrics "SELECT count(*) FROM metrics.frame f JOIN metrics.source s ON s.id = f.source_id JOIN metrics.catalog_metric m ON m.id = f.metric_id WHERE s.name = '$1' AND m.name = 'activity'")" -ge "$2" ]; }
within "readings of the primary" 60 readings primary 9
within "readings of the standby" 60 readings standby 5
START=$(($(date +%s) / 5 * 5 + 5))
hold() {
  PGAPPNAME=migration start "holder$1" psql -X -q -c "BEGIN; LOCK TABLE pgbench_branches IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep($1); COMMIT"
}
at() {  # an instant; questions go on meanwhile
  api_get /api/v1/metrics >/dev/null && [ "$(date +%s)" -ge "$1" ]
}
within "the start" 20 at "$((START + 1))"
hold 3
psql -X -q -c "SELECT 'a value' FROM no_such_table" 2>/dev/null || true
within "the middle" 20 at "$((START + 7))"
psql -X -q -c "VACUUM ANALYZE orders" -c CHECKPOINT
hold 2
END=$((START + 15))
within "the end" 30 at "$((END + 2))"

REAL=$(in_metrics "SELECT string_agg(uuid::text, ' ') FROM metrics.source WHERE name IN ('primary', 'standby', 'newer') OR name LIKE 'host:%'")
ALL=$(in_metrics "SELECT string_agg(uuid::text, ' ') FROM metrics.source")
export PROMETHEUS=http://127.0.0.1:$prometheus_port SCRAPE=1 URL TOKEN START END REAL ALL READER_PASSWORD=owner-password
METRICS=$(printf "http://127.0.0.1:%s/metrics " "$api_metrics" "$primary_metrics" "$standby_metrics" ${newer_metrics:+"$newer_metrics"})
export METRICS
unset PGPASSWORD PGUSER PGDATABASE
python3 "$here/dashboards/panels_test.py" prometheus || fail "panels over Prometheus"
# What is asked twice stands still.
for pid in "${COLLECTORS[@]}"; do stop_pid "$pid" || fail "a collector does not stop"; done
python3 "$here/dashboards/panels_test.py" sql || fail "panels over SQL"
# At once; asked to end they would wait for their sessions.
kill -QUIT "${SERVERS[@]}"
finish
