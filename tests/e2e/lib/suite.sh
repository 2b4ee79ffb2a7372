# Sourced by the end-to-end tests: a private PostgreSQL cluster, real programs, and checks that name what they show.
# Every process started here is ended by its own pid when the script exits.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
BIN=${PGA_E2E_BIN:-${PGA_BINARY_DIR:-$ROOT/build/dev}/bin}
. "$ROOT/tools/embedded_postgres.sh"

WORK=$(mktemp -d /tmp/pga-e2e.XXXXXX)
chmod 755 "$WORK"
PIDS=()
PASSED=0
FAILED=0

cleanup() {
  local code=$? pid
  trap - EXIT
  for pid in "${PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${PIDS[@]}"; do
    timeout 15 tail --pid="$pid" -f /dev/null 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
  done
  [ -z "${PG_HOME:-}" ] || pg_as "$PG_BIN/pg_ctl" -D "$PG_HOME/data" -m immediate -w -t 20 stop >/dev/null 2>&1 || true
  if [ $code -ne 0 ] || [ $FAILED -gt 0 ]; then
    for log in "$WORK"/*.log; do [ -s "$log" ] && { echo "--- the end of ${log##*/}"; tail -n 25 "$log"; }; done
  fi
  [ -n "${PGA_E2E_KEEP:-}" ] || rm -rf "$WORK"
  exit $code
}
trap cleanup EXIT

pass() { PASSED=$((PASSED + 1)); echo "ok   $*"; }
fail() { FAILED=$((FAILED + 1)); echo "FAIL $*"; }
check() {  # name, then a command that must succeed
  local name=$1
  shift
  if "$@" >"$WORK/last.out" 2>&1; then pass "$name"; else fail "$name: $(head -c 400 "$WORK/last.out")"; fi
}
equals() {  # name, expected, actual
  if [ "$2" = "$3" ]; then pass "$1"; else fail "$1: expected «$2», got «$3»"; fi
}
await() {  # seconds, then a condition; fails when it does not hold in time
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >"$WORK/last.out" 2>&1; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.1
  done
}
within() {  # name, seconds, then a condition
  local name=$1
  shift
  if await "$@"; then pass "$name"; else fail "$name: not within the time: $(head -c 400 "$WORK/last.out")"; fi
}
gone() {  # process ids: whether all have ended, reaped or not
  local pid
  for pid in "$@"; do
    case $(ps -o stat= -p "$pid") in '' | Z*) ;; *) return 1 ;; esac
  done
}
finish() {
  echo "$PASSED passed, $FAILED failed"
  [ $FAILED -eq 0 ]
}

start_postgres() {  # extra lines for postgresql.conf in $1; sets PG_PORT, SUPER_URL
  mkdir -p "$WORK/state"
  chmod 711 "$WORK/state"
  printf 'superuser-password\n' >"$WORK/superuser-password"
  pg_locate "$WORK/state"
  pg_init "$WORK/superuser-password"
  printf '%s\n' "fsync = on" "${1:-}" | pg_as tee -a "$PG_HOME/data/postgresql.conf" >/dev/null
  PG_PORT=$(free_port $((20000 + RANDOM % 5000)))
  pg_start "$PG_PORT"
  SUPER_URL="postgres://postgres:superuser-password@127.0.0.1:$PG_PORT"
  local super=(env PGPASSWORD=superuser-password psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PG_PORT" -U postgres -d postgres)
  # As the guide says: an administrator makes logins and roles; no statement holds a password.
  DATABASE_URL="postgres://pganalytics@127.0.0.1:$PG_PORT/pganalytics" \
    TIMESCALE_URL="postgres://pganalytics@127.0.0.1:$PG_PORT/metrics" "$BIN/pganalytics-api" migrate roles | "${super[@]}"
  "${super[@]}" -c "CREATE ROLE pganalytics_monitor LOGIN IN ROLE pg_monitor" -c "CREATE EXTENSION pg_stat_statements"
  printf 'owner-password\n' >"$WORK/owner-password"
  printf 'monitor-password\n' >"$WORK/monitor-password"
  pg_set_password pganalytics "$WORK/owner-password" "${super[@]}"
  pg_set_password pganalytics_monitor "$WORK/monitor-password" "${super[@]}"
}

start() {  # log name, then program and arguments; sets LAST_PID
  local log=$WORK/$1.log
  shift
  "$@" >>"$log" 2>&1 &
  LAST_PID=$!
  PIDS+=("$LAST_PID")
}

stop_pid() {  # SIGTERM and wait
  kill -TERM "$1" 2>/dev/null || true
  timeout "${2:-15}" tail --pid="$1" -f /dev/null
}

# --- The suite itself

ADMIN_PASSWORD_TEXT=end-to-end-Password-1
prepare_suite() {  # secrets, URLs, migrations; sets API_PORT, URL and exports what the programs read
  API_PORT=$(free_port $((30000 + RANDOM % 2000)))
  URL=http://127.0.0.1:$API_PORT
  export DATABASE_URL="postgres://pganalytics:owner-password@127.0.0.1:$PG_PORT/pganalytics?sslmode=disable"
  export TIMESCALE_URL="postgres://pganalytics:owner-password@127.0.0.1:$PG_PORT/metrics?sslmode=disable"
  export MANAGED_INSTANCE_HOSTS=127.0.0.1
  umask 077
  mkdir -p "$WORK/secrets"
  for name in jwt registration encryption; do openssl rand -base64 32 >"$WORK/secrets/$name"; done
  openssl ecparam -name prime256v1 -genkey -noout -out "$WORK/secrets/signing.key" 2>/dev/null
  mkdir -p "$WORK/secrets/services"
  for name in registry ingest query compactor ruler gateway; do openssl rand -base64 32 >"$WORK/secrets/services/$name"; done
  echo "$ADMIN_PASSWORD_TEXT" >"$WORK/secrets/admin"
  echo monitor-password >"$WORK/secrets/monitor"
  if ! "$BIN/pganalytics-api" migrate up >"$WORK/migrate.log" 2>&1; then
    fail "migrate up"
    exit 1
  fi
}

start_api() {  # all services in one process
  mkdir -p "$WORK/api"
  JWT_SECRET_FILE=$WORK/secrets/jwt REGISTRATION_SECRET_FILE=$WORK/secrets/registration \
    ENCRYPTION_KEY_FILE=$WORK/secrets/encryption ADMIN_PASSWORD_FILE=$WORK/secrets/admin \
    PORT=$API_PORT STATE_DIR=$WORK/api RATE_LIMIT_PER_MINUTE=100000 RATE_LIMIT_USER_PER_MINUTE=100000 start api "$BIN/pganalytics-api"
  API_PID=$LAST_PID
  wait_healthy
}

start_apart() {  # each service in a process of its own
  # Below the ports that the system hands out itself, where tests that run beside this one listen.
  local base name
  until base=$((10000 + RANDOM % 1500 * 6)); port_is_free $base && port_is_free $((base + 1)) && port_is_free $((base + 2)) &&
        port_is_free $((base + 3)) && port_is_free $((base + 4)) && port_is_free $((base + 5)); do :; done
  export AUTH_SERVICE_ADDR=127.0.0.1:$base REGISTRY_SERVICE_ADDR=127.0.0.1:$((base + 1))
  export INGEST_SERVICE_ADDR=127.0.0.1:$((base + 2)) QUERY_SERVICE_ADDR=127.0.0.1:$((base + 3))
  export COMPACTOR_SERVICE_ADDR=127.0.0.1:$((base + 4)) RULER_SERVICE_ADDR=127.0.0.1:$((base + 5))
  mkdir -p "$WORK/auth" "$WORK/registry" "$WORK/ingest" "$WORK/query" "$WORK/compactor" "$WORK/ruler" "$WORK/gateway"
  JWT_SIGNING_KEY_FILE=$WORK/secrets/signing.key REGISTRATION_SECRET_FILE=$WORK/secrets/registration \
    ENCRYPTION_KEY_FILE=$WORK/secrets/encryption ADMIN_PASSWORD_FILE=$WORK/secrets/admin \
    SERVICE_SECRETS_DIR=$WORK/secrets/services STATE_DIR=$WORK/auth GRPC_LISTEN=$AUTH_SERVICE_ADDR start auth "$BIN/pga-auth"
  AUTH_PID=$LAST_PID
  ENCRYPTION_KEY_FILE=$WORK/secrets/encryption SERVICE_SECRET_FILE=$WORK/secrets/services/registry STATE_DIR=$WORK/registry GRPC_LISTEN=$REGISTRY_SERVICE_ADDR start registry "$BIN/pga-registry"
  REGISTRY_PID=$LAST_PID
  SERVICE_SECRET_FILE=$WORK/secrets/services/ingest STATE_DIR=$WORK/ingest GRPC_LISTEN=$INGEST_SERVICE_ADDR start ingest "$BIN/pga-ingest"
  INGEST_PID=$LAST_PID
  SERVICE_SECRET_FILE=$WORK/secrets/services/query STATE_DIR=$WORK/query GRPC_LISTEN=$QUERY_SERVICE_ADDR start query "$BIN/pga-query"
  SERVICE_SECRET_FILE=$WORK/secrets/services/compactor STATE_DIR=$WORK/compactor GRPC_LISTEN=$COMPACTOR_SERVICE_ADDR start compactor "$BIN/pga-compactor"
  SERVICE_SECRET_FILE=$WORK/secrets/services/ruler STATE_DIR=$WORK/ruler GRPC_LISTEN=$RULER_SERVICE_ADDR start ruler "$BIN/pga-ruler"
  PORT=$API_PORT SERVICE_SECRET_FILE=$WORK/secrets/services/gateway STATE_DIR=$WORK/gateway RATE_LIMIT_PER_MINUTE=${GATEWAY_RATE_LIMIT:-100000} \
    RATE_LIMIT_USER_PER_MINUTE=${GATEWAY_RATE_LIMIT:-100000} start gateway "$BIN/pga-gateway"
  GATEWAY_PID=$LAST_PID
  wait_healthy
}

wait_healthy() {
  within "health" 30 curl -fsS -m 5 "$URL/api/v1/health" || exit 1
}

start_collector() {  # id, further NAME=value settings
  local id=$1
  shift
  mkdir -p "$WORK/collector-$id"
  env COLLECTOR_ID="$id" BACKEND_URL="$URL" REGISTRATION_SECRET_FILE="$WORK/secrets/registration" \
    STATE_DIR="$WORK/collector-$id" METRICS_LISTEN=127.0.0.1:0 COLLECTION_INTERVAL=1 POSTGRES_HOST=127.0.0.1 POSTGRES_PORT="$PG_PORT" \
    POSTGRES_USER=pganalytics_monitor POSTGRES_PASSWORD_FILE="$WORK/secrets/monitor" POSTGRES_DATABASES=postgres \
    POSTGRES_SSLMODE=disable "$@" "$BIN/pganalytics-collector" >>"$WORK/collector.log" 2>&1 &
  COLLECTOR_PID=$!
  PIDS+=("$COLLECTOR_PID")
}

login() {
  TOKEN=$(curl -fsS -X POST "$URL/api/v1/auth/login" -H 'Content-Type: application/json' \
    -d "{\"username\":\"admin\",\"password\":\"$ADMIN_PASSWORD_TEXT\"}" | jq -r .token)
  # A service of its own takes tokens once it has the keys of auth, moments after auth's start.
  await 30 every_service_takes_it || { fail "every service takes the token: $(head -c 400 "$WORK/last.out")"; exit 1; }
}
every_service_takes_it() {  # registry, query, compactor, ruler
  local path
  for path in collectors queries/top storage alerts; do api_get "/api/v1/$path" >/dev/null || return 1; done
}

api_get() {  # path with query
  curl -fsS -m 20 "$URL$1" -H "Authorization: Bearer $TOKEN"
}

in_metrics() {  # one value out of database metrics
  PGPASSWORD=owner-password psql -X -A -t -h 127.0.0.1 -p "$PG_PORT" -U pganalytics -d metrics -c "$1"
}

in_source() {  # one value out of the watched database
  PGPASSWORD=superuser-password psql -X -A -t -h 127.0.0.1 -p "$PG_PORT" -U postgres -d postgres -c "$1"
}
