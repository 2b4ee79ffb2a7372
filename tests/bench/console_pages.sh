#!/usr/bin/env bash
# How fast the console's pages are over a simulated fleet, in Chromium: of each page and range the slowest call and the time
# until every question is answered.
#   console_pages.sh [sources, default 20] [days, default 2] [changed statements a minute, default 30]
#   ROUNDS=10 RANGES="1h 24h 7d" JSON=FILE   as services/console/test/pages.ts says
# The full form: RANGES="1h 24h 7d 30d" tests/bench/console_pages.sh 500 30 30
SOURCES=${1:-20}
DAYS=${2:-2}
CHANGED=${3:-30}
. "$(dirname "$0")/../e2e/lib/suite.sh"
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
[ -x "$CHROMIUM" ] || { echo "console_pages: $CHROMIUM is not installed; run: tools/setup.sh test" >&2; exit 1; }
start_postgres "max_wal_size = '4GB'
synchronous_commit = off
shared_buffers = '512MB'"
prepare_suite
echo "console_pages: $("$BIN/fleetsim" load --url "$SUPER_URL/metrics" --sources "$SOURCES" --days "$DAYS" --changed "$CHANGED")"
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
