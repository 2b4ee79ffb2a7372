#!/usr/bin/env bash
# Every route, as the suite's own OpenAPI document describes it, asked by schemathesis as a viewer, a user and an administrator, on
# data of a collector and of pushes: no failure, no answer outside its description. PGA_API_EXAMPLES is how many requests a route gets
# from the administrator (4), `long` the long form of minutes; PGA_API_SEED the seed (1).
. "$(dirname "$0")/lib/suite.sh"
EXAMPLES=${PGA_API_EXAMPLES:-4}
FEW=1
[ "$EXAMPLES" != long ] || EXAMPLES=0 FEW=0
PYTHONPATH=$("$ROOT/tools/fetch-python.sh" schemathesis)
export PYTHONPATH
start_postgres "shared_preload_libraries = 'pg_stat_statements'"
prepare_suite
# Nobody is signed out by the clock.
export JWT_EXPIRATION=24h
start_api
start_collector api-test STATEMENT_TEXT_INTERVAL=1
login
ADMIN_TOKEN=$TOKEN METRICS_URL=$TIMESCALE_URL python3 "$ROOT/tests/e2e/push_check.py" send "$URL" "$(cat "$WORK/secrets/registration")" "$WORK/pushes" \
  >"$WORK/pushes.log" 2>&1 || fail "pushes: $(tail -n 3 "$WORK/pushes.log")"

export TOKENS=$WORK/tokens PROTECTED=api-test
mkdir "$TOKENS"
session() {  # user name, password: a token
  curl -fsS "$URL/api/v1/auth/login" -H 'Content-Type: application/json' -d "{\"username\":\"$1\",\"password\":\"$2\"}" | jq -r .token
}
for role in viewer user admin; do
  id=$(curl -fsS "$URL/api/v1/users" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d "{\"username\":\"api-$role\",\"email\":\"api-$role@example.org\",\"password\":\"api-test-Password-1\",\"role\":\"$role\"}" | jq .id)
  PROTECTED="$PROTECTED $id"
  session "api-$role" api-test-Password-1 >"$TOKENS/$role"
done
session api-viewer api-test-Password-1 >"$TOKENS/leaving"
cp "$WORK/secrets/registration" "$TOKENS/secret"
read_statements() { [ "$(api_get "/api/v1/queries/top?hours=1" | jq '.queries | length')" -gt 3 ]; }
within "there are statements to ask for" 30 read_statements
PROTECTED="$PROTECTED $(api_get /api/v1/sources | jq -r '[.sources[].id] | join(" ")')"

for role in viewer user admin; do
  examples=$FEW
  [ $role != admin ] || examples=$EXAMPLES
  check "every route, asked by a $role" python3 "$ROOT/tests/e2e/schemathesis/run.py" "$URL" $role "$examples" "${PGA_API_SEED:-1}" "$WORK/$role"
  sed 's/^/     /' "$WORK/last.out"
done
finish
