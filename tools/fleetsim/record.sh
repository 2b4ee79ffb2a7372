#!/usr/bin/env bash
# Records how the entries of pg_stat_statements grow on a real server under a mixed load, for
# columns_encoding_benchmark --recorded: tools/fleetsim/record.sh FILE [readings, default 121] [seconds between, default 2]
# A server of its own is started and removed; nothing of it is kept but the file.
FILE=$(realpath -m "${1:?usage: record.sh FILE [readings] [seconds between]}")
READINGS=${2:-121}
SECONDS_BETWEEN=${3:-2}
. "$(dirname "$0")/../../tests/e2e/lib/suite.sh"
start_postgres "shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.max = 5000
track_io_timing = on
shared_buffers = '64MB'
synchronous_commit = off
max_wal_size = '512MB'"
run() { PGPASSWORD=superuser-password "$@"; }
sql() { run psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$PG_PORT" -U postgres -d postgres "$@"; }
connect=(-h 127.0.0.1 -p "$PG_PORT" -U postgres)
run pgbench "${connect[@]}" -q -i -s 10 postgres >/dev/null 2>&1

# 1,500 shapes of statements: lookups, lists, joins, aggregates and changes, by the bits of the number. pgbench takes at
# most 128 scripts, so each has several shapes and draws one of them.
awk 'BEGIN {
  for (i = 0; i < 1500; i++) {
    tail = ""
    # An entry is distinguished by operators, not by constants.
    for (bit = 0; bit < 11; bit++) tail = tail " AND aid " (int(i / 2 ^ bit) % 2 ? "<>" : ">") " -1"
    kind = i % 7
    if (kind < 3) text = "SELECT abalance FROM pgbench_accounts WHERE aid = :aid" tail
    else if (kind == 3) text = "SELECT count(*), sum(abalance) FROM pgbench_accounts WHERE aid BETWEEN :aid AND :aid + " (i % 13 * 40) tail
    else if (kind == 4) text = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid" tail
    else if (kind == 5) text = "SELECT a.aid, b.bbalance FROM pgbench_accounts a JOIN pgbench_branches b USING (bid) WHERE a.aid BETWEEN :aid AND :aid + 50" tail " ORDER BY a.abalance"
    else text = "SELECT bid, max(abalance) FROM pgbench_accounts WHERE aid < :aid % 30000" tail " GROUP BY bid"
    file = "'"$WORK"'/shape-" int(i / 15) ".sql"
    if (i % 15 == 0) printf "\\set aid random(1, 999000)\n\\set shape random_zipfian(0, 14, 1.2)\n" > file
    printf "\\if :shape = %d\n%s;\n\\endif\n", i % 15, text > file
  }
}'
# Zipf: script i runs with weight 1,000,000 / (i + 1)^1.6.
scripts=()
for ((i = 0; i < 100; i++)); do
  scripts+=(-f "$WORK/shape-$i.sql@$(awk -v i="$i" 'BEGIN { printf "%d", 1000000 / (i + 1) ^ 1.6 }')")
done
duration=$((READINGS * SECONDS_BETWEEN + 20))
start shapes run pgbench "${connect[@]}" -n -c 4 -j 1 -R 400 -T "$duration" "${scripts[@]}" postgres
start tpcb run pgbench "${connect[@]}" -n -c 2 -j 1 -R 60 -T "$duration" -M prepared postgres

# The reading of the metric for this server's version, as the catalog has it.
query=$(python3 - "$(dirname "$0")/../../libs/catalog/metrics/statements.yaml" <<'PY'
import re, sys
text = open(sys.argv[1], encoding="utf-8").read()
columns = re.findall(r"- \{name: (\w+)", text)
sql = re.search(r"min_extension_version: 1\.10\n    sql: \|\n(.*?)\n  - ", text, re.S).group(1).replace("@extschema@", "public")
known = set(re.findall(r"AS (\w+)", sql)) | set(re.findall(r"\bs\.(\w+)", sql))
print("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8,",
      ", ".join(f"r.{c}" if c in known else f"NULL AS {c}" for c in columns), "FROM (", sql, ") r")
PY
)
: >"$FILE"
for ((reading = 0; reading < READINGS; reading++)); do
  # One instant for all rows of a reading.
  sql -c "COPY (WITH q AS MATERIALIZED (${query/clock_timestamp()/statement_timestamp()}) SELECT * FROM q) TO STDOUT" >>"$FILE"
  sleep "$SECONDS_BETWEEN" & wait $!
done
echo "record: $READINGS readings of $(sql -At -c 'SELECT count(*) FROM pg_stat_statements') entries in $FILE"
