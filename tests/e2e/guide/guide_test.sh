#!/usr/bin/env bash
# The deployment guide's checks, by number, as the guide writes them: curl, jq, psql against ./pganalytics-api started
# without arguments from the guide's environment file, trailing remarks included, on HTTPS.
export PGA_E2E_BIN
. "$(dirname "$0")/../lib/suite.sh"
cd "$ROOT"

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
equals "G28 status" healthy "$(jq -r .status <<<"$health")"
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
within "G32 count grows" 60 counted 0
within "G32 count grows further" 60 counted "$(count)"
check "G33 the collector's log has lines" test -s "$WORK/collector.log"

# --- G39 before G35: the token
TOKEN=$(curl -sk -X POST "$URL/api/v1/auth/login" -H 'Content-Type: application/json' \
  -d '{"username":"admin","password":"'"$ADMIN_PASSWORD"'"}' | jq -r '.token')
check "G39 a token" test "${#TOKEN}" -gt 20
equals "G35 .count is a number" number \
  "$(curl -sk "$URL/api/v1/metrics" -H "Authorization: Bearer $TOKEN" | jq -r '.count | type')"
check "G36 SELECT COUNT(*) FROM metrics" psql "$TIMESCALE_URL" -c "SELECT COUNT(*) FROM metrics LIMIT 1;"
equals "G38 push without a token" 401 \
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

# --- G41, G42: another client address, so that its bucket is full
codes=$(seq 150 | sed "s#.*#$URL/api/v1/health#" | xargs curl -sk --interface 127.0.0.2 -w '%{http_code}\n' -o /dev/null \
  $(printf -- '-o /dev/null %.0s' $(seq 149)))
equals "G41 the first 100 are answered" 100 "$(head -n 100 <<<"$codes" | grep -c '^200$')"
check "G41 then 429" test "$(tail -n 30 <<<"$codes" | grep -c '^429$')" -ge 20
refilled() { [ "$(curl -sk --interface 127.0.0.2 -o /dev/null -w '%{http_code}' "$URL/api/v1/health")" = 200 ]; }
within "G42 200 again" 60 refilled

# --- G29: no line with "error" at a healthy start
equals "G29 no error lines" 0 "$(grep -ci error "$WORK/api.log" || true)"

# --- G57: clean stop on SIGTERM
kill -TERM "$API"
check "G57 ends within 10 s" timeout 10 tail --pid="$API" -f /dev/null
wait "$API" && code=0 || code=$?
equals "G57 exit code" 0 "$code"
finish
