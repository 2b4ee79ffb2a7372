#!/usr/bin/env bash
# A backup of GIB (2) gibibytes of blocks that nothing makes smaller: made, checked, everything dropped, put back, compared
# row by row. Prints one line a step with seconds and MiB/s. Its own server, in a folder that goes with it (FOLDER, by
# default under /var/tmp), which needs five times as much space.
#   tests/bench/backup.sh [build/release/bin/pgactl]
set -euo pipefail
cd "$(dirname "$0")/../.."
pgactl=$(realpath "${1:-build/release/bin/pgactl}")
gib=${GIB:-2}
bin=$(pg_config --bindir 2>/dev/null || true)
[ -x "$bin/initdb" ] || bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
folder=$(mktemp -d "${FOLDER:-/var/tmp}/pga-backup.XXXXXX")
as=()
if [ "$(id -u)" -eq 0 ]; then
  as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
  chown postgres: "$folder"
fi
stop() {
  "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap stop EXIT
cd "$folder"
"${as[@]}" "$bin/initdb" -U postgres -A trust -D "$folder/data" >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w \
  -o "-k $folder -c listen_addresses= -c max_wal_size=8GB -c checkpoint_timeout=1h" start >/dev/null
url() { echo "postgresql://postgres@/$1?host=$folder"; }
export DATABASE_URL TIMESCALE_URL BACKUP_KEY BACKUP_DIR=$folder/vault
DATABASE_URL=$(url pganalytics) TIMESCALE_URL=$(url metrics) BACKUP_KEY=$(head -c 32 /dev/urandom | base64)
sql() { "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$(url "$1")" -c "$2"; }

sql postgres 'CREATE DATABASE pganalytics'
sql postgres 'CREATE DATABASE metrics'
"$pgactl" migrate up 2>/dev/null
sql metrics "SELECT metrics.ensure_block_partitions(current_date, current_date + 15)" >/dev/null
# 64 KiB a row, each another part of 8 MiB of random bytes.
sql metrics "CREATE TABLE random AS SELECT decode(string_agg(md5(random()::text || i), ''), 'hex') AS bytes FROM generate_series(1, 524288) i"
sql metrics "INSERT INTO metrics.block SELECT current_date + i % 16, 1 + i % 50, 1, 0, 1, 0, false, now(), now(), now(), 1, 100, 10000,
  0, 1, NULL, NULL, '{1}', '{0,65536}', substring(r.bytes FROM 1 + (i * 7919) % 8300000 FOR 65536) FROM random r, generate_series(1, $((gib * 16384))) i"
sql metrics 'DROP TABLE random'

step() {  # name, command...
  local name=$1 before after
  shift
  before=$(date +%s.%N)
  "$@" >"$folder/out" 2>&1 || { cat "$folder/out" >&2; exit 1; }
  after=$(date +%s.%N)
  awk -v name="$name" -v s="$(echo "$after $before" | awk '{print $1 - $2}')" -v m="$((gib * 1024))" \
    'BEGIN {printf "%-8s %7.1f s %7.0f MiB/s\n", name, s, m / s}'
}
digest() { sql metrics "SELECT count(*), sum(hashtextextended(b::text, 0)) FROM metrics.block b"; }
before=$(digest)
echo "database $(sql metrics 'SELECT pg_size_pretty(pg_database_size(current_database()))'), $before"
step create "$pgactl" backup create
du -sh "$folder/vault" | sed "s#$folder/##"
step verify "$pgactl" backup verify
sql postgres 'DROP DATABASE metrics'
sql postgres 'DROP DATABASE pganalytics'
step restore "$pgactl" backup restore latest
after=$(digest)
[ "$before" = "$after" ] || { echo "FAILED: $before before, $after after" >&2; exit 1; }
echo "the same rows: $after"
