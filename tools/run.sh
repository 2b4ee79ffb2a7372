#!/usr/bin/env bash
# From nothing to a running suite that watches a PostgreSQL server; Ctrl-C stops all, and the next start goes on.
#   make run                        embedded PostgreSQL in .pganalytics/, watched by one collector
#   make run SOURCE=postgres://…    watch that server instead
#   PORT=8080                       port of the REST API on 127.0.0.1
#   STATE=.pganalytics              folder of data, secrets and logs
#   COLLECTION_INTERVAL=5           seconds; COLLECTOR_ID, STATEMENT_TEXT_INTERVAL, LOG_LEVEL, ENVIRONMENT and TZ are handed on
# For scripts: a line `READY <url>` once metrics arrive; $STATE/env (to be sourced), $STATE/admin-password, $STATE/run/*.pid.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/embedded_postgres.sh
. tools/processes.sh

fail() { printf 'run: %s\n' "$@" >&2; exit 1; }
step() { printf '%s\n' "$*"; }

state=$(realpath -m "${STATE:-.pganalytics}")
port=${PORT:-8080}
interval=${COLLECTION_INTERVAL:-5}
[[ $port =~ ^[0-9]+$ ]] && [ "$port" -ge 1 ] && [ "$port" -le 65535 ] ||
  fail "PORT=$port is not a port; use a number from 1 to 65535"

(umask 077 && mkdir -p "$state/run" "$state/log" "$state/secrets") 2>/dev/null || fail "cannot make $state; choose another folder: make run STATE=<folder>"
[ -w "$state" ] || fail "$state belongs to $(stat -c %U "$state"); run as that user or choose another folder: make run STATE=<folder>"
[ "$(id -u)" -ne 0 ] || chmod 711 "$state"  # user postgres passes through to its own folder
free_mb=$(df -Pm "$state" | awk 'NR == 2 {print $4}')
[ "$free_mb" -ge 1024 ] ||
  fail "only $free_mb MB are free on the disk of $state; at least 1024 MB are needed. Free some, or use STATE=<folder on another disk>"
if pid=$(running_pid "$state/run/api.pid" pganalytics-api); then
  fail "the suite already runs from $state (pganalytics-api has pid $pid); stop it with: make stop"
fi
port_is_free "$port" || fail "port $port on 127.0.0.1 is busy; choose another one: make run PORT=$((port + 1))"

step "pgAnalytics 3.2.0"
step "- packages and build"
tools/setup.sh build

if [ -n "${SOURCE:-}" ]; then
  (umask 077 && : >"$state/secrets/source-password")
  SOURCE=$SOURCE python3 - "$state/secrets/source-password" >"$state/run/source.env" <<'PY' ||
import os, shlex, sys, urllib.parse
try:
    url = urllib.parse.urlsplit(os.environ["SOURCE"])
    usable = url.scheme in ("postgres", "postgresql") and url.hostname and (url.port or 5432)
except ValueError:
    usable = False
if not usable:
    sys.exit("run: SOURCE must look like postgres://user:password@host:5432/database")
query = urllib.parse.parse_qs(url.query)
with open(sys.argv[1], "w") as file:
    file.write(urllib.parse.unquote(url.password or ""))
values = {"POSTGRES_HOST": url.hostname, "POSTGRES_PORT": str(url.port or 5432),
          "POSTGRES_USER": urllib.parse.unquote(url.username or "postgres"),
          "POSTGRES_DATABASES": urllib.parse.unquote(url.path.lstrip("/") or "postgres"),
          "POSTGRES_SSLMODE": query.get("sslmode", ["prefer"])[0], "POSTGRES_PASSWORD_FILE": sys.argv[1]}
if "sslrootcert" in query:
    values["POSTGRES_SSLROOTCERT"] = os.path.abspath(query["sslrootcert"][0])
left = sorted(set(query) - {"sslmode", "sslrootcert"})
if left:
    sys.exit(f"run: SOURCE has parameters that are not understood here: {', '.join(left)}; sslmode and sslrootcert are")
for name, value in values.items():
    print(f"{name}={shlex.quote(value)}")
PY
    exit 1
fi

show_build() {  # ninja's counter on a terminal
  local line
  while IFS= read -r line; do
    [[ ! -t 1 || ! $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || printf '\r\033[K  %s of %s' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
  done
  [ ! -t 1 ] || printf '\r\033[K'
}
[ -x build/release/bin/pganalytics-api ] || step "  the first build takes some minutes; its log is $state/log/build.log"
if ! tools/build.sh release 2>&1 | tee "$state/log/build.log" | show_build; then
  tail -n 30 "$state/log/build.log" >&2
  fail "the build failed; the whole log is $state/log/build.log"
fi
bin=$PWD/build/release/bin
umask 077

new_secret() { openssl rand -base64 32; }
keep() {  # file $1 holds one secret for ever; made once
  [ -s "$1" ] || new_secret >"$1"
}
mkdir -p "$state/secrets"
keep "$state/secrets/postgres-password"
keep "$state/secrets/owner-password"
keep "$state/secrets/monitor-password"
keep "$state/secrets/jwt-secret"
keep "$state/secrets/registration-secret"
keep "$state/secrets/encryption-key"
[ -s "$state/admin-password" ] || openssl rand -base64 18 | tr '+/' '-_' >"$state/admin-password"
urlsafe() { python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.stdin.read().strip(), safe=""))' <"$1"; }

rm -f "$state/run/stopping"
started=0
stop_all() {
  trap - EXIT INT TERM
  [ $started -eq 0 ] || { printf '\nstopping: collector, api, PostgreSQL\n'; stop_suite "$state"; }
}
trap 'stop_all; exit 130' INT
trap 'stop_all; exit 143' TERM
trap stop_all EXIT

step "- PostgreSQL"
pg_locate "$state"
[ ${#PG_HOME} -le 80 ] || fail "the path $PG_HOME is too long for PostgreSQL's socket; choose a shorter one: make run STATE=<folder>"
pg_init "$state/secrets/postgres-password"
if ! pg_running_pid >/dev/null; then
  pg_port=$(cat "$state/secrets/postgres-port" 2>/dev/null || echo 54320)
  port_is_free "$pg_port" || pg_port=$(free_port 54320) || fail "no free port between 54320 and 54520 for PostgreSQL"
  echo "$pg_port" >"$state/secrets/postgres-port"
fi
pg_port=$(cat "$state/secrets/postgres-port")
started=1
pg_start "$pg_port"
pg_running_pid >"$state/run/postgres.pid"

super=(psql -X -q -v ON_ERROR_STOP=1 -h "$PG_HOME/run" -p "$pg_port" -U postgres -d postgres)
owner_url="postgres://pganalytics:$(urlsafe "$state/secrets/owner-password")@127.0.0.1:$pg_port"
source_url=${SOURCE:-"postgres://postgres:$(urlsafe "$state/secrets/postgres-password")@127.0.0.1:$pg_port/postgres"}
url=http://127.0.0.1:$port
quote() { printf "'%s'" "${1//\'/\'\\\'\'}"; }
{
  echo "# Settings of the suite started by make run; source it in a shell."
  echo "export DATABASE_URL=$(quote "$owner_url/pganalytics?sslmode=disable")"
  echo "export TIMESCALE_URL=$(quote "$owner_url/metrics?sslmode=disable")"
  echo "export BACKEND_URL=$(quote "$url")"
  echo "export SOURCE_URL=$(quote "$source_url")"
  echo "export PGACTL_URL=$(quote "$url")"
  echo "export PGACTL_USERNAME=admin"
  echo "export PGACTL_PASSWORD_FILE=$(quote "$state/admin-password")"
} >"$state/env"
. "$state/env"

# Only what is said here reaches the programs: a variable left over in the caller's shell would otherwise win over a file.
clean=(env -i "PATH=$PATH" "HOME=${HOME:-/}" "LANG=C.UTF-8")
for name in TZ LOG_LEVEL ENVIRONMENT MANAGED_INSTANCE_HOSTS; do [ -z "${!name:-}" ] || clean+=("$name=${!name}"); done
urls=("DATABASE_URL=$DATABASE_URL" "TIMESCALE_URL=$TIMESCALE_URL")

step "- databases"
{
  { "${clean[@]}" "${urls[@]}" "$bin/pganalytics-api" migrate roles && cat <<'SQL'; } | "${super[@]}" -f - &&
SELECT 'CREATE ROLE pganalytics_monitor LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pganalytics_monitor') \gexec
GRANT pg_monitor TO pganalytics_monitor;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SQL
    pg_set_password pganalytics "$state/secrets/owner-password" "${super[@]}" &&
    pg_set_password pganalytics_monitor "$state/secrets/monitor-password" "${super[@]}"
} >"$state/log/bootstrap.log" 2>&1 ||
  { cat "$state/log/bootstrap.log" >&2; fail "the databases could not be prepared (the log is above)"; }
if ! "${clean[@]}" "${urls[@]}" "$bin/pganalytics-api" migrate up >"$state/log/migrate.log" 2>&1; then
  tail -n 20 "$state/log/migrate.log" >&2
  fail "the migrations failed; the log is $state/log/migrate.log"
fi

step "- pganalytics-api and one collector"
mkdir -p "$state/api" "$state/collector"
# In sessions of their own: Ctrl-C reaches this script alone, which ends them in order.
setsid "${clean[@]}" "${urls[@]}" JWT_SECRET_FILE="$state/secrets/jwt-secret" \
  REGISTRATION_SECRET_FILE="$state/secrets/registration-secret" ENCRYPTION_KEY_FILE="$state/secrets/encryption-key" \
  ADMIN_PASSWORD_FILE="$state/admin-password" PORT="$port" LISTEN_ADDRESS=127.0.0.1 STATE_DIR="$state/api" \
  "$bin/pganalytics-api" >>"$state/log/api.log" 2>&1 &
echo $! >"$state/run/api.pid"

wait_for() {  # $1 = what, $2 = seconds, $3 = pid file, $4 = program, rest = condition
  local what=$1 limit=$2 deadline=$((SECONDS + $2)) pid_file=$3 program=$4
  shift 4
  until "$@"; do
    running_pid "$pid_file" "$program" >/dev/null || {
      tail -n 15 "$state/log/${program#pganalytics-}.log" >&2
      fail "$program ended while waiting for $what (the end of its log is above)"
    }
    [ $SECONDS -lt $deadline ] || {
      tail -n 15 "$state/log/${program#pganalytics-}.log" >&2
      fail "no $what after $limit s (the end of the log is above)"
    }
    sleep 0.1
  done
}
healthy() { curl -fsS -m 3 -o /dev/null "$url/api/v1/health" 2>/dev/null; }
wait_for "answer of $url/api/v1/health" 30 "$state/run/api.pid" pganalytics-api healthy

collector_env=(COLLECTOR_ID="${COLLECTOR_ID:-$(hostname)}" COLLECTOR_NAME="$(hostname)" BACKEND_URL="$url"
  REGISTRATION_SECRET_FILE="$state/secrets/registration-secret" STATE_DIR="$state/collector"
  COLLECTION_INTERVAL="$interval" STATEMENT_TEXT_INTERVAL="${STATEMENT_TEXT_INTERVAL:-15}")
if [ -n "${SOURCE:-}" ]; then
  eval "collector_env+=($(tr '\n' ' ' <"$state/run/source.env"))"
else
  collector_env+=(POSTGRES_HOST=127.0.0.1 POSTGRES_PORT="$pg_port" POSTGRES_USER=pganalytics_monitor
    POSTGRES_PASSWORD_FILE="$state/secrets/monitor-password" POSTGRES_DATABASES='*' POSTGRES_SSLMODE=disable)
fi
if ! "${clean[@]}" "${collector_env[@]}" "$bin/pganalytics-collector" --check >"$state/log/check.log" 2>&1 &&
   [ -n "${SOURCE:-}" ]; then
  cat "$state/log/check.log" >&2
  fail "the server of SOURCE cannot be watched as it is (see above)"
fi
began=$(date +%s)
setsid "${clean[@]}" "${collector_env[@]}" "$bin/pganalytics-collector" >>"$state/log/collector.log" 2>&1 &
echo $! >"$state/run/collector.pid"

# A frame of the watched server itself that holds something; figures of this host do not count.
arriving() {
  [ -n "$("${super[@]}" -A -t -d metrics -c "SELECT 1 FROM metrics WHERE \"timestamp\" >= to_timestamp($began) \
    AND rows > 0 AND source NOT LIKE 'host:%' LIMIT 1" 2>/dev/null)" ]
}
wait_for "metric of the watched server" 60 "$state/run/collector.pid" pganalytics-collector arriving

cat <<TEXT

  URL       $url          (try: curl $url/api/v1/health)
  user      admin
  password  $(cat "$state/admin-password")
  shell     source $state/env && $PWD/pgactl top
  logs      $state/log/
  Ctrl-C stops everything; the data stays.

READY $url
TEXT

count() { curl -fsS -m 3 "$url/api/v1/metrics/count" 2>/dev/null | tr -dc 0-9; }
last=$(count)
while running_pid "$state/run/api.pid" pganalytics-api >/dev/null && pg_running_pid >/dev/null &&
      running_pid "$state/run/collector.pid" pganalytics-collector >/dev/null; do
  if [ -t 1 ]; then
    now=$(count)
    [ -z "$now" ] || [ -z "$last" ] ||
      printf '\r\033[K  %s metrics stored (+%s)  %s' "$now" "$((now - last))" "$(date -u +%H:%M:%SZ)"
    last=${now:-$last}
  fi
  sleep 2 & wait $!
done
printf '\n'
if [ -e "$state/run/stopping" ]; then
  echo "stopped by make stop"
  trap - EXIT INT TERM
  exit 0
fi
pg_running_pid >/dev/null || {
  pg_as tail -n 15 "$PG_HOME/log" >&2 || true
  printf 'run: PostgreSQL has ended (the end of %s is above)\n' "$PG_HOME/log" >&2
}
for program in api collector; do
  running_pid "$state/run/$program.pid" "pganalytics-$program" >/dev/null || {
    tail -n 15 "$state/log/$program.log" >&2
    printf 'run: pganalytics-%s has ended (the end of its log is above)\n' "$program" >&2
  }
done
exit 1
