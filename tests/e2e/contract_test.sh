#!/usr/bin/env bash
# The 3.2.0 API: every row of the contract table, and what collectors of 3.2.0 push, found again by the API and by SQL, across a
# kill -9 of the suite. WRITE_CONTRACT=1 writes docs/api-contract.md.
. "$(dirname "$0")/lib/suite.sh"
start_postgres
prepare_suite
start_api
login
SECRET=$(cat "$WORK/secrets/registration")
export ADMIN_PASSWORD=$ADMIN_PASSWORD_TEXT METRICS_URL=$TIMESCALE_URL ADMIN_TOKEN=$TOKEN
show() { sed 's/^/     /' "$WORK/last.out"; }

PAGE=$ROOT/docs/api-contract.md
check "every row of the contract" python3 "$ROOT/tests/e2e/contract_check.py" "$URL" "$SECRET" \
  "$([ -n "${WRITE_CONTRACT:-}" ] && echo --write || echo --page)" "$PAGE"
show
check "every value of every kind of push is found again" python3 "$ROOT/tests/e2e/push_check.py" send "$URL" "$SECRET" "$WORK/pushes"
show
kill -KILL "$API_PID"
within "the suite is gone" 10 gone "$API_PID"
start_api
login
export ADMIN_TOKEN=$TOKEN
check "increases, resets and repeats after a kill" python3 "$ROOT/tests/e2e/push_check.py" again "$URL" "$SECRET" "$WORK/pushes"
show
finish
