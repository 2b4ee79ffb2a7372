#!/usr/bin/env bash
# The deployment guide's checks, by number, as the guide writes them: curl, jq, psql against ./pganalytics-api started
# without arguments from the guide's environment file, trailing remarks included, on HTTPS.
export PGA_E2E_BIN
. "$(dirname "$0")/../lib/suite.sh"
cd "$ROOT"

# Settings of whoever runs the test must not count.
unset REGISTRATION_SECRET REGISTRATION_SECRET_FILE PGACTL_TOKEN PGACTL_URL

# --- G3, G11, G15, G16, G19, G82: what has to be there
equals "G3 three secrets of 44 characters" "44 44 44" \
  "$(for _ in 1 2 3; do openssl rand -base64 32 | tr -d '\n' | wc -c; done | xargs)"
for document in operations alert-rules dashboards incidents guide backup threats sizing; do
  check "G11, G82 docs/$document.md" test -s "docs/$document.md"
done
if [ -d .git ] || [ -f .git ]; then
  check "G15 git status" git status --short
  check "G15 git log --oneline -5" git log --oneline -5
  check "G19 .env.production is never committed" git check-ignore -q .env.production
fi
check "G16 test -f PRODUCTION_APPROVAL.md" test -f PRODUCTION_APPROVAL.md
check "G9 make test-backend is a target" make -n test-backend
check "G10 make test-integration is a target" make -n test-integration
equals "G8 dashboards as files" 17 "$(ls tools/deploy/grafana/dashboards/*.json | wc -l)"
check "G8 rules for Prometheus" grep -q -- '- alert:' tools/deploy/prometheus/pganalytics-alerts.yaml
check "G31 collector-docker-compose.yml names its container" grep -q 'container_name: pganalytics-collector$' collector-docker-compose.yml

# --- G24, G25, G56: the units
unit=tools/deploy/systemd/pganalytics.service
for line in 'Type=simple' 'User=pganalytics' 'EnvironmentFile=.*/opt/pganalytics/.env.production' \
    'ExecStart=/opt/pganalytics/pganalytics-api' 'Restart=on-failure' 'RestartSec=10s' 'WantedBy=multi-user.target'; do
  check "G24 $line" grep -qE "^${line}$" "$unit"
done
check "G24 the log" grep -q '/var/log/pganalytics/api.log' "$unit"
check "G56 a backup every night" grep -q '^OnCalendar=' tools/deploy/systemd/pganalytics-backup.timer

# --- G22, G23: make build leaves ./pganalytics-api in the checkout's root
check "G22 make build" make -s build
check "G23 ls -lh pganalytics-api" ls -lh pganalytics-api
equals "version" "3.2.0" "$(./pganalytics-api --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)"

# --- G4: a certificate from a CA
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=Test CA" \
  -keyout "$WORK/ca.key" -out "$WORK/ca.pem" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
  -keyout "$WORK/key.pem" -out "$WORK/server.csr" 2>/dev/null
openssl x509 -req -in "$WORK/server.csr" -CA "$WORK/ca.pem" -CAkey "$WORK/ca.key" -CAcreateserial -days 2 \
  -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out "$WORK/cert.pem" 2>/dev/null
check "G4 certificate chain verifies" openssl verify -CAfile "$WORK/ca.pem" "$WORK/cert.pem"

# --- G5: two databases, TLS to them as the guide's URLs ask
install -m 600 "$WORK/key.pem" "$WORK/pg.key"
install -m 644 "$WORK/cert.pem" "$WORK/pg.crt"
[ "$(id -u)" -ne 0 ] || chown postgres "$WORK/pg.key" "$WORK/pg.crt"
start_postgres "ssl = on
ssl_cert_file = '$WORK/pg.crt'
ssl_key_file = '$WORK/pg.key'"

# --- G19, G20: the environment file with remark lines and trailing remarks
PORT=$(free_port $((30000 + RANDOM % 2000)))
cat >"$WORK/.env.production" <<ENV
# Security
JWT_SECRET=$(openssl rand -base64 32)
REGISTRATION_SECRET=$(openssl rand -base64 32)
BACKUP_KEY=$(openssl rand -base64 32)
# TLS
TLS_ENABLED=true
TLS_CERT_PATH=$WORK/cert.pem
TLS_KEY_PATH=$WORK/key.pem
# Server
ENVIRONMENT=production
LOG_LEVEL=info
PORT=$PORT
# Databases
DATABASE_URL=postgres://pganalytics:owner-password@127.0.0.1:$PG_PORT/pganalytics?sslmode=require
TIMESCALE_URL=postgres://pganalytics:owner-password@127.0.0.1:$PG_PORT/metrics?sslmode=require
CORS_ALLOWED_ORIGINS=https://dashboard.example.com,https://grafana.example.com
# Limits
COLLECTION_INTERVAL=120  # raise above 30 collectors
MAX_CONCURRENT_COLLECTORS=50  # hard limit
JWT_EXPIRATION=86400  # 24 hours
METRICS_BUFFER_SIZE=104857600  # 100 MB
ENV
GUIDE_PORT=$PORT
unset PORT
set +e
export $(cat "$WORK/.env.production" | xargs) 2>/dev/null
set -e
equals "G20 the environment is set in spite of remarks" "$GUIDE_PORT true 86400 info" \
  "${PORT:-} ${TLS_ENABLED:-} ${JWT_EXPIRATION:-} ${LOG_LEVEL:-}"

# --- G21: migrate up as the guide writes it, whose reader leaves early; then again (G6)
./pganalytics-api migrate up 2>&1 | head -2 >"$WORK/first-lines"
check "G21 the first lines name database and migrations" grep -qE 'metadata.*[0-9]{4}_|applied' "$WORK/first-lines"
check "G21 it went on to its end" ./pganalytics-api migrate status
check "G6 migrate up again changes nothing" ./pganalytics-api migrate up

# --- G2, G5, G12 to G14, G66, G78: what a start would meet
export LISTEN_ADDRESS=0.0.0.0
./pganalytics-api preflight --json >"$WORK/preflight.json" 2>&1 || true
check "G5, G13 preflight reaches both databases" ./pganalytics-api preflight
check "G2, G66, G78 it judges the disk for the days that are kept" grep -qi 'disk' "$WORK/preflight.json"
check "G4 and the certificate" grep -qi 'certificate' "$WORK/preflight.json"
check "G12 free -h, df -h, nproc" eval 'free -h && df -h && nproc'

# --- G89: outside the approval
check "G89 a default secret is refused in production" eval \
  '! JWT_SECRET=change-me-in-production ./pganalytics-api >"$WORK/refused.out" 2>&1 && grep -q JWT_SECRET "$WORK/refused.out"'

# --- G44, G46: somebody who receives alerts
cat >"$WORK/receiver.py" <<'PY'
import http.server, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "ab") as out:
            out.write(body + b"\n")
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
PY
start receiver python3 "$WORK/receiver.py" "$WORK/alerts.received"
within "a receiver" 10 test -s "$WORK/receiver.log"
export ALERT_WEBHOOK_URL=http://127.0.0.1:$(head -n 1 "$WORK/receiver.log")/

# --- G24, G25: without arguments, in the foreground; integer values as systemd's own parser hands them over
mkdir -p "$WORK/systemd/environment.d"
cat >"$WORK/systemd/environment.d/limits.conf" <<'ENV'
MAX_CONCURRENT_COLLECTORS="50"   # hard limit
JWT_EXPIRATION="86400"   # 24 hours
ENV
eval "export $(env -i XDG_CONFIG_HOME="$WORK/systemd" \
  /usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator | tr '\n' ' ')"
equals "G24 systemd joins value and remark" "86400# 24 hours" "$JWT_EXPIRATION"
start api ./pganalytics-api
API=$LAST_PID
URL=https://localhost:$PORT
export CURL_CA_BUNDLE=$WORK/ca.pem
within "G27 active within 30 s" 30 curl -fsS "$URL/api/v1/health"
equals "G25 stays in the foreground" "$API" "$(pgrep -f "^./pganalytics-api$" -P $$ | head -n 1)"

# --- Nothing but the guide's variables: no folder to write to, nobody who can sign in, open to other hosts by TLS
check "the log says how the first person is made" grep -q "nobody can sign in.*pganalytics-api admin create" "$WORK/api.log"
ADMIN_PASSWORD=$(./pganalytics-api admin create | sed -n 's/^password: //p')
check "admin create prints a password" test "${#ADMIN_PASSWORD}" -ge 12
check "it listens on every address" curl -fsSk --resolve "localhost:$PORT:$(hostname -I | cut -d' ' -f1)" "$URL/api/v1/health"

# --- G28
health=$(curl -sk "$URL/api/v1/health")
equals "G28, G69 status" healthy "$(jq -r .status <<<"$health")"
equals "G28 version" 3.2.0 "$(jq -r .version <<<"$health")"
check "G28 timestamp is UTC" grep -qE '^[0-9-]+T[0-9:.]+Z$' <<<"$(jq -r .timestamp <<<"$health")"

# --- G30, G31: a collector from the guide's variables
export COLLECTOR_ID=col_prod_001 BACKEND_URL=$URL POSTGRES_HOST=127.0.0.1 POSTGRES_PORT=$PG_PORT
export POSTGRES_DATABASES="postgres,pganalytics" POSTGRES_PASSWORD=monitor-password
COLLECTION_INTERVAL='1  # seconds, for this test' STATE_DIR=$WORK/collector BACKEND_CA_FILE=$WORK/ca.pem \
  start collector ./pganalytics-collector

# --- G32: without a token and without -k, growing
count() { curl -fsS "$URL/api/v1/metrics/count" | jq -e .count; }
counted() { [ "$(count)" -gt "$1" ]; }
within "G32, G70 count grows" 60 counted 0
within "G32 count grows further" 60 counted "$(count)"
check "G33 the collector's log has lines" test -s "$WORK/collector.log"

# --- G39 before G35: the token
TOKEN=$(curl -sk -X POST "$URL/api/v1/auth/login" -H 'Content-Type: application/json' \
  -d '{"username":"admin","password":"'"$ADMIN_PASSWORD"'"}' | jq -r '.token')
check "G39 a token" test "${#TOKEN}" -gt 20
equals "G35 .count is a number" number \
  "$(curl -sk "$URL/api/v1/metrics" -H "Authorization: Bearer $TOKEN" | jq -r '.count | type')"
check "G36 SELECT COUNT(*) FROM metrics" psql "$TIMESCALE_URL" -c "SELECT COUNT(*) FROM metrics LIMIT 1;"
equals "G38, G72 push without a token" 401 \
  "$(curl -sk -o /dev/null -w '%{http_code}' -X POST "$URL/api/v1/metrics/push" -H 'Content-Type: application/json' -d '{}')"
equals "G40 push with a user's token" 200 \
  "$(curl -sk -o /dev/null -w '%{http_code}' -X POST "$URL/api/v1/metrics/push" -H 'Content-Type: application/json' \
    -H "Authorization: Bearer $TOKEN" -d '{"collector_id":"col_001","metrics":[]}')"
equals "G49 metrics without a token" 401 "$(curl -sk -o /dev/null -w '%{http_code}' "$URL/api/v1/metrics")"
equals "G51 .count of collectors" 1 \
  "$(curl -sk "$URL/api/v1/collectors" -H "Authorization: Bearer $TOKEN" | jq -r '.count')"
equals "G61 SELECT COUNT(*) FROM collectors" 1 \
  "$(psql "$DATABASE_URL" -A -t -c "SELECT COUNT(*) FROM collectors;")"

# --- G74: every security header
curl -skD "$WORK/headers" -o /dev/null "$URL/version"
for header in x-frame-options x-content-type-options x-xss-protection referrer-policy content-security-policy \
    strict-transport-security; do
  check "G74 $header" grep -qi "^$header:" "$WORK/headers"
done

# --- G26, G63, G50, G54, G55
check "G26 the log has lines" test -s "$WORK/api.log"
check "G63 the suite's sessions are named" test "$(psql "$DATABASE_URL" -A -t -c \
  "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pga%'")" -gt 0
check "G50 the size of the database" psql "$DATABASE_URL" -c "SELECT pg_size_pretty(pg_database_size(current_database()))"
export PGACTL_URL=$URL PGACTL_CA_FILE=$WORK/ca.pem PGACTL_TOKEN=$TOKEN
PGACTL=${PGA_E2E_PGACTL:-./pgactl}
check "G43 figures of the watched server" eval "$PGACTL sources | grep -q up"
check "G54, G55 a report" "$PGACTL" report --from 1h
check "G44 a test alert is raised" "$PGACTL" alerts test
within "G46, G80 and arrives" 20 grep -q '"status"' "$WORK/alerts.received"
cp -a "$WORK/api.log" "$WORK/look.log"
check "G47, G53, G75 the daily look" env BACKEND_URL="$URL" TOKEN="$TOKEN" API_LOG="$WORK/look.log" BACKUP_DIR=/nonexistent \
  tools/deploy/daily-check.sh --short
check "G48 the baseline" env BACKEND_URL="$URL" TOKEN="$TOKEN" API_LOG="$WORK/look.log" BASELINE_DIR="$WORK" \
  BACKUP_DIR=/nonexistent tools/deploy/daily-check.sh --baseline
check "G48 is a file" eval 'ls "$WORK"/baseline_*.txt'

# --- G49: 20 calls; 401 without a token is an answer
for _ in $(seq 20); do curl -sk -o /dev/null -w '%{time_total}\n' "$URL/api/v1/metrics"; done >"$WORK/times"
check "G49 below 300 ms on average" awk '{sum += $1} END {exit !(NR == 20 && sum / NR < 0.3)}' "$WORK/times"

# --- G34: another collector, nothing is restarted; G30, G31: the same five variables
export COLLECTOR_ID=col_prod_002
COLLECTOR_PORT=$(free_port $((16000 + RANDOM % 2000)))
SOURCE_NAME=second COLLECTION_INTERVAL=1 STATE_DIR=$WORK/collector2 BACKEND_CA_FILE=$WORK/ca.pem METRICS_LISTEN=127.0.0.1:$COLLECTOR_PORT \
  start collector2 ./pganalytics-collector
two() { [ "$(curl -sk "$URL/api/v1/collectors" -H "Authorization: Bearer $TOKEN" | jq -r .count)" = 2 ]; }
within "G34 a second collector, while the suite runs" 30 two
equals "G34 with the same process" "$API" "$(pgrep -f "^./pganalytics-api$" -P $$ | head -n 1)"

check "G87 how full the buffer is" eval \
  'curl -fsS "http://127.0.0.1:$COLLECTOR_PORT/metrics" | grep -c "^pga_collector_spool_\(bytes\|limit_bytes\) " | grep -qx 2'

# --- G83: a wrong secret; G84: another's id
SOURCE_NAME=third COLLECTOR_ID=col_prod_003 COLLECTION_INTERVAL=1 STATE_DIR=$WORK/collector3 BACKEND_CA_FILE=$WORK/ca.pem \
  METRICS_LISTEN=127.0.0.1:0 REGISTRATION_SECRET=wrong-secret-wrong-secret-wrong start collector3 ./pganalytics-collector
within "G83 a wrong registration secret is refused" 30 grep -q "Invalid registration secret\|REGISTRATION_SECRET_INVALID" "$WORK/collector3.log"
stop_pid "$LAST_PID"
credential() { sed -n 2p "$WORK/collector/credentials"; }
equals "G84 a collector's own push" 200 "$(curl -sk -o /dev/null -w '%{http_code}' -X POST "$URL/api/v1/metrics/push" \
  -H 'Content-Type: application/json' -H "Authorization: Bearer $(credential)" -d "{\"collector_id\":\"col_prod_001\",\"hostname\":\"db\",\"timestamp\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",\"metrics\":[]}")"
equals "G84 a push with another's id" 401 "$(curl -sk -o /dev/null -w '%{http_code}' -X POST "$URL/api/v1/metrics/push" \
  -H 'Content-Type: application/json' -H "Authorization: Bearer $(credential)" -d '{"collector_id":"col_prod_002","metrics":[]}')"

# --- G7, G17, G18, G58, G59, G61, G79: dumps by hand and by our tool, restored into databases of their own
export PGPASSWORD=owner-password
dump() { pg_dump -h 127.0.0.1 -p "$PG_PORT" -U pganalytics "$1" >"$WORK/$1_backup.sql"; }
check "G17 pg_dump pganalytics" dump pganalytics
check "G18 pg_dump metrics" dump metrics
check "G17, G18 both have something in them" eval 'test -s "$WORK/pganalytics_backup.sql" && test -s "$WORK/metrics_backup.sql"'
unset PGPASSWORD
mkdir -m 700 "$WORK/backups"
backup() { env BACKUP_DIR="$WORK/backups" "$PGACTL" backup "$@"; }
check "G7, G79 pgactl backup create" backup create
check "G7 pgactl backup verify" backup verify latest
drill() {  # into databases of other names, made by the administrator
  env DATABASE_URL="$SUPER_URL/drill_pganalytics" TIMESCALE_URL="$SUPER_URL/drill_metrics" BACKUP_DIR="$WORK/backups" "$PGACTL" backup restore "$@"
}
check "G58 pgactl backup restore of the plain dump" drill "$WORK/pganalytics_backup.sql"
check "G59 and of the metrics" drill "$WORK/metrics_backup.sql"
equals "G61 collectors are in the restored database" 2 "$(psql "$SUPER_URL/drill_pganalytics" -A -t -c "SELECT COUNT(*) FROM collectors;")"

# --- G64, G65, G76, G77: with two collectors; 50 are measured by make bench
ticks() { awk '{print $14 + $15}' "/proc/$API/stat"; }
before=$(ticks) began=$(date +%s%N)
await 30 counted "$(($(count) + 200))" || true
used=$(($(ticks) - before)) passed=$((($(date +%s%N) - began) / 10000000))
check "G64, G76 below 40 % of a processor ($used of $passed ticks)" test $((used * 100)) -lt $((passed * 40))
resident=$(awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$API/status")
check "G65, G77 below 200 MB ($resident MB)" test "$resident" -lt 200

# --- G41, G42: another client address, so that its bucket is full
codes=$(seq 150 | sed "s#.*#$URL/api/v1/health#" | xargs curl -sk --interface 127.0.0.2 -w '%{http_code}\n' -o /dev/null \
  $(printf -- '-o /dev/null %.0s' $(seq 149)))
equals "G41, G67 the first 100 are answered" 100 "$(head -n 100 <<<"$codes" | grep -c '^200$')"
check "G41, G67, G73 then 429" test "$(tail -n 30 <<<"$codes" | grep -c '^429$')" -ge 20
equals "G85 another client is still answered" 200 \
  "$(curl -sk --interface 127.0.0.3 -o /dev/null -w '%{http_code}' "$URL/api/v1/health")"
refilled() { [ "$(curl -sk --interface 127.0.0.2 -o /dev/null -w '%{http_code}' "$URL/api/v1/health")" = 200 ]; }
within "G42 200 again" 60 refilled

# --- G29: no line with "error" at a healthy start
equals "G29, G68 no error lines" 0 "$(grep -ci error "$WORK/api.log" || true)"

# --- G57: clean stop on SIGTERM
kill -TERM "$API"
check "G57 ends within 10 s" timeout 10 tail --pid="$API" -f /dev/null
wait "$API" && code=0 || code=$?
equals "G57 exit code" 0 "$code"

# --- G60, G62: it starts again on the same databases
start api2 ./pganalytics-api
API=$LAST_PID
within "G62 health after a start" 30 curl -fsS "$URL/api/v1/health"
within "G62 collectors deliver again" 60 counted "$(count)"
check "G86 HTTPS on PORT" curl -fsS "https://localhost:$GUIDE_PORT/api/v1/health"
finish
