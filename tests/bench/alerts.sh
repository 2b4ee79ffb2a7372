#!/usr/bin/env bash
# What the built-in rules cost: processor time a minute of ruler, of query (which answers nobody else meanwhile), and of the
# database's sessions of both, with SOURCES (500) simulated servers for MINUTES (5) after WARMUP (300) seconds:
# tests/bench/alerts.sh [--json FILE]
JSON=/dev/null
if [ "${1:-}" = --json ]; then JSON=$2; fi
. "$(dirname "$0")/../e2e/lib/suite.sh"
sources=${SOURCES:-500}
minutes=${MINUTES:-5}
start_postgres "max_connections = 200
shared_buffers = 512MB"
prepare_suite
export METRICS_LISTEN=
start_apart
login
mkdir "$WORK/fleet"
REGISTRATION_SECRET=$(cat "$WORK/secrets/registration") start fleet "$BIN/fleetsim" wire --backend "$URL" \
  --state "$WORK/fleet" --sources "$sources" --texts 0 --seconds $((minutes * 60 + 420))
all_up() { [ "$(api_get /api/v1/sources | jq '[.sources[] | select(.state != "silent")] | length')" -ge "$sources" ]; }
within "all sources are there" 180 all_up
# Windows of five minutes are full from then on.
sleep "${WARMUP:-300}" & wait $!
pid_of() { pgrep -f "^$BIN/$1\$" -P $$ | head -n 1; }
ruler=$(pid_of pga-ruler)
query=$(pid_of pga-query)
ticks() { local sum=0 pid; for pid in "$@"; do sum=$((sum + $(awk '{print $14 + $15}' "/proc/$pid/stat" 2>/dev/null || echo 0))); done; echo "$sum"; }
sessions() { PGPASSWORD=superuser-password psql -X -A -t -h 127.0.0.1 -p "$PG_PORT" -U postgres -d postgres -c \
  "SELECT pid FROM pg_stat_activity WHERE application_name IN ('pganalytics-query', 'pganalytics-ruler')"; }
mapfile -t backends < <(sessions)
before=("$(ticks "$ruler")" "$(ticks "$query")" "$(ticks "${backends[@]}")")
sleep $((minutes * 60)) & wait $!
after=("$(ticks "$ruler")" "$(ticks "$query")" "$(ticks "${backends[@]}")")
rules=$(api_get /api/v1/alert-rules | jq .count)
failing=$(api_get /api/v1/alert-rules | jq '[.rules[] | select(.last_error != "")] | length')
echo "alerts: $rules rules, $failing without an answer, $sources sources, $minutes minutes:"
line() {  # name, ticks, target
  awk -v n="$1" -v t="$2" -v hz="$(getconf CLK_TCK)" -v m="$minutes" -v target="$3" \
    'BEGIN {printf "{\"name\": \"alerts.%s\", \"value\": %.3f, \"unit\": \"s/min\", \"target\": %s}\n", n, t / hz / m, target}' | tee -a "$JSON"
}
line ruler $((after[0] - before[0])) 1
line query $((after[1] - before[1])) 1
line database $((after[2] - before[2])) 2
if [ "$failing" != 0 ]; then
  fail "rules have no answer"
  api_get /api/v1/alert-rules | jq -r '.rules[] | select(.last_error != "") | "     \(.name): \(.last_error)"'
fi
finish
