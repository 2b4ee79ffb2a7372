#!/usr/bin/env bash
# The console in a real Chromium on a real suite with a real collector: sign-in, every page in both themes, figures against
# the API's, accessibility, keys, a phone, a server that is away, two tabs, a viewer, 500 sources.
#   console_test.sh                      the checks; pictures of every page go to <build>/console-pictures;
#                                        REFRESHES=20000 watches the memory of a tab for longer
#   console_test.sh pictures <folder>    the README's pictures
. "$(dirname "$0")/lib/suite.sh"
mode=${1:-test}
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
[ -x "$CHROMIUM" ] || { echo "console: $CHROMIUM is not installed; run: tools/setup.sh test" >&2; exit 1; }
start_postgres "track_io_timing = on
wal_level = replica
logging_collector = on
log_line_prefix = '%m [%p] %q%u@%d '
log_lock_waits = on"
prepare_suite
# An alert on real readings: a slot that nobody reads.
mkdir "$WORK/rules"
cat >"$WORK/rules/slot_idle.yaml" <<'YAML'
name: slot_idle
summary: "{slot_name} is used by nobody"
severity: warning
terms:
  active: {metric: replication_slots, column: is_active, filter: [slot_name=kept_for_test], group_by: [slot_name]}
below: 1
interval: 5s
page: "/s/{source_id}/replication"
runbook: Drop the slot.
YAML
export RULES_DIR=$WORK/rules RULES_INTERVAL=5
start_api
login
export URL ADMIN_PASSWORD=$ADMIN_PASSWORD_TEXT VIEWER_PASSWORD=viewer-Password-1
export PICTURES=${2:-${PGA_BINARY_DIR:-$ROOT/build/dev}/console-pictures}
curl -fsS -o /dev/null -X POST "$URL/api/v1/users" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
  -d "{\"username\":\"viewer\",\"email\":\"viewer@example.org\",\"password\":\"$VIEWER_PASSWORD\",\"role\":\"viewer\"}"
browser() {
  umask 022
  (cd "$ROOT/services/console" && timeout $((600 + ${REFRESHES:-60} / 2)) "$ROOT/tools/console.sh" node test/browser.ts "$1") | tee "$WORK/browser-$1.log"
}
[ "$mode" = pictures ] || browser empty || fail "the console of an empty suite"

export PGPASSWORD=superuser-password PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=shop PGPORT=$PG_PORT
createdb shop
pgbench -i -s 1 -q >/dev/null 2>&1
# What a DBA looks for: an index that nobody uses and one that is there twice, a table that wants a vacuum, a sequence near
# its end, a slot that nobody reads, a receiver of WAL.
psql -X -q -v ON_ERROR_STOP=1 >/dev/null <<'SQL'
CREATE INDEX never_used ON pgbench_accounts (abalance);
CREATE INDEX accounts_again ON pgbench_accounts (aid);
CREATE TABLE kept_rows WITH (autovacuum_enabled = false) AS SELECT g AS id FROM generate_series(1, 2000) g;
UPDATE kept_rows SET id = id + 1;
CREATE SEQUENCE nearly_done AS smallint;
SELECT setval('nearly_done', 32000);
GRANT SELECT ON nearly_done TO pganalytics_monitor;
SELECT pg_create_physical_replication_slot('kept_for_test', true);
SQL
mkdir "$WORK/received"
PGAPPNAME=archive start receiver pg_receivewal -n --synchronous -D "$WORK/received"
start_collector console-test COLLECTOR_NAME=console-test STATEMENT_TEXT_INTERVAL=1 POSTGRES_DATABASES='*'
# Work, and one session that holds others.
PGAPPNAME=shop start pgbench pgbench -n -c 3 -j 1 -R 40 -T 600
hold() {
  PGAPPNAME=migration start holder psql -X -q -c "BEGIN; LOCK TABLE pgbench_branches IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep($1); COMMIT"
}
waited() { [ "$(api_get "/api/v1/activity?start=$(date -u -d '-2 min' +%FT%TZ)&end=$(date -u +%FT%TZ)" | jq '.blocking | length')" -ge 2 ]; }
sampled() { api_get /api/v1/activity | jq -e '[.sources[].sampled] | any' >/dev/null; }
within "sessions are sampled" 60 sampled
hold 6
# An old snapshot, and a deadlock.
PGAPPNAME=report start report psql -X -q -c "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current(); SELECT pg_sleep(600)"
for order in "1 2" "2 1"; do
  # shellcheck disable=SC2086
  set -- $order
  start deadlock psql -X -q -c "BEGIN; SELECT pg_advisory_xact_lock($1); SELECT pg_sleep(1); SELECT pg_advisory_xact_lock($2); COMMIT"
done
# What stands in the log then: the deadlock, a table that is not there with a value in its statement, a duplicate key.
psql -X -q -c "SELECT 'planted-secret-1' FROM no_such_table" 2>/dev/null || true
psql -X -q -c "INSERT INTO pgbench_branches VALUES (1, 0, 'planted-secret-2')" 2>/dev/null || true
logged() { [ "$(api_get "/api/v1/logs/events?hours=1&class=deadlock_detected&class=undefined_table&class=unique_violation" | jq '.events | length')" -ge 3 ]; }
within "entries of the log are known" 60 logged
settings_known() { [ "$(api_get "/api/v1/state?metric=settings&filter=setting_name%3Dwork_mem" | jq '.rows | length')" -gt 0 ]; }
within "settings are known" 60 settings_known
psql -X -q -c "ALTER SYSTEM SET work_mem = '8MB'" -c "SELECT pg_reload_conf()" >/dev/null
within "waits are known" 40 waited
text_known() { api_get "/api/v1/queries/top?hours=1&limit=200" | jq -e '[.queries[].query_text | select(test("pgbench_accounts"))] | length > 1' >/dev/null; }
within "texts are known" 40 text_known
sizes_known() { [ "$(api_get "/api/v1/state?metric=index_stats" | jq '.rows | length')" -gt 3 ]; }
within "indexes are known" 60 sizes_known
alert_fires() { api_get "/api/v1/alerts?state=firing" | jq -e '[.data[].rule_id] | index("slot_idle")' >/dev/null; }
within "the slot that nobody reads has an alert" 60 alert_fires
# Until the readings of the fixed range that is compared have all been stored.
readings() { [ "$(api_get "/api/v1/freshness" | jq '[.freshness[] | select(.metric == "activity") | .frames] | max // 0')" -ge "$1" ]; }
if [ "$mode" = pictures ]; then
  within "some minutes of readings" 300 readings 240
  hold 8
  within "some more" 60 readings 256
  PGACTL_URL=$URL PGACTL_TOKEN=$TOKEN
  export PGACTL_URL PGACTL_TOKEN COLUMNS=118 TZ=UTC TERMINAL=$WORK/terminal.txt
  for command in "top --hours 1 --limit 6" "freshness --hours 1"; do
    printf '$ pgactl %s\n' "$command"
    # shellcheck disable=SC2086
    "$BIN/pgactl" $command | head -n 14 | cut -c1-118
    echo
  done >"$TERMINAL"
  browser pictures
else
  within "readings" 60 readings 20
  browser full || fail "the console"
fi
finish
