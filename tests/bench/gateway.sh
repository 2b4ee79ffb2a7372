#!/usr/bin/env bash
# The built-in gateway and a real Envoy with the files that it writes, before the same services, in turn: requests a second of
# one processor that the front itself uses, and requests a second and latencies as they are on this machine.
#   tests/bench/gateway.sh [--json FILE] [seconds of each run, default 5] [rounds, default 2]
# 16 connections of wrk ask for health, a series, top statements, and push a collector's statistics, without and with TLS.
# Envoy asks auth about every request; that processor time is reported apart and is not in the ratio.
JSON=/dev/null
if [ "${1:-}" = --json ]; then JSON=$2; shift 2; fi
seconds=${1:-5}
rounds=${2:-2}
. "$(dirname "$0")/../e2e/lib/suite.sh"
. "$(dirname "$0")/../e2e/lib/envoy.sh"
start_postgres "shared_preload_libraries = 'pg_stat_statements'"
prepare_suite
GATEWAY_RATE_LIMIT=0
export RATE_LIMIT_COLLECTOR_PER_MINUTE=0
start_apart
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 \
  -addext subjectAltName=IP:127.0.0.1 -keyout "$WORK/tls.key" -out "$WORK/tls.pem" 2>/dev/null
tls=(TLS_ENABLED=true TLS_CERT_PATH="$WORK/tls.pem" TLS_KEY_PATH="$WORK/tls.key")
declare -A url front
url[gateway.plain]=$URL front[gateway.plain]=$GATEWAY_PID
start_envoy
url[envoy.plain]=$ENVOY_URL front[envoy.plain]=$ENVOY_PID
port=$(free_port $((29000 + RANDOM % 900)))
mkdir -p "$WORK/gateway-tls"
env "${tls[@]}" PORT="$port" SERVICE_SECRET_FILE="$WORK/secrets/services/gateway" STATE_DIR="$WORK/gateway-tls" \
  RATE_LIMIT_PER_MINUTE=0 RATE_LIMIT_USER_PER_MINUTE=0 "$BIN/pga-gateway" >>"$WORK/gateway-tls.log" 2>&1 &
PIDS+=($!)
url[gateway.tls]=https://127.0.0.1:$port front[gateway.tls]=$!
within "the gateway with TLS" 30 curl -kfsS -m 5 "https://127.0.0.1:$port/api/v1/health" || exit 1
ENVOY_FOLDER=$WORK/envoy-tls
start_envoy "${tls[@]}"
url[envoy.tls]=$ENVOY_URL front[envoy.tls]=$ENVOY_PID
login
start_collector bench
collected() { [ "$(api_get "/api/v1/queries/top?hours=1&limit=20" | jq '.queries | length')" -ge 10 ]; }
within "statements to ask for" 60 collected || exit 1
collector_token=$(curl -fsS -X POST "$URL/api/v1/collectors/register" -H 'Content-Type: application/json' \
  -H "X-Registration-Secret: $(cat "$WORK/secrets/registration")" \
  -d '{"name":"pushes","hostname":"pushes","collector_id":"pushes"}' | jq -r .token)

ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }  # of a hundredth of a second, all threads
run() {  # front and way, kind; appends requests, seconds, p50, p99, errors, processor seconds of the front and of auth
  local token=$TOKEN before auth_before
  [ "$2" != push ] || token=$collector_token
  before=$(ticks "${front[$1]}") auth_before=$(ticks "$AUTH_PID")
  wrk -t1 -c16 -d"${seconds}s" -s "$ROOT/tests/bench/gateway.lua" "${url[$1]}" -- "$2" "$token" | sed -n 's/^figures //p' |
    awk -v a=$before -v b="$auth_before" -v front="${front[$1]}" -v auth="$AUTH_PID" '{
      getline line <("/proc/" front "/stat"); split(line, f, " "); getline line <("/proc/" auth "/stat"); split(line, g, " ")
      print $0, (f[14] + f[15] - a) / 100, (g[14] + g[15] - b) / 100 }' >>"$WORK/figures.$1.$2"
}
for way in plain tls; do
  for kind in health series top push; do
    for ((round = 0; round < rounds; round++)); do
      run gateway.$way $kind
      run envoy.$way $kind
    done
    for which in gateway envoy; do
      awk -v name="gateway.$kind.$way.$which" '{ n += $1; s += $2; e += $5; cpu += $6; auth += $7; if ($3 > p50) p50 = $3; if ($4 > p99) p99 = $4 }
        END { printf "%s %.0f %.2f %.2f %d %.1f %.1f\n", name, n / s, p50, p99, e, cpu / n * 1e6, auth / n * 1e6 }' "$WORK/figures.$which.$way.$kind"
    done >"$WORK/both"
    awk -v json="$JSON" '
      function line(name, value, unit, target) {
        text = sprintf("{\"name\": \"%s\", \"value\": %s, \"unit\": \"%s\"%s}", name, value, unit, target == "" ? "" : ", \"target\": " target)
        print text; print text >>json }
      { rate[NR] = $2; cpu[NR] = $6
        line($1 ".requests", $2, "1/s"); line($1 ".p50", $3, "ms"); line($1 ".p99", $4, "ms"); line($1 ".failed", $5, "requests", 0)
        line($1 ".cpu", $6, "us"); line($1 ".cpu_of_auth", $7, "us"); name = $1 }
      END { sub(/\.envoy$/, "", name)
        line(name ".ratio_at_equal_cpu", sprintf("%.2f", cpu[2] / cpu[1]), "x", 1); line(name ".ratio_of_requests", sprintf("%.2f", rate[1] / rate[2]), "x") }' "$WORK/both"
  done
done
