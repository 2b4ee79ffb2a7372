#!/usr/bin/env bash
# A real Envoy with the files that pga-gateway writes, beside the built-in gateway, before the same services and data: odd requests
# to both, an MCP client from the registry through both, figures and readiness. PGA_ENVOY_REQUESTS sets how many requests (6,000),
# PGA_ENVOY_SEED the first seed (1).
. "$(dirname "$0")/lib/suite.sh"
. "$(dirname "$0")/lib/envoy.sh"

start_postgres "shared_preload_libraries = 'pg_stat_statements'"
prepare_suite
export CORS_ALLOWED_ORIGINS=https://a.example
start_apart
start_envoy
login
within "readiness" 10 curl -fsS --unix-socket "$WORK/envoy/admin.sock" http://localhost/ready
check "MCP through the gateway" env PYTHONPATH="$("$ROOT/tools/fetch-python.sh" mcp)" python3 "$ROOT/tests/e2e/envoy/mcp_client.py" "$URL" "$TOKEN"
tail -n 3 "$WORK/last.out"
check "MCP through Envoy" env PYTHONPATH="$("$ROOT/tools/fetch-python.sh" mcp)" python3 "$ROOT/tests/e2e/envoy/mcp_client.py" "$ENVOY_URL" "$TOKEN"
python3 "$ROOT/tests/e2e/envoy/compare.py" "$URL" "$ENVOY_URL" "$TOKEN" "${PGA_ENVOY_REQUESTS:-6000}" "${PGA_ENVOY_SEED:-1}" >"$WORK/compare.out" 2>&1 &&
  pass "no difference without an explanation" || fail "differences"
cat "$WORK/compare.out"
finish
