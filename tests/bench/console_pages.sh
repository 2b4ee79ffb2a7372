#!/usr/bin/env bash
# How fast the console's pages are over a simulated fleet, in Chromium: of each page and range the slowest call and the time
# until every question is answered.
#   console_pages.sh [sources, default 20] [days, default 2] [changed statements a minute, default 30]
#   ROUNDS=10 RANGES="1h 24h 7d" JSON=FILE   as services/console/test/pages.ts says
#   COPIES=50        loads a part of the sources and copies their blocks under other ids
#   RAW_DAYS=8       leaves the raw rows of the last days alone, hours and days whole
# The full form: RANGES="1h 24h 7d 30d" tests/bench/console_pages.sh 500 30 30, three hours and 53 GB; the same with
# COPIES=50 RAW_DAYS=8 takes 20 minutes and 20 GB.
SOURCES=${1:-20}
COPIES=${COPIES:-1}
((SOURCES % COPIES == 0)) || { echo "console_pages: $SOURCES sources are not $COPIES copies of anything" >&2; exit 2; }
DAYS=${2:-2}
CHANGED=${3:-30}
. "$(dirname "$0")/../e2e/lib/suite.sh"
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
[ -x "$CHROMIUM" ] || { echo "console_pages: $CHROMIUM is not installed; run: tools/setup.sh test" >&2; exit 1; }
start_postgres "max_wal_size = '4GB'
synchronous_commit = off
shared_buffers = '512MB'"
prepare_suite
echo "console_pages: $("$BIN/fleetsim" load --url "$SUPER_URL/metrics" --sources $((SOURCES / COPIES)) --days "$DAYS" --changed "$CHANGED")"
if [ -n "${RAW_DAYS:-}" ]; then
  in_metrics "DELETE FROM metrics.block WHERE level = 0 AND last < now() - make_interval(days => $RAW_DAYS)"
fi
if ((COPIES > 1)); then
  in_metrics "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name)
    SELECT s.id + $((SOURCES / COPIES)) * k, gen_random_uuid(), s.name || '-' || k, s.collector_id, s.group_name
    FROM metrics.source s, generate_series(1, $COPIES - 1) k"
  for table in query_text block; do
    in_metrics "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
      WHERE attrelid = 'metrics.$table'::regclass AND attnum > 0 AND attname <> 'source_id'" >"$WORK/columns"
    in_metrics "INSERT INTO metrics.$table (source_id, $(cat "$WORK/columns"))
      SELECT source_id + $((SOURCES / COPIES)) * k, $(cat "$WORK/columns") FROM metrics.$table, generate_series(1, $COPIES - 1) k"
  done
fi
psql -X -q -d "$SUPER_URL/metrics" -c "VACUUM ANALYZE"
in_metrics "SELECT 'console_pages: database ' || pg_size_pretty(pg_database_size('metrics'))"
metadata() { PGPASSWORD=superuser-password psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PG_PORT" -U postgres -d pganalytics "$@"; }
# The registry knows what is loaded, as if collectors had reported it a moment ago.
in_metrics "COPY (SELECT s.uuid, s.name, c.collector_id FROM metrics.source s JOIN metrics.collector c ON c.id = s.collector_id) TO STDOUT" >"$WORK/sources"
metadata <<SQL
CREATE TEMP TABLE loaded (id uuid, name text, collector text);
\\copy loaded FROM '$WORK/sources'
INSERT INTO pganalytics.collectors (id, name, hostname, last_seen, created_at, updated_at)
  SELECT DISTINCT ON (collector) collector, collector, collector, now(), now(), now() FROM loaded;
INSERT INTO pganalytics.sources (id, name, group_name, reported_name, home_group, is_host, owner, owner_epoch, owned_since,
    renewed_at, up, since, server_version_num, first_seen, seen_at, revision)
  SELECT id, name, 'default', name, 'default', false, collector, 1, now(), now(), true, now(), 160004, now(), now(),
    row_number() OVER () FROM loaded;
UPDATE pganalytics.source_revision SET last_number = (SELECT max(revision) FROM pganalytics.sources);
SQL
start_api
export URL ADMIN_PASSWORD=$ADMIN_PASSWORD_TEXT
END=$(date -u +%FT00:00:00Z)
export END
(cd "$ROOT/services/console" && "$ROOT/tools/console.sh" node test/pages.ts) || fail "a call was refused"
finish
