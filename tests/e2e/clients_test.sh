#!/usr/bin/env bash
# The clients in Python and TypeScript, made from the document of this build and used against a real suite with two collectors: signing
# in, sources, series, top statements, pages, refusals. The TypeScript program is checked by the compiler first, and one with
# mistakes must fail there.
. "$(dirname "$0")/lib/suite.sh"
"$ROOT/tools/clients.sh" "${PGA_BINARY_DIR:-$ROOT/build/dev}/openapi.json" "$WORK/clients" >"$WORK/clients.log" 2>&1 &
MADE=$!
start_postgres "shared_preload_libraries = 'pg_stat_statements'"
prepare_suite
start_api
start_collector clients-1
start_collector clients-2
login
export URL ADMIN_PASSWORD=$ADMIN_PASSWORD_TEXT
read_statements() { [ "$(api_get "/api/v1/queries/top?hours=1" | jq '.queries | length')" -gt 3 ]; }
check "the clients are made" wait "$MADE"
if [ ! -d "$WORK/clients/python" ]; then
  cat "$WORK/clients.log"
  exit 1
fi
two_collectors() { [ "$(api_get /api/v1/collectors | jq .total)" = 2 ]; }
within "two collectors" 30 two_collectors
within "there are statements to ask for" 30 read_statements

check "Python" env PYTHONPATH="$WORK/clients/python:$ROOT/build/tools/python/clients" python3 "$ROOT/tests/e2e/clients/client.py"
sed 's/^/     /' "$WORK/last.out"

# As a program that has the package installed.
node_modules=$ROOT/build/tools/clients/node_modules
PATH="$("$ROOT/tools/fetch-node.sh"):$PATH"
mkdir -p "$WORK/program/node_modules"
cp "$ROOT/tests/e2e/clients/"{client.ts,mistakes.ts} "$WORK/program"
echo '{"type": "module"}' >"$WORK/program/package.json"
cp -r "$WORK/clients/typescript" "$WORK/program/node_modules/pganalytics-client"
for package in openapi-fetch openapi-typescript-helpers; do ln -s "$node_modules/$package" "$WORK/program/node_modules/$package"; done
# The compiler finds each mistake that is meant to be one, and no other.
(cd "$WORK/program" && node "$node_modules/typescript/bin/tsc" --noEmit --strict --exactOptionalPropertyTypes --skipLibCheck --target es2022 \
  --module nodenext client.ts mistakes.ts) >"$WORK/compiler.out" || true
equals "TypeScript: mistakes that the compiler finds" "$(grep -n '// wrong' "$WORK/program/mistakes.ts" | sed 's/\([0-9]*\):.*/mistakes.ts(\1/')" \
  "$(sed 's/,.*//' "$WORK/compiler.out")"
check "TypeScript" bash -c "cd '$WORK/program' && node client.ts"
sed 's/^/     /' "$WORK/last.out"
finish
