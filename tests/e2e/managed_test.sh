#!/usr/bin/env bash
# A managed instance from the API to stored frames and back: a collector without sources of its own is handed it, its status
# follows, a pause and a new password take effect, and the password is nowhere on disk.
. "$(dirname "$0")/lib/suite.sh"
start_postgres
prepare_suite
start_api
login
printf 'collector_name: managed\n' >"$WORK/fleet.yaml"
start_collector managed COLLECTOR_CONFIG="$WORK/fleet.yaml" HOST_METRICS=false

call() {  # verb, path, body
  curl -sS -m 20 -X "$1" "$URL/api/v1/managed-instances$2" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' ${3:+-d "$3"}
}
spec() {  # further fields
  jq -nc --argjson port "$PG_PORT" --argjson more "$1" \
    '{name: "orders", endpoint: "127.0.0.1", port: $port, master_username: "pganalytics_monitor", ssl_mode: "prefer", monitoring_interval: 1} + $more'
}
field() { call GET "/$ID" | jq -r ".$1"; }
has() { [ "$(field "$1")" = "$2" ]; }
MADE=$(call POST "" "$(spec '{"master_password": "monitor-password"}')")
ID=$(jq -r .id <<<"$MADE")
equals "the test at creation connects" connected "$(jq -r .last_connection_status <<<"$MADE")"
within "it is watched" 30 has status monitoring
equals "by the collector" managed "$(field assigned_collector_id)"
source() { api_get "/api/v1/sources" | jq -r ".sources[] | select(.name == \"orders\") | .$1"; }
frames() { in_metrics "SELECT count(*) FROM public.metrics WHERE metric_name = 'database' AND interval_ms > 0"; }
stored() { [ "$(frames)" -gt 0 ]; }
within "its frames are stored" 40 stored
equals "under the source of its name" up "$(source state | sed s/incomplete/up/)"
# The collector reads once a second, the instance asks for four.
call PUT "/$ID" "$(spec '{"status": "registered", "monitoring_interval": 4}')" >/dev/null
spaced() { [ "$(in_metrics "SELECT count(*) FROM public.metrics WHERE metric_name = 'database' AND interval_ms BETWEEN 3500 AND 4500")" -gt 1 ]; }
within "it is read at its own interval" 30 spaced
check "an interval that nobody would keep is refused" eval '[[ "$(call PUT "/$ID" "$(spec "{\"status\": \"registered\", \"monitoring_interval\": 301}")")" == *"1 to 300"* ]]'

call PUT "/$ID" "$(spec '{"status": "paused"}')" >/dev/null
equals "paused" paused "$(field status)"
released() { [ "$(source state)" = silent ]; }
within "its collector lets go" 20 released
call PUT "/$ID" "$(spec '{"status": "registered", "master_password": "wrong"}')" >/dev/null
within "a wrong password is reported" 30 has last_connection_status error
check "with what the server says" eval '[[ "$(field last_error_message)" == *pganalytics_monitor* ]]'
call PUT "/$ID" "$(spec '{"status": "registered", "master_password": "monitor-password"}')" >/dev/null
within "and the right one again" 30 has status monitoring
check "the collector's disk and the logs have no password" \
  eval '! grep -rlF monitor-password "$WORK/collector-managed" "$WORK/collector.log" "$WORK/api.log"'
equals "deleted" "" "$(call DELETE "/$ID")"
within "its collector lets go of a deleted one" 20 released
finish
