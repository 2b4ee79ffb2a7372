#!/usr/bin/env bash
# Loads a simulated fleet into a PostgreSQL of its own and prints what it takes, per metric and level and per table:
# tests/bench/space.sh [options] [sources, default 2] [days, default 3] [changed statements a minute, default 300]
#                      [entries of pg_stat_statements per source, default 5000]
#   --json FILE      appends the figures as lines of JSON (libs/testing/bench_lines.h)
#   --detail FILE    writes what tools/sizing.py needs
#   --recorded FILE  frames of a real server (tools/fleetsim/record.sh) through queue, merge and fold, besides
#   --columns FILE   bytes of every section of the blocks, with values, NULLs and zeros (fleetsim measure)
#   --dump           size and time of a plain and a custom pg_dump, and of one that does not compress
#   --url URL        into that empty metrics database, as superuser, in whatever layout it was migrated to
#                    (docs/layouts.md), instead of a server of its own; WAL is then that of this server alone
# Full size: tests/bench/space.sh --dump 50 30 300.
JSON=/dev/null DETAIL=/dev/null RECORDED= COLUMNS= DUMP= url=
while [[ ${1:-} == --* ]]; do
  case $1 in
    --json) JSON=$2; shift 2 ;;
    --detail) DETAIL=$2; shift 2 ;;
    --recorded) RECORDED=$2; shift 2 ;;
    --columns) COLUMNS=$2; shift 2 ;;
    --dump) DUMP=1; shift ;;
    --url) url=$2; shift 2 ;;
    *) echo "space: $1 is not known; see the head of $0" >&2; exit 2 ;;
  esac
done
SOURCES=${1:-2}
DAYS=${2:-3}
CHANGED=${3:-300}
ENTRIES=${4:-5000}
. "$(dirname "$0")/../e2e/lib/suite.sh"
if [ -z "$url" ]; then
  start_postgres "max_wal_size = '4GB'
synchronous_commit = off
maintenance_work_mem = '256MB'"
  url="$SUPER_URL/metrics"
fi
sql() { psql -X -q -v ON_ERROR_STOP=1 -d "$url" "$@"; }
name=space.s${SOURCES}_d${DAYS}_c${CHANGED}_e$ENTRIES
line() {  # name, value, unit, target
  echo "{\"name\": \"$name.$1\", \"value\": $2, \"unit\": \"$3\"${4:+, \"target\": $4}}" | tee -a "$JSON" |
    sed 's/^/space: /'
}
wal_before=$(sql -At -c "SELECT pg_current_wal_lsn()")
load=$("$BIN/fleetsim" load --url "$url" --sources "$SOURCES" --days "$DAYS" --changed "$CHANGED" --statements "$ENTRIES")
echo "space: $load"
wal=$(sql -At -c "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '$wal_before')")
sql -c "VACUUM ANALYZE"
[ -z "$COLUMNS" ] || "$BIN/fleetsim" measure --url "$url" >"$COLUMNS"
# The tables: those of the schema, and the parts of metrics.block, whatever schema a layout keeps them in. What is
# distributed over nodes is asked for by the function of the extension.
sql <<'SQL'
CREATE SCHEMA space;
CREATE FUNCTION space.bytes(which oid) RETURNS int8 LANGUAGE plpgsql AS $$
BEGIN
  IF metrics.layout() = 'citus' THEN
    IF EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = which) THEN
      RETURN citus_total_relation_size(which::regclass);
    END IF;
  END IF;
  RETURN pg_total_relation_size(which);
END $$;
CREATE VIEW space.part AS
  SELECT CASE WHEN i.inhrelid IS NULL THEN n.nspname || '.' || c.relname ELSE 'metrics.block' END AS "table", c.oid,
         c.reltoastrelid, i.inhrelid IS NOT NULL AS of_block
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'metrics.block'::regclass
    WHERE c.relkind = 'r' AND (n.nspname = 'metrics' OR i.inhrelid IS NOT NULL);
SQL
sql <<'SQL'
\echo space: bytes per metric and level, in blocks
SELECT c.name AS metric, b.level, b.kind, count(*) AS blocks, sum(b.rows) AS rows, sum(octet_length(b.data)) AS data_bytes,
       round(sum(octet_length(b.data) + pg_column_size(b.offsets) + pg_column_size(b.ids) + 160)::numeric / nullif(sum(b.rows), 0), 2) AS bytes_per_row
FROM metrics.block b JOIN metrics.catalog_metric c ON c.id = b.metric_id
GROUP BY 1, 2, 3 ORDER BY 6 DESC;
\echo space: tables with TOAST and indexes
SELECT "table", sum(pg_relation_size(oid)) AS heap, sum(pg_relation_size(reltoastrelid)) AS toast,
       sum(pg_indexes_size(oid)) AS indexes, sum(space.bytes(oid)) AS total
FROM space.part GROUP BY 1 HAVING sum(space.bytes(oid)) > 100000 ORDER BY 5 DESC;
SQL
# Everything grows to what the metric keeps: the days' level to 400 days, everything else to 30, where its file says
# nothing else.
detail=$(sql -At -v sources="$SOURCES" -v days="$DAYS" -v changed="$CHANGED" -v entries="$ENTRIES" -v wal="$wal" \
  -v load="$load" <<'SQL'
WITH metric AS (
  SELECT c.name, b.level, CASE WHEN b.level >= 2 THEN coalesce(c.daily_days_most, 400) ELSE coalesce(c.raw_days_most, 30) END AS kept_days,
         sum(octet_length(b.data))::numeric AS data, sum(b.rows) AS rows,
         coalesce(sum(b.rows) FILTER (WHERE b.kind = 1), 0) AS delta_rows,
         coalesce(sum(octet_length(b.data)) FILTER (WHERE b.kind = 1), 0)::numeric AS delta_data
  FROM metrics.block b JOIN metrics.catalog_metric c ON c.id = b.metric_id GROUP BY 1, 2, 3
), whole AS (
  SELECT sum(data) AS data FROM metric
), tables AS (
  SELECT sum(space.bytes(oid))::numeric AS total, sum(space.bytes(oid)) FILTER (WHERE of_block)::numeric AS blocks
  FROM space.part
), share AS (
  -- A metric's part of the tables is that of its bytes.
  SELECT name, level, kept_days, rows, delta_rows, data * (SELECT blocks FROM tables) / (SELECT data FROM whole) AS bytes,
         delta_data * (SELECT blocks FROM tables) / (SELECT data FROM whole) AS delta_bytes FROM metric
), loaded AS (
  SELECT key AS name, (value->>'stored')::numeric AS stored, (value->>'moving')::numeric AS moving
  FROM json_each((:'load'::json)->'values')
), kept AS (
  SELECT name, bytes * 50 / :sources * kept_days / :days AS bytes FROM share
)
SELECT json_build_object(
  'bench', 'space', 'layout', metrics.layout(), 'sources', :sources, 'days', :days, 'changed', :changed, 'entries', :entries, 'load', :'load'::json,
  'wal_bytes', :wal,
  'table_bytes', (SELECT total FROM tables), 'block_bytes', (SELECT blocks FROM tables),
  'text_bytes', pg_total_relation_size('metrics.query_text'),
  'receipt_bytes', pg_total_relation_size('metrics.ingest_receipt'),
  -- Everything but blocks counts as often as there are sources.
  'fleet_gb', (SELECT round((sum(bytes) + (SELECT total - blocks FROM tables) * 50.0 / :sources) / 1e9, 3) FROM kept),
  'statements_gb', (SELECT round(sum(bytes) / 1e9, 3) FROM kept WHERE name = 'statements'),
  'metrics', (SELECT json_agg(json_build_object('metric', name, 'level', level, 'kept_days', kept_days, 'rows', rows, 'bytes', round(bytes),
                                                'bytes_per_row', round(bytes / nullif(rows, 0), 2)) ORDER BY bytes DESC) FROM share),
  -- Of the raw level, keyframes apart; zeros that never change are stored values too.
  'values', (SELECT json_agg(json_build_object('metric', name, 'bytes_per_row', round(delta_bytes / delta_rows, 2),
                       'per_stored', round(delta_bytes / nullif(stored, 0), 3), 'per_moving', round(delta_bytes / nullif(moving, 0), 3)))
             FROM share JOIN loaded USING (name) WHERE level = 0 AND delta_rows > 0),
  'per_stored', (SELECT round(sum(delta_bytes) / sum(stored), 3) FROM share JOIN loaded USING (name) WHERE level = 0),
  'per_moving', (SELECT round(sum(delta_bytes) / nullif(sum(moving), 0), 3) FROM share JOIN loaded USING (name) WHERE level = 0),
  'shares', (SELECT json_agg(json_build_object('metric', name, 'gb', gb) ORDER BY gb DESC)
             FROM (SELECT name, round(sum(bytes) / 1e9, 3) AS gb FROM kept GROUP BY name) s));
SQL
)
get() { python3 -c 'import json, sys; d = json.loads(sys.argv[1]); print(eval(sys.argv[2], {"d": d}))' "$detail" "$1"; }
of_statements() { get "[v for v in d['values'] if v['metric'] == 'statements'][0]['$1']"; }
# The bounds are those of 50 sources with 300 changed statements a minute.
all_bound= statements_bound=
if [ "$CHANGED" -le 300 ]; then all_bound=12 statements_bound=8; fi
line fleet_50x30 "$(get "d['fleet_gb']")" GB $all_bound
line fleet_50x30_statements "$(get "d['statements_gb']")" GB $statements_bound
while read -r metric gb; do line "fleet_50x30_share.$metric" "$gb" GB; done \
  < <(get "'\n'.join(s['metric'] + ' ' + str(s['gb']) for s in d['shares'] if s['gb'] >= 0.01 and s['metric'] != 'statements')")
line texts_fleet_50 "$(get "round(d['text_bytes'] * 50 / d['sources'] / 1e9, 3)")" GB
line tables "$(get "round(d['table_bytes'] / 1e9, 4)")" GB
line statements_row "$(of_statements bytes_per_row)" B
line statements_stored_value "$(of_statements per_stored)" B
line statements_moving_value "$(of_statements per_moving)" B
line all_stored_value "$(get "d['per_stored']")" B
line all_moving_value "$(get "d['per_moving']")" B
line block_wal_row "$(get "round(d['wal_bytes'] / d['load']['rows'], 2)")" B
if [ -n "$RECORDED" ]; then
  PGPASSWORD=superuser-password psql -X -q -h 127.0.0.1 -p "$PG_PORT" -U postgres -d postgres -c "CREATE DATABASE recorded"
  recorded=$("$BIN/fleetsim" recorded --url "$SUPER_URL/recorded" --file "$RECORDED")
  echo "space: recorded $recorded"
  name=space.recorded
  bytes=$(psql -X -q -At -d "$SUPER_URL/recorded" -c "SELECT sum(octet_length(data) + pg_column_size(offsets) + pg_column_size(ids) + 160) FROM metrics.block WHERE level = 0")
  of_recorded() { python3 -c 'import json, sys; print(round(int(sys.argv[1]) / json.loads(sys.argv[2])["values"]["statements"][sys.argv[3]], 3))' "$bytes" "$recorded" "$1"; }
  line statements_row "$(of_recorded rows)" B
  line statements_stored_value "$(of_recorded stored)" B
  line statements_moving_value "$(of_recorded moving)" B
fi
if [ -n "$DUMP" ]; then
  name=space.s${SOURCES}_d${DAYS}_c${CHANGED}_e$ENTRIES
  dump() {  # name, then options of pg_dump
    local what=$1 begun=$EPOCHREALTIME bytes seconds
    shift
    bytes=$(pg_dump "$@" -d "$url" | wc -c)
    seconds=$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.2f", b - a}')
    line "dump_$what" "$(awk -v b="$bytes" 'BEGIN {printf "%.4f", b / 1e9}')" GB
    line "dump_${what}_time" "$seconds" s
    DUMPS="${DUMPS:-}${DUMPS:+, }\"$what\": {\"bytes\": $bytes, \"seconds\": $seconds}"
  }
  dump plain -Fp
  dump custom -Fc
  dump custom_uncompressed -Fc -Z 0
  detail="${detail%\}}, \"dumps\": {$DUMPS}}"
fi
echo "$detail" >"$DETAIL"
