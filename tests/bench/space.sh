#!/usr/bin/env bash
# Loads a simulated fleet into a PostgreSQL of its own and prints what it takes, per metric and level and per table:
# tests/bench/space.sh [sources, default 2] [days, default 3] [changed statements a minute, default 300]
# Full size: tests/bench/space.sh 50 30 300. With SPACE_JSON=FILE the figures are written there too; with SPACE_COLUMNS=FILE
# the bytes of every section of the blocks, with values, NULLs and zeros, as `fleetsim measure` prints them.
SOURCES=${1:-2}
DAYS=${2:-3}
CHANGED=${3:-300}
. "$(dirname "$0")/../e2e/lib/suite.sh"
start_postgres "max_wal_size = '4GB'
synchronous_commit = off
maintenance_work_mem = '256MB'"
url="$SUPER_URL/metrics"
sql() { psql -X -q -v ON_ERROR_STOP=1 -d "$url" "$@"; }
wal_before=$(sql -At -c "SELECT pg_current_wal_lsn()")
load=$("$BIN/fleetsim" load --url "$url" --sources "$SOURCES" --days "$DAYS" --changed "$CHANGED")
echo "space: $load"
wal=$(sql -At -c "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '$wal_before')")
sql -c "VACUUM ANALYZE"
"$BIN/fleetsim" measure --url "$url" >"$WORK/columns.tsv"
# Values stored and moving cannot be told by SQL alone.
measured=$(tail -n 1 "$WORK/columns.tsv")
[ -z "${SPACE_COLUMNS:-}" ] || sed '$d' "$WORK/columns.tsv" >"$SPACE_COLUMNS"
sql <<'SQL'
\echo space: bytes per metric and level, in blocks
SELECT c.name AS metric, b.level, b.kind, count(*) AS blocks, sum(b.rows) AS rows, sum(octet_length(b.data)) AS data_bytes,
       round(sum(octet_length(b.data) + pg_column_size(b.offsets) + pg_column_size(b.ids) + 160)::numeric / nullif(sum(b.rows), 0), 2) AS bytes_per_row
FROM metrics.block b JOIN metrics.catalog_metric c ON c.id = b.metric_id
GROUP BY 1, 2, 3 ORDER BY 6 DESC;
\echo space: tables with TOAST and indexes
SELECT CASE WHEN n.nspname = 'metrics_data' THEN 'metrics.block' ELSE n.nspname || '.' || c.relname END AS "table",
       sum(pg_relation_size(c.oid)) AS heap, sum(pg_relation_size(c.reltoastrelid)) AS toast,
       sum(pg_indexes_size(c.oid)) AS indexes, sum(pg_total_relation_size(c.oid)) AS total
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname IN ('metrics', 'metrics_data') GROUP BY 1 HAVING sum(pg_total_relation_size(c.oid)) > 100000 ORDER BY 5 DESC;
SQL
# The days' level grows to 400 days, everything else to 30.
sql -At -v sources="$SOURCES" -v days="$DAYS" -v changed="$CHANGED" -v wal="$wal" -v load="$load" \
  -v measured="$measured" <<'SQL' | tee "${SPACE_JSON:-/dev/null}"
WITH metric AS (
  SELECT c.name, b.level, sum(octet_length(b.data))::numeric AS data, sum(b.rows) AS rows
  FROM metrics.block b JOIN metrics.catalog_metric c ON c.id = b.metric_id GROUP BY 1, 2
), whole AS (
  SELECT sum(data) AS data FROM metric
), tables AS (
  SELECT sum(pg_total_relation_size(c.oid))::numeric AS total,
         sum(pg_total_relation_size(c.oid)) FILTER (WHERE n.nspname = 'metrics_data')::numeric AS blocks
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND n.nspname IN ('metrics', 'metrics_data')
), share AS (
  -- A metric's part of the tables is that of its bytes.
  SELECT name, level, rows, data * (SELECT blocks FROM tables) / (SELECT data FROM whole) AS bytes FROM metric
)
SELECT json_build_object(
  'bench', 'space', 'sources', :sources, 'days', :days, 'changed', :changed, 'load', :'load'::json, 'wal_bytes', :wal,
  'table_bytes', (SELECT total FROM tables), 'block_bytes', (SELECT blocks FROM tables),
  'text_bytes', pg_total_relation_size('metrics.query_text'),
  'receipt_bytes', pg_total_relation_size('metrics.ingest_receipt'), 'measured', :'measured'::json,
  -- Everything but blocks counts as often as there are sources.
  'fleet_gb', (SELECT round((sum(bytes * 50 / :sources * CASE WHEN level >= 2 THEN 400 ELSE 30 END / :days)
                             + (SELECT total - blocks FROM tables) * 50.0 / :sources) / 1e9, 2) FROM share),
  'statements_gb', (SELECT round(sum(bytes * 50 / :sources * CASE WHEN level >= 2 THEN 400 ELSE 30 END / :days) / 1e9, 2)
                    FROM share WHERE name = 'statements'),
  'metrics', (SELECT json_agg(json_build_object('metric', name, 'level', level, 'rows', rows, 'bytes', round(bytes),
                                                'bytes_per_row', round(bytes / nullif(rows, 0), 2)) ORDER BY bytes DESC) FROM share));
SQL
