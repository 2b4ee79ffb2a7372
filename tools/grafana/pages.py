"""The dashboards: what each panel asks and says. Numbers in `contract` are those of the 59 panels of release 3.2.0."""
from panels import (GREEN, PROMETHEUS, RED, TEXTS, YELLOW, bars, chart, dashboard, data_source_variable, gauge, interval_variable, pie,
                    query_variable, stat, table, text_variable)
from queries import (CHOSEN, FROM, RANGE, SINCE, SPAN, TO, WHOLE, average, counted, covered, increase, latest, over_range, quotient, rate,
                     stepped, total)

# --- Variables

DATASOURCE = data_source_variable("datasource", "Metrics", "grafana-postgresql-datasource", "pganalytics", "P4755FD0186DF985F")
TEXTS_SOURCE = data_source_variable("texts", "Texts", "grafana-postgresql-datasource", "pganalytics-texts", "pganalytics-texts")
PROMETHEUS_SOURCE = data_source_variable("prometheus", "Prometheus", "prometheus", "pganalytics-prometheus", "pganalytics-prometheus")
SOURCE = query_variable("source", "Source", "SELECT name AS __text, uuid::text AS __value FROM metrics.source "
                                            "WHERE removed_at IS NULL ORDER BY name, uuid")
DATABASE = query_variable("database", "Database", "SELECT DISTINCT datname FROM readable.database_size "
                                                  "WHERE source_id IN ($source) AND datname IS NOT NULL ORDER BY 1")
QUERY = text_variable("query", "Query id", "0")
STEP = interval_variable()
COMMON = [DATASOURCE, SOURCE, STEP]
WITH_DATABASE = [DATASOURCE, SOURCE, DATABASE, STEP]
OF_DATABASE = "datname IN ($database)"

# --- Units and limits

MS, S, BYTES, PERCENT, PER_S, BPS, WHEN, PLAIN = "ms", "s", "bytes", "percent", "ops", "Bps", "dateTimeAsIso", "none"
HIT_STEPS = [RED, 70, YELLOW, 90, GREEN]
LAG_STEPS = [GREEN, 1000, YELLOW, 5000, RED]
LEFT_STEPS = [RED, 20, YELLOW, 50, GREEN]
USED_STEPS = [GREEN, 50, YELLOW, 80, RED]

# --- Figures that several pages show

MEAN_MS = "sum(total_exec_time_us) / nullif(sum(calls), 0) / 1000.0"
HIT = "100.0 * sum(shared_blks_hit) / nullif(sum(shared_blks_hit) + sum(shared_blks_read), 0)"
DATABASE_HIT = "100.0 * sum(blks_hit) / nullif(sum(blks_hit) + sum(blks_read), 0)"
READ_US = ("sum(shared_blk_read_time_us) + coalesce(sum(local_blk_read_time_us), 0) + coalesce(sum(temp_blk_read_time_us), 0)")
WRITE_US = ("sum(shared_blk_write_time_us) + coalesce(sum(local_blk_write_time_us), 0) + coalesce(sum(temp_blk_write_time_us), 0)")
HOURLY = "interval '1 hour'"
MEASURED_IO = " The server measures it while track_io_timing is on; else it says 0."
SINCE_RESET = " The server keeps these since its statistics were reset."
# No wait is an empty text.
WAIT = "coalesce(nullif(wait_event_type, ''), 'CPU')"
STATEMENT = {"source": "source_name", "database": "coalesce(datname, '')", "user": "coalesce(username, '')", "query": "queryid::text"}
TEXT_LINK = {"query": {"title": "Text and history",
                       "url": "/d/pga-statement?var-query=${__value.raw}&${source:queryparam}&${__url_time_range}"}}
STATEMENT_UNITS = {"total": S, "mean": MS, "max": MS, "avg": MS, "min": MS, "stddev": MS, "hits": PERCENT, "read time": S}


def figure(metric, name, sql, where=None):
    """One number over the range."""
    return total(metric, {name: sql}, {}, where)


def by_name(metric, label, name, sql, limit, where=None):
    """Label and number, greatest first."""
    return total(metric, {name: sql}, {"name": label}, where, order="2 DESC NULLS LAST", limit=limit)


def statements_over_time(figure_sql, name, limit=10):
    return (f"WITH v AS (\n  SELECT time, source_id, source_name, coalesce(datname, '') AS datname, queryid, {figure_sql} AS value,\n"
            f"         sum(total_exec_time_us) AS us\n    FROM {stepped('statements')}\n    WHERE {CHOSEN} AND {OF_DATABASE}\n"
            "    GROUP BY 1, 2, 3, 4, 5),\nl AS (\n  SELECT source_id, datname, queryid FROM v GROUP BY 1, 2, 3 "
            f"ORDER BY sum(us) DESC NULLS LAST LIMIT {limit})\n"
            f"SELECT time, concat_ws(' ', source_name, datname, queryid) AS metric, value AS \"{name}\"\n"
            "  FROM v JOIN l USING (source_id, datname, queryid)\n  ORDER BY 1, 2")


def sessions(by, where="backend_type = 'client backend' AND state = 'active'", keep=None):
    return rate("activity", {"sessions": "sum(sessions_avg_sum)"}, by=by, where=where, keep=keep, per="readings", absent_is_zero=True)


# All that processors do, microseconds.
PROCESSOR_TIME = "user_us + nice_us + system_us + idle_us + iowait_us + irq_us + softirq_us + steal_us"


def busy():
    return quotient("host_cpu", "busy", f"100.0 * (sum({PROCESSOR_TIME}) - sum(idle_us + iowait_us))", f"sum({PROCESSOR_TIME})")


def long_transactions(limit):
    return table(
        "Longest transactions", "Transactions of five seconds and more that were open in the range, each at its longest.",
        f"SELECT source_name AS \"source\", pid AS \"pid\", max(datname) AS \"database\", max(usename) AS \"user\", "
        f"max(application_name) AS \"application\",\n       (array_agg(state ORDER BY time DESC))[1] AS \"state\", xact_start AS "
        f"\"began\", max(xact_age_us) / 1e6 AS \"age\", max(xmin_age) AS \"held back xids\"\n"
        f"  FROM readable.long_transactions({FROM}, {TO})\n  WHERE {CHOSEN} AND NOT gone\n  GROUP BY 1, 2, xact_start\n"
        f"  ORDER BY 8 DESC NULLS LAST LIMIT {limit}", units={"began": WHEN, "age": S})


def blockers(limit):
    return table(
        "Who held whom", "Waits for locks in the range by who held and who waited; times of waits that are over.",
        f"SELECT source_name AS \"source\", datname AS \"database\", blocking_usename AS \"holder\", blocking_application_name AS "
        f"\"holding application\",\n       blocked_usename AS \"waiter\", relation AS \"relation\", lock_mode AS \"asked for\", count(*) AS "
        f"\"waits\",\n       sum(blocked_us) / 1e6 AS \"seconds\", max(blocked_us) / 1e6 AS \"longest\"\n"
        f"  FROM readable.blocking({FROM}, {TO})\n  WHERE {CHOSEN} AND ended\n  GROUP BY 1, 2, 3, 4, 5, 6, 7\n"
        f"  ORDER BY 9 DESC NULLS LAST LIMIT {limit}", units={"seconds": S, "longest": S})


def filesystems():
    return table("Filesystems", "Newest reading of each filesystem of the collectors' hosts.",
                 latest("host_filesystem", ["device", "mountpoint", "fstype"],
                        {"source": "source_name", "mounted at": "mountpoint", "type": "fstype", "size": "total_bytes",
                         "available": "available_bytes", "used": "100.0 * (total_bytes - available_bytes) / nullif(total_bytes, 0)",
                         "read": "time"}, hours=1, order="6 DESC NULLS LAST"),
                 units={"size": BYTES, "available": BYTES, "used": PERCENT, "read": WHEN})


def nearest_wraparound():
    return bars("Nearest to wraparound", "Transaction ids used of those that there are until the server stops to write, by database.",
                latest("wraparound", ["datname"], {"name": "concat_ws(' ', source_name, datname)", "used": "wraparound_percent"},
                       hours=1, order="2 DESC NULLS LAST", limit=10),
                unit=PERCENT, lowest=0, highest=100, steps=USED_STEPS)


# --- Pages


def overview():
    fleet = (f"WITH d AS (\n  SELECT source_id, source_name, max(read_at) AS newest, sum(xact_commit) AS commits, "
             f"sum(xact_rollback) AS rollbacks,\n         sum(blks_hit) AS hit, sum(blks_read) AS read, sum(deadlocks) AS deadlocks, "
             f"sum(temp_bytes) AS temp\n    FROM {over_range('database')}\n    WHERE {CHOSEN}\n    GROUP BY 1, 2),\n"
             f"c AS (\n  SELECT source_id, sum(seconds) AS seconds FROM {covered('database', WHOLE)}\n"
             f"    WHERE {CHOSEN} GROUP BY 1)\n"
             "SELECT d.source_name AS \"source\", d.newest AS \"newest reading\", d.commits / nullif(c.seconds, 0) AS \"commits/s\",\n"
             "       100.0 * d.rollbacks / nullif(d.commits + d.rollbacks, 0) AS \"rollbacks\",\n"
             "       100.0 * d.hit / nullif(d.hit + d.read, 0) AS \"cache hits\", d.deadlocks AS \"deadlocks\", d.temp AS "
             f"\"temporary files\",\n       100.0 * c.seconds / extract(epoch FROM {SPAN})::float8 AS \"covered\"\n"
             "  FROM d LEFT JOIN c USING (source_id)\n  ORDER BY 1")
    commits = (f"SELECT sum(x / seconds) AS \"commits\"\n"
               f"  FROM (SELECT source_id, sum(seconds) AS seconds FROM {covered('database', WHOLE)}\n"
               f"          WHERE {CHOSEN} GROUP BY 1) c\n"
               f"  JOIN (SELECT source_id, sum(xact_commit) AS x FROM {over_range('database')} WHERE {CHOSEN} GROUP BY 1) v "
               "USING (source_id)\n  WHERE seconds > 0")
    return dashboard("pga-overview", "pgAnalytics / Overview", "The chosen servers on one page.", {
        "Fleet": [
            stat("Servers with readings", "Chosen servers of which there are readings in the range.",
                 f"SELECT count(DISTINCT source_id) AS \"servers\" FROM {covered('database', WHOLE)} "
                 f"WHERE {CHOSEN}"),
            stat("Commits per second", "Transactions committed a second, all chosen servers, average of the range.", commits,
                 unit=PER_S),
            stat("Cache hit ratio", "Share of the blocks asked for that were in shared buffers.",
                 figure("database", "hit ratio", DATABASE_HIT), unit=PERCENT, steps=HIT_STEPS),
            stat("Deadlocks", "Deadlocks in the range.", figure("database", "deadlocks", "sum(deadlocks)"), steps=[GREEN, 1, RED]),
            table("Servers", "Each server over the range; covered is the share of the range that readings cover.", fleet, width=24,
                  units={"newest reading": WHEN, "commits/s": PER_S, "rollbacks": PERCENT, "cache hits": PERCENT,
                         "temporary files": BYTES, "covered": PERCENT}),
        ],
        "Load": [
            chart("Active sessions by wait", "Sessions that ran or waited, on average, by what they waited for; CPU is no wait.",
                  sessions(WAIT), unit=PLAIN, stack=True),
            chart("Transactions per second", "Commits and rollbacks a second.",
                  rate("database", {"commits": "sum(xact_commit)", "rollbacks": "sum(xact_rollback)"}), unit=PER_S),
            chart("Statement time", "Execution time of all statements: seconds a second.",
                  rate("statements", {"seconds": "sum(total_exec_time_us) / 1e6"}), unit=PLAIN),
            chart("WAL written", "Bytes of WAL a second.", rate("wal", {"WAL": "sum(position_bytes)"}), unit=BPS),
            chart("Size of databases", "All databases of a server.",
                  average("database_size", "size_bytes", "size", series="datname"), unit=BYTES),
            chart("Host: processors busy", "Share of processor time that was not idle.", busy(), unit=PERCENT, lowest=0, highest=100),
        ],
        "What needs a look": [long_transactions(10), blockers(10), nearest_wraparound(), filesystems()],
    }, COMMON)


def statements():
    slowest = (f"WITH t AS (\n  SELECT source_id, source_name, userid, dbid, queryid, toplevel, max(coalesce(datname, '')) AS datname, "
               f"max(username) AS username,\n         sum(calls) AS calls, sum(total_exec_time_us) AS us\n    FROM {over_range('statements')}\n"
               f"    WHERE {CHOSEN} AND {OF_DATABASE}\n    GROUP BY 1, 2, 3, 4, 5, 6\n"
               "    ORDER BY sum(total_exec_time_us) / nullif(sum(calls), 0) DESC NULLS LAST LIMIT 20),\n"
               "r AS (\n  SELECT DISTINCT ON (source_id, userid, dbid, queryid, toplevel) source_id, userid, dbid, queryid, toplevel, "
               "max_exec_time_us,\n         min_exec_time_us, stddev_exec_time_us\n"
               f"    FROM readable.statements(greatest({FROM}::timestamptz, {TO}::timestamptz - interval '1 hour'), {TO})\n"
               f"    WHERE {CHOSEN}\n    ORDER BY source_id, userid, dbid, queryid, toplevel, time DESC)\n"
               "SELECT source_name AS \"source\", datname AS \"database\", username AS \"user\", queryid::text AS \"query\", calls AS "
               "\"calls\",\n       us / nullif(calls, 0) / 1000.0 AS \"avg\", max_exec_time_us / 1000.0 AS \"max\", min_exec_time_us / 1000.0 "
               "AS \"min\",\n       stddev_exec_time_us / 1000.0 AS \"stddev\"\n"
               "  FROM t LEFT JOIN r USING (source_id, userid, dbid, queryid, toplevel)\n  ORDER BY 6 DESC NULLS LAST")
    unique = "count(DISTINCT (source_id, userid, dbid, queryid, toplevel))"
    ran = f"{OF_DATABASE} AND calls > 0"
    return dashboard("pga-queries", "pgAnalytics / Query performance", "What statements cost, from pg_stat_statements.", {
        "In the range": [
            stat("Total Query Count", "Calls of statements.", figure("statements", "calls", "sum(calls)", OF_DATABASE), contract=["1.9"]),
            stat("Average Query Execution Time", "Execution time by calls.", figure("statements", "mean", MEAN_MS, OF_DATABASE), unit=MS,
                 contract=["2.7"]),
            stat("Peak Query Execution Time", "Longest execution of a statement that ran in the last hour of the range." + SINCE_RESET,
                 f"SELECT max(max_exec_time_us) / 1000.0 AS \"peak\"\n  FROM readable.statements(greatest({FROM}::timestamptz, "
                 f"{TO}::timestamptz - interval '1 hour'), {TO})\n  WHERE {CHOSEN} AND {OF_DATABASE}",
                 unit=MS, steps=[GREEN, 500, YELLOW, 1000, RED], contract=["1.10"]),
            stat("Overall Cache Hit Ratio", "Share of shared blocks that statements found in shared buffers.",
                 figure("statements", "hit ratio", HIT, OF_DATABASE), unit=PERCENT, steps=[RED, 80, YELLOW, 95, GREEN],
                 contract=["1.11"]),
            gauge("Unique Queries Count", "Different statements that ran, by server, database, user and query id.",
                  figure("statements", "queries", unique, ran), contract=["1.12", "2.6"], height=8),
            pie("Top 10 Queries by Total Execution Time", "Seconds of execution.",
                by_name("statements", "concat_ws(' ', source_name, datname, queryid)", "seconds", "sum(total_exec_time_us) / 1e6", 10,
                        OF_DATABASE), unit=S, contract=["1.1"], width=9),
            pie("Top 10 Most Called Queries", "Calls.",
                by_name("statements", "concat_ws(' ', source_name, datname, queryid)", "calls", "sum(calls)", 10, OF_DATABASE),
                contract=["2.4"], width=9),
        ],
        "Over time": [
            chart("Average Query Execution Time Trend", "Execution time by calls, of each server.",
                  quotient("statements", "mean", "sum(total_exec_time_us) / 1000.0", "sum(calls)", where=OF_DATABASE), unit=MS,
                  steps=[GREEN, 1000, RED], contract=["1.2"]),
            chart("Query Execution Frequency Trend", "Calls a second.", rate("statements", {"calls": "sum(calls)"}, where=OF_DATABASE),
                  unit=PER_S, contract=["1.4"]),
            chart("Query Execution Time Trend", "Mean time of the ten statements that took most time.",
                  statements_over_time(MEAN_MS, "mean"), unit=MS, width=24, contract=["2.1"]),
            chart("Buffer Cache Hit Ratio Trend", "Share of shared blocks that statements found in shared buffers.",
                  increase("statements", {"hit ratio": HIT}, where=OF_DATABASE), unit=PERCENT, lowest=0, highest=100,
                  steps=[RED, 80, YELLOW, 95, GREEN], contract=["1.5"]),
            chart("Buffer Cache Hit Ratio by Database", "The same by database.",
                  increase("statements", {"hit ratio": HIT}, by="datname", where=OF_DATABASE), unit=PERCENT, lowest=0, highest=100,
                  steps=HIT_STEPS, contract=["2.3"]),
            chart("I/O Read Time Trend", "Time statements waited for reads, milliseconds a second." + MEASURED_IO,
                  rate("statements", {"read": f"({READ_US}) / 1000.0"}, where=OF_DATABASE), unit=MS, steps=[GREEN, 100, YELLOW, 500, RED],
                  contract=["1.7"]),
            chart("I/O Write Time Trend", "Time statements waited for writes, milliseconds a second." + MEASURED_IO,
                  rate("statements", {"write": f"({WRITE_US}) / 1000.0"}, where=OF_DATABASE), unit=MS,
                  steps=[GREEN, 100, YELLOW, 500, RED], contract=["1.8"]),
            chart("Block I/O Time Trend", "Reads and writes by database, milliseconds a second." + MEASURED_IO,
                  rate("statements", {"I/O": f"({READ_US} + {WRITE_US}) / 1000.0"}, by="coalesce(datname, '')", where=OF_DATABASE), unit=MS,
                  steps=[GREEN, 500, RED], width=24, contract=["2.5"]),
        ],
        "Statements": [
            table("Top Queries by Total Execution Time", "The twenty that took most time.",
                  total("statements", {"total": "sum(total_exec_time_us) / 1e6", "calls": "sum(calls)", "mean": MEAN_MS, "rows": "sum(rows)",
                                       "hits": HIT, "temp blocks": "sum(temp_blks_read + temp_blks_written)",
                                       "WAL": "sum(wal_bytes)"}, STATEMENT, OF_DATABASE, order="5 DESC NULLS LAST", limit=20),
                  units=STATEMENT_UNITS | {"WAL": BYTES}, links=TEXT_LINK, width=24),
            table("Top 20 Slowest Queries", "By mean time in the range; max, min and stddev as they last stood." + SINCE_RESET, slowest,
                  units=STATEMENT_UNITS, links=TEXT_LINK, width=24, contract=["1.3"]),
            table("Top Queries by Mean Execution Time", "Of those called at least ten times.",
                  total("statements", {"mean": MEAN_MS, "calls": "sum(calls)", "total": "sum(total_exec_time_us) / 1e6"}, STATEMENT,
                        OF_DATABASE, having="sum(calls) >= 10", order="5 DESC NULLS LAST", limit=20),
                  units=STATEMENT_UNITS, links=TEXT_LINK, contract=["2.2"]),
            table("Top 20 Most Frequent Queries", "By calls.",
                  total("statements", {"calls": "sum(calls)", "rows": "sum(rows)", "hits": HIT, "read time": f"({READ_US}) / 1e6"},
                        STATEMENT, OF_DATABASE, order="5 DESC NULLS LAST", limit=20),
                  units=STATEMENT_UNITS, links=TEXT_LINK, contract=["1.6"]),
        ],
    }, WITH_DATABASE)


def statement():
    of = "queryid = '$query'::int8"
    return dashboard("pga-statement", "pgAnalytics / Statement", "One statement by its query id. The text needs the data source of "
                     "login pganalytics_reader_texts.", {
        "Statement": [
            table("Text", "Normalised text as last seen; literals are left out by the collector.",
                  "SELECT source_name AS \"source\", dbid::text AS \"database oid\", left(query, 4000) AS \"text\", last_seen AS \"last seen\"\n"
                  f"  FROM readable.statement_texts\n  WHERE {CHOSEN} AND {of}\n  ORDER BY last_seen DESC LIMIT 20",
                  source=TEXTS, units={"last seen": WHEN}, width=24, height=6),
            table("By database and user", "Figures of the range.",
                  total("statements", {"calls": "sum(calls)", "total": "sum(total_exec_time_us) / 1e6", "mean": MEAN_MS,
                                       "rows": "sum(rows)", "hits": HIT}, STATEMENT, of, order="6 DESC NULLS LAST", limit=50),
                  units=STATEMENT_UNITS, width=24, height=6),
        ],
        "Over time": [
            chart("Calls", "Calls a second.", rate("statements", {"calls": "sum(calls)"}, where=of), unit=PER_S),
            chart("Mean time", "Execution time by calls.",
                  quotient("statements", "mean", "sum(total_exec_time_us) / 1000.0", "sum(calls)", where=of), unit=MS),
            chart("Rows per call", "Rows returned or changed by calls.", quotient("statements", "rows", "sum(rows)::float8", "sum(calls)", where=of)),
            chart("Blocks", "Shared blocks a second, by where they came from.",
                  rate("statements", {"hit": "sum(shared_blks_hit)", "read": "sum(shared_blks_read)", "dirtied": "sum(shared_blks_dirtied)"},
                       where=of), unit=PER_S),
        ],
    }, [DATASOURCE, TEXTS_SOURCE, SOURCE, QUERY, STEP])


def by_server():
    return dashboard("pga-by-server", "pgAnalytics / Query performance by server", "Statements of the chosen servers beside each other.", {
        "Servers": [
            chart("Query Execution Time Trend", "Execution time by calls.",
                  quotient("statements", "mean", "sum(total_exec_time_us) / 1000.0", "sum(calls)"), unit=MS, contract=["3.1"]),
            chart("Statement time", "Execution time of all statements: seconds a second.",
                  rate("statements", {"seconds": "sum(total_exec_time_us) / 1e6"}), unit=PLAIN),
            table("Query Performance Summary Table", "Each server over the range; mean times of its statements.",
                  "SELECT source_name AS \"source\", count(*) AS \"statements\", sum(calls) AS \"calls\", sum(us) / nullif(sum(calls), 0) / 1000.0 "
                  "AS \"avg\",\n       max(us / nullif(calls, 0)) / 1000.0 AS \"max\", min(us / nullif(calls, 0)) / 1000.0 AS \"min\",\n"
                  "       100.0 * sum(hit) / nullif(sum(hit) + sum(read), 0) AS \"hits\"\n"
                  "  FROM (SELECT source_id, source_name, dbid, userid, queryid, toplevel, sum(calls) AS calls, sum(total_exec_time_us) AS us,\n"
                  "               sum(shared_blks_hit) AS hit, sum(shared_blks_read) AS read\n"
                  f"          FROM {over_range('statements')}\n          WHERE {CHOSEN}\n          GROUP BY 1, 2, 3, 4, 5, 6) s\n"
                  "  GROUP BY source_id, source_name\n  ORDER BY 3 DESC NULLS LAST",
                  units=STATEMENT_UNITS, width=24, contract=["3.2"]),
            chart("Buffer Cache Hit Ratio", "Share of shared blocks that statements found in shared buffers.",
                  increase("statements", {"hit ratio": HIT}), unit=PERCENT, lowest=0, highest=100, steps=HIT_STEPS, contract=["3.3"]),
            chart("Block I/O Time", "Reads and writes of statements, milliseconds a second." + MEASURED_IO,
                  rate("statements", {"I/O": f"({READ_US} + {WRITE_US}) / 1000.0"}), unit=MS, contract=["3.4"]),
        ],
    }, COMMON)


def collectors():
    # What each collector delivered: the owner of a source is its collector.
    of_collector = ("SELECT c.collector_id AS \"name\", sum(x.calls) AS \"calls\"\n"
                    f"  FROM (SELECT source_id, sum(calls) AS calls FROM {over_range('statements')} WHERE {CHOSEN} GROUP BY 1) x\n"
                    "  JOIN metrics.source s ON s.uuid = x.source_id\n  JOIN metrics.collector c ON c.id = s.collector_id\n"
                    "  GROUP BY 1\n  ORDER BY 2 DESC NULLS LAST")
    summary = (f"SELECT c.collector_id AS \"collector\", s.name AS \"source\", s.group_name AS \"group\", s.last_seen AS \"last seen\",\n"
               "       x.statements AS \"statements\", x.calls AS \"calls\", x.us / nullif(x.calls, 0) / 1000.0 AS \"avg\", x.peak / 1000.0 AS \"max\"\n"
               "  FROM metrics.source s\n  JOIN metrics.collector c ON c.id = s.collector_id\n"
               "  LEFT JOIN (SELECT source_id, count(*) AS statements, sum(calls) AS calls, sum(us) AS us, max(us / nullif(calls, 0)) AS peak\n"
               "               FROM (SELECT source_id, dbid, userid, queryid, toplevel, sum(calls) AS calls, sum(total_exec_time_us) AS us\n"
               f"                       FROM {over_range('statements')}\n                       WHERE {CHOSEN} GROUP BY 1, 2, 3, 4, 5) q\n"
               "               GROUP BY 1) x ON x.source_id = s.uuid\n"
               "  WHERE s.removed_at IS NULL AND s.uuid IN ($source)\n  ORDER BY 1, 2")
    freshness = ("SELECT source_name AS \"source\", metric_name AS \"metric\", sum(readings) AS \"readings\", 100.0 * sum(seconds) / "
                 f"extract(epoch FROM {SPAN})::float8 AS \"covered\"\n"
                 "  FROM (VALUES ('database'), ('statements'), ('activity'), ('host_cpu')) m(metric_name)\n"
                 f"  CROSS JOIN LATERAL readable.covered(m.metric_name, {SINCE}, {TO}, {WHOLE})\n  WHERE {CHOSEN}\n"
                 "  GROUP BY source_id, source_name, metric_name\n  ORDER BY 4, 1, 2")
    return dashboard("pga-collectors", "pgAnalytics / Collectors", "What each collector delivers of its sources.", {
        "Collectors": [
            stat("Collectors", "Collectors of the chosen sources.",
                 "SELECT count(DISTINCT collector_id) AS \"collectors\" FROM metrics.source WHERE removed_at IS NULL AND uuid IN ($source)"),
            stat("Silent sources", "Chosen sources of which nothing has come for five minutes.",
                 "SELECT count(*) AS \"silent\" FROM metrics.source WHERE removed_at IS NULL AND uuid IN ($source) "
                 "AND last_seen < now() - interval '5 minutes'", steps=[GREEN, 1, RED]),
            table("Collectors Summary", "Sources with their collector and what their statements did in the range.", summary, width=24,
                  units=STATEMENT_UNITS | {"last seen": WHEN}, contract=["4.2"]),
            table("Coverage", "Share of the range that readings of four metrics cover.", freshness, units={"covered": PERCENT}),
            pie("Query Volume Distribution by Collector", "Calls of statements.", of_collector, contract=["4.3"]),
        ],
        "What their servers did": [
            chart("Query Execution Time by Collector", "Execution time by calls, of each source.",
                  quotient("statements", "mean", "sum(total_exec_time_us) / 1000.0", "sum(calls)"), unit=MS,
                  steps=[GREEN, 10, YELLOW, 50, RED], contract=["4.1"]),
            chart("Buffer Cache Hit Ratio by Collector", "Share of shared blocks that statements found in shared buffers.",
                  increase("statements", {"hit ratio": HIT}), unit=PERCENT, lowest=0, highest=100, steps=HIT_STEPS, contract=["4.4"]),
            chart("I/O Performance by Collector", "Reads and writes of statements, milliseconds a second." + MEASURED_IO,
                  rate("statements", {"read": f"({READ_US}) / 1000.0", "write": f"({WRITE_US}) / 1000.0"}), unit=MS,
                  steps=[GREEN, 100, YELLOW, 300, RED], contract=["4.5"]),
            table("Performance Comparison by Collector", "Sources beside each other over the range.",
                  total("statements", {"calls": "sum(calls)", "mean": MEAN_MS, "total": "sum(total_exec_time_us) / 1e6", "rows": "sum(rows)",
                                       "hits": HIT, "WAL": "sum(wal_bytes)"}, {"source": "source_name"}, order="4 DESC NULLS LAST"),
                  units=STATEMENT_UNITS | {"WAL": BYTES}, contract=["4.6"]),
        ],
    }, COMMON)


def replication():
    standby = "concat_ws(' ', application_name, client_addr)"
    labels = ["pid", "application_name", "client_addr", "usename"]
    return dashboard("pga-replication", "pgAnalytics / Replication", "Standbys, slots and how far they are behind.", {
        "Now": [
            stat("Max Replica Replay Lag", "Longest replay lag in the range.", figure("replication", "lag", "max(replay_lag_us_max) / 1000.0"),
                 unit=MS, steps=LAG_STEPS, contract=["5.1"]),
            stat("Connected Replicas", "Receivers that were connected at the newest reading.",
                 counted("replication", "replicas", "pid"), per_row=False, contract=["5.3"], options={"series": True}),
            stat("Replication Slots", "Slots at the newest reading.", counted("replication_slots", "slots", "slot_name"), per_row=False,
                 contract=["5.4"], options={"series": True}),
            stat("Most WAL kept by a slot", "Greatest amount that one slot kept from removal in the range.",
                 figure("replication_slots", "kept", "max(retained_bytes_max)"), unit=BYTES,
                 steps=[GREEN, 268435456, YELLOW, 536870912, RED]),
            table("Replication Status Details", "Receivers as they were last read.",
                  latest("replication", labels, {
                      "source": "source_name", "replica": "application_name", "client": "client_addr", "user": "usename", "state": "state",
                      "sync": "sync_state", "write lag": "write_lag_us / 1000.0", "flush lag": "flush_lag_us / 1000.0",
                      "replay lag": "replay_lag_us / 1000.0", "behind": "replay_lag_bytes", "since": "backend_start", "read": "time"},
                      hours=1, order="1, 2"), width=24,
                  units={"write lag": MS, "flush lag": MS, "replay lag": MS, "behind": BYTES, "since": WHEN, "read": WHEN},
                  contract=["5.9"]),
            table("Replication Slots Details", "Slots as they were last read.",
                  latest("replication_slots", ["slot_name"], {
                      "source": "source_name", "slot": "slot_name", "type": "slot_type", "database": "datname", "active": "is_active",
                      "WAL": "wal_status", "kept": "retained_bytes", "restart LSN": "restart_lsn", "xmin age": "xmin_age",
                      "inactive since": "inactive_since", "read": "time"}, hours=1, order="7 DESC NULLS LAST"), width=24,
                  units={"kept": BYTES, "inactive since": WHEN, "read": WHEN}, contract=["5.11"]),
            pie("Replica Sync State Distribution", "Receivers by the way they are waited for.",
                f"SELECT sync_state AS \"name\", count(*) AS \"replicas\"\n  FROM ({latest('replication', labels, {'sync_state': 'sync_state'}, hours=1)}) r\n"
                "  GROUP BY 1\n  ORDER BY 2 DESC", contract=["5.8"]),
            pie("Replication Slot Type Distribution", "Slots by type.",
                f"SELECT slot_type AS \"name\", count(*) AS \"slots\"\n  FROM ({latest('replication_slots', ['slot_name'], {'slot_type': 'slot_type'}, hours=1)}) r\n"
                "  GROUP BY 1\n  ORDER BY 2 DESC", contract=["6.4"]),
        ],
        "Over time": [
            chart("Replication Replay Lag Over Time", "Greatest replay lag of each receiver.",
                  increase("replication", {"replay": "max(replay_lag_us_max) / 1000.0"}, by=standby), unit=MS, steps=LAG_STEPS,
                  contract=["5.5"]),
            chart("Replication Lag Analysis", "Greatest lag until WAL is written, flushed and replayed.",
                  increase("replication", {"write": "max(write_lag_us_max) / 1000.0", "flush": "max(flush_lag_us_max) / 1000.0",
                                           "replay": "max(replay_lag_us_max) / 1000.0"}, by=standby), unit=MS, steps=LAG_STEPS,
                  contract=["6.1"]),
            chart("Bytes behind", "WAL that a receiver has not replayed.",
                  increase("replication", {"behind": "max(replay_lag_bytes_max)"}, by=standby), unit=BYTES),
            chart("WAL kept by slots", "WAL that a slot keeps from removal.",
                  increase("replication_slots", {"kept": "max(retained_bytes_max)"}, by="slot_name"), unit=BYTES),
            table("Replica Lag Statistics", "Replay lag of each receiver over the range.",
                  total("replication", {"max": "max(replay_lag_us_max) / 1000.0",
                                        "avg": "sum(replay_lag_us_sum) / nullif(sum(replay_lag_us_count), 0) / 1000.0",
                                        "min": "min(replay_lag_us_min) / 1000.0", "behind": "max(replay_lag_bytes_max)"},
                        {"source": "source_name", "replica": "application_name", "client": "client_addr"}, order="4 DESC NULLS LAST"),
                  units={"max": MS, "avg": MS, "min": MS, "behind": BYTES}, width=24, contract=["6.6"]),
            chart("Standby: replay delay", "On standbys: bytes received and not replayed.",
                  increase("recovery", {"to replay": "max(replay_backlog_bytes_max)"}), unit=BYTES),
        ],
    }, COMMON, hours=6)


def vacuum():
    return dashboard("pga-vacuum", "pgAnalytics / Vacuum and wraparound", "Transaction ids, what holds vacuum back, and tables that are due.", {
        "Transaction ids": [
            stat("Min XID Wraparound % Remaining", "Transaction ids left until the server stops to write, of the database that has least.",
                 f"SELECT min(100 - wraparound_percent_max) AS \"left\"\n  FROM {over_range('wraparound')}\n  WHERE {CHOSEN}", unit=PERCENT,
                 steps=LEFT_STEPS, contract=["5.2"]),
            stat("Oldest multixact", "Share of multixact ids used by the database that uses most.",
                 figure("wraparound", "used", "max(mxid_wraparound_percent_max)"), unit=PERCENT, steps=USED_STEPS),
            stat("Transaction ids used per second", "Average of the range.",
                 f"SELECT sum(x / seconds) AS \"xids\"\n  FROM (SELECT source_id, sum(seconds) AS seconds FROM {covered('transaction_ids', WHOLE)}\n          WHERE {CHOSEN} GROUP BY 1) c\n  JOIN (SELECT source_id, sum(xids_assigned) AS x FROM "
                 f"{over_range('transaction_ids')} WHERE {CHOSEN} GROUP BY 1) v USING (source_id)\n  WHERE seconds > 0", unit=PER_S),
            stat("Tables due for vacuum", "Tables beyond a limit of autovacuum as they were last read.",
                 f"SELECT count(*) AS \"due\"\n  FROM ({_due()}) s", steps=[GREEN, 10, YELLOW, 50, RED]),
            chart("XID Wraparound Risk % by Database", "Transaction ids used of those until the server stops to write.",
                  increase("wraparound", {"used": "max(wraparound_percent_max)"}, by="datname"), unit=PERCENT, lowest=0, steps=USED_STEPS,
                  contract=["5.7"]),
            chart("XID Wraparound Risk Trend", "Age of the oldest transaction id of each database.",
                  increase("wraparound", {"age": "max(xid_age_max)"}, by="datname"), contract=["6.5"]),
            table("Wraparound Risk by Database", "Databases as they were last read; at risk is past autovacuum_freeze_max_age.",
                  f"WITH w AS (\n{latest('wraparound', ['datname'], {'source_id': 'source_id', 'source': 'source_name', 'database': 'datname', 'left': '100 - wraparound_percent', 'ids left': 'xids_left', 'age': 'xid_age', 'at risk': 'freeze_percent >= 100', 'read': 'time'}, hours=1)}),\n"
                  f"t AS (\n  SELECT source_id, database, count(*) AS tables FROM ({_due('is_freeze_due')}) d GROUP BY 1, 2)\n"
                  "SELECT w.source AS \"source\", w.database AS \"database\", w.left AS \"left\", w.\"ids left\", w.age AS \"age\", w.\"at risk\",\n"
                  "       coalesce(t.tables, 0) AS \"tables to freeze\", w.read AS \"read\"\n"
                  "  FROM w LEFT JOIN t USING (source_id, database)\n  ORDER BY 3", width=24, units={"left": PERCENT, "read": WHEN},
                  contract=["5.10"]),
        ],
        "What holds vacuum back": [
            table("Holders of old row versions", "Who kept vacuum from removing rows, at worst in the range.",
                  f"SELECT source_name AS \"source\", holder_class AS \"what\", holder AS \"who\", max(datname) AS \"database\", max(usename) AS "
                  f"\"user\",\n       max(application_name) AS \"application\", max(xmin_age) AS \"xids held\", min(held_since) AS \"since\"\n"
                  f"  FROM readable.xmin_holders({FROM}, {TO})\n  WHERE {CHOSEN} AND NOT gone\n  GROUP BY 1, 2, 3\n"
                  "  ORDER BY 7 DESC NULLS LAST LIMIT 20", units={"since": WHEN}),
            long_transactions(20),
        ],
        "Tables": [
            table("Dead rows", "Tables with most dead rows as they were last read, with the limit at which autovacuum begins.",
                  latest("vacuum_state", ["datname", "schemaname", "relname"], {
                      "source": "source_name", "database": "datname", "schema": "schemaname", "table": "relname", "dead rows": "dead_rows",
                      "limit": "vacuum_threshold", "rows": "rows_estimated", "all frozen": "100.0 * all_frozen_blocks / nullif(blocks, 0)",
                      "xid age": "xid_age", "due": "is_vacuum_due OR is_insert_vacuum_due OR is_freeze_due", "read": "time"},
                      where=OF_DATABASE, order="5 DESC NULLS LAST", limit=30), width=24, units={"all frozen": PERCENT, "read": WHEN}),
            chart("Vacuums", "Runs of vacuum and analyze in each step.",
                  increase("table_stats", {"autovacuum": "sum(autovacuum_count)", "vacuum": "sum(vacuum_count)",
                                           "autoanalyze": "sum(autoanalyze_count)", "analyze": "sum(analyze_count)"}, where=OF_DATABASE)),
            table("Vacuums that ran", "Seen while they ran, each at its last reading.",
                  f"SELECT DISTINCT ON (source_id, pid, relid) source_name AS \"source\", datname AS \"database\", relation AS \"table\", phase AS "
                  "\"phase\", is_autovacuum AS \"automatic\",\n       100.0 * heap_blks_scanned / nullif(heap_blks_total, 0) AS \"scanned\", "
                  f"age_us / 1e6 AS \"age\", time AS \"read\"\n  FROM readable.progress_vacuum({FROM}, {TO})\n  WHERE {CHOSEN} AND NOT gone\n"
                  "  ORDER BY source_id, pid, relid, time DESC LIMIT 50", units={"scanned": PERCENT, "age": S, "read": WHEN}),
        ],
    }, WITH_DATABASE)


def _due(which="is_vacuum_due OR is_insert_vacuum_due OR is_freeze_due"):
    return latest("vacuum_state", ["datname", "schemaname", "relname"], {"source_id": "source_id", "database": "datname", "table": "relname"},
                  where=OF_DATABASE, outer=f"({which})")


def tables():
    table_label = "concat_ws(' ', source_name, datname, schemaname || '.' || relname)"
    size_keys = ["datname", "schemaname", "relname"]
    growth = ("SELECT source_name AS \"source\", datname AS \"database\", schemaname AS \"schema\", relname AS \"table\",\n"
              "       (array_agg(total_bytes ORDER BY read_at DESC))[1] AS \"size\",\n"
              "       (array_agg(total_bytes ORDER BY read_at DESC))[1] - (array_agg(total_bytes ORDER BY read_at))[1] AS \"growth\"\n"
              f"  FROM readable.table_size({TO}::timestamptz - greatest({RANGE}, interval '25 hours'), {TO}, {WHOLE})\n"
              f"  WHERE {CHOSEN} AND {OF_DATABASE} AND total_bytes IS NOT NULL\n  GROUP BY source_id, 1, 2, 3, 4\n"
              "  ORDER BY 6 DESC NULLS LAST LIMIT 20")
    return dashboard("pga-tables", "pgAnalytics / Tables and bloat", "Sizes, scans and space that could be freed.", {
        "Size": [
            pie("Top 15 Tables by Size", "With indexes and TOAST, as last read.",
                latest("table_size", size_keys, {"name": table_label, "size": "total_bytes"}, where=OF_DATABASE,
                       order="2 DESC NULLS LAST", limit=15), unit=BYTES, contract=["9.1"]),
            table("Growth", "Tables that grew most in the range, a day at least.", growth, units={"size": BYTES, "growth": BYTES}),
            table("Largest indexes", "As last read.",
                  latest("index_size", ["datname", "schemaname", "relname", "indexrelname"],
                         {"source": "source_name", "database": "datname", "table": "relname", "index": "indexrelname", "size": "size_bytes"},
                         where=OF_DATABASE, order="5 DESC NULLS LAST", limit=20), units={"size": BYTES}),
            chart("Size of databases", "As read.", average("database_size", "size_bytes", "size", by="datname", where=OF_DATABASE), unit=BYTES),
        ],
        "Use": [
            table("Tables with High Sequential Scans", "Rows that sequential scans read in the range.",
                  total("table_stats", {"scans": "sum(seq_scan)", "rows read": "sum(seq_tup_read)",
                                        "rows per scan": "sum(seq_tup_read) / nullif(sum(seq_scan), 0)", "index scans": "sum(idx_scan)"},
                        {"source": "source_name", "database": "datname", "schema": "schemaname", "table": "relname"}, OF_DATABASE,
                        having="sum(seq_scan) > 0", order="6 DESC NULLS LAST", limit=20), contract=["9.3"]),
            pie("Top Indexes by Scans", "Scans in the range.",
                by_name("index_stats", "concat_ws(' ', source_name, datname, indexrelname)", "scans", "sum(idx_scan)", 15, OF_DATABASE),
                contract=["9.2"]),
            table("Indexes nobody used", "No scan in the range, constraints left out, as far as readings cover it; largest first.",
                  "WITH u AS (\n  SELECT source_id, database_oid, datname, schemaname, relname, indexrelname, sum(idx_scan) AS scans\n"
                  f"    FROM {over_range('index_stats')}\n    WHERE {CHOSEN} AND {OF_DATABASE}\n    GROUP BY 1, 2, 3, 4, 5, 6\n    HAVING sum(idx_scan) > 0),\n"
                  "s AS (\n" + latest("index_size", ["datname", "schemaname", "relname", "indexrelname"],
                                      {"source_id": "source_id", "source_name": "source_name", "database_oid": "database_oid",
                                       "datname": "datname", "schemaname": "schemaname", "relname": "relname",
                                       "indexrelname": "indexrelname", "bytes": "size_bytes"}, where=OF_DATABASE) + "),\n"
                  "k AS (\n" + latest("index_definitions", ["datname", "schemaname", "relname", "indexrelname"],
                                      {"source_id": "source_id", "database_oid": "database_oid", "datname": "datname",
                                       "schemaname": "schemaname", "relname": "relname", "indexrelname": "indexrelname"},
                                      where=OF_DATABASE, outer="constraint_name IS NULL AND NOT is_unique") + ")\n"
                  "SELECT s.source_name AS \"source\", s.datname AS \"database\", s.schemaname AS \"schema\", s.relname AS \"table\", s.indexrelname "
                  "AS \"index\", s.bytes AS \"size\"\n"
                  "  FROM s JOIN k USING (source_id, database_oid, datname, schemaname, relname, indexrelname)\n"
                  "  LEFT JOIN u USING (source_id, database_oid, datname, schemaname, relname, indexrelname)\n"
                  "  WHERE u.scans IS NULL\n  ORDER BY 6 DESC NULLS LAST LIMIT 20", units={"size": BYTES}),
            chart("Rows changed", "Rows inserted, updated and deleted a second.",
                  rate("table_stats", {"inserted": "sum(n_tup_ins)", "updated": "sum(n_tup_upd)", "deleted": "sum(n_tup_del)"}, where=OF_DATABASE),
                  unit=PER_S),
            chart("Rows read", "Rows a second by sequential and by index scans.",
                  rate("table_stats", {"sequential": "sum(seq_tup_read)", "index": "sum(idx_tup_fetch)"}, where=OF_DATABASE), unit=PER_S),
            chart("Table cache hit ratio", "Share of heap and index blocks of tables found in shared buffers.",
                  increase("table_stats", {"hit ratio": "100.0 * sum(heap_blks_hit + idx_blks_hit) / nullif(sum(heap_blks_hit + idx_blks_hit "
                                                        "+ heap_blks_read + idx_blks_read), 0)"}, where=OF_DATABASE),
                  unit=PERCENT, lowest=0, highest=100, steps=HIT_STEPS),
        ],
        "Bloat": [
            table("Table bloat", "Estimated space that is neither rows nor meant to be free, as last read.",
                  latest("bloat_tables", size_keys, {"source": "source_name", "database": "datname", "schema": "schemaname",
                                                     "table": "relname", "size": "table_bytes", "bloat": "bloat_bytes",
                                                     "share": "bloat_percent"}, where=OF_DATABASE, order="6 DESC NULLS LAST", limit=20),
                  units={"size": BYTES, "bloat": BYTES, "share": PERCENT}),
            table("Index bloat", "Estimated space of B-tree indexes beyond what their entries need, as last read.",
                  latest("bloat_indexes", ["datname", "schemaname", "relname", "indexrelname"],
                         {"source": "source_name", "database": "datname", "table": "relname", "index": "indexrelname", "size": "index_bytes",
                          "bloat": "bloat_bytes", "share": "bloat_percent"}, where=OF_DATABASE, order="6 DESC NULLS LAST", limit=20),
                  units={"size": BYTES, "bloat": BYTES, "share": PERCENT}),
            table("Sequences", "How far they are from their end, as last read.",
                  latest("sequences", ["datname", "schemaname", "relname"],
                         {"source": "source_name", "database": "datname", "sequence": "relname", "used": "used_percent", "left": "values_left",
                          "fills": "concat_ws('.', owner_table, owner_column)"}, where=OF_DATABASE, order="4 DESC NULLS LAST", limit=20),
                  units={"used": PERCENT}),
        ],
    }, WITH_DATABASE)


def activity():
    return dashboard("pga-activity", "pgAnalytics / Activity and locks", "What sessions did, second by second, and who held whom.", {
        "Sessions": [
            chart("Active sessions by wait", "Sessions that ran or waited, on average, by what they waited for; CPU is no wait.",
                  sessions(WAIT), unit=PLAIN, stack=True, width=24),
            chart("Active sessions by database", "On average.", sessions("coalesce(datname, '')"), unit=PLAIN, stack=True),
            chart("Sessions by state", "Client sessions, on average.",
                  sessions("coalesce(state, 'unknown')", where="backend_type = 'client backend'"), unit=PLAIN, stack=True),
            bars("Wait events", "Average active sessions in the range by what they waited for.", _waits(), unit=PLAIN),
            table("Statements by time active", "Sessions that were seen running a statement, on average over the range.",
                  f"SELECT v.source_name AS \"source\", v.datname AS \"database\", v.query AS \"query\", v.wait AS \"waits most for\", "
                  "v.weighted / nullif(c.readings, 0) AS \"sessions\"\n"
                  "  FROM (SELECT source_id, source_name, datname, query_id::text AS query, mode() WITHIN GROUP (ORDER BY coalesce(nullif(wait_event, ''), 'CPU')) AS wait,\n"
                  f"               sum(sessions_avg_sum) AS weighted\n          FROM {over_range('activity')}\n"
                  f"          WHERE {CHOSEN} AND state = 'active' AND query_id IS NOT NULL\n          GROUP BY 1, 2, 3, 4) v\n"
                  f"  JOIN (SELECT source_id, sum(readings) AS readings FROM {covered('activity', WHOLE)} GROUP BY 1) c "
                  "USING (source_id)\n  ORDER BY 5 DESC NULLS LAST LIMIT 20", links=TEXT_LINK),
        ],
        "Locks": [
            chart("Sessions that wait for locks", "On average.",
                  sessions(None, where="wait_event_type = 'Lock'"), unit=PLAIN, steps=[GREEN, 5, YELLOW, 10, RED]),
            chart("Locks by mode", "Locks held, on average, the ten most frequent modes.",
                  rate("locks", {"locks": "sum(locks_sum)"}, by="lock_mode", where="is_granted", keep=10, per="readings", absent_is_zero=True),
                  unit=PLAIN),
            blockers(30),
            chart("Seconds of waiting", "Length of the waits for locks that ended in each step.",
                  f"SELECT $__timeGroup(time, '$interval') AS time, source_name AS metric, sum(blocked_us) / 1e6 AS \"seconds\"\n"
                  f"  FROM readable.blocking({FROM}, {TO})\n  WHERE {CHOSEN} AND ended\n  GROUP BY 1, 2\n  ORDER BY 1, 2", unit=S),
            long_transactions(30),
            chart("Deadlocks", "In each step.", increase("database", {"deadlocks": "sum(deadlocks)"})),
        ],
    }, COMMON, hours=3)


def _waits():
    return (f"SELECT concat_ws(' ', v.source_name, v.wait) AS \"name\", v.weighted / nullif(c.readings, 0) AS \"sessions\"\n"
            "  FROM (SELECT source_id, source_name, coalesce(nullif(wait_event_type || ': ' || wait_event, ': '), 'CPU') AS wait, sum(sessions_avg_sum) AS weighted\n"
            f"          FROM {over_range('activity')}\n          WHERE {CHOSEN} AND state = 'active' AND backend_type = 'client backend'\n"
            f"          GROUP BY 1, 2, 3) v\n"
            f"  JOIN (SELECT source_id, sum(readings) AS readings FROM {covered('activity', WHOLE)} GROUP BY 1) c "
            "USING (source_id)\n  ORDER BY 2 DESC NULLS LAST LIMIT 15")


def connections():
    return dashboard("pga-connections", "pgAnalytics / Connections and databases", "Sessions by who they are, and what databases did.", {
        "Connections": [
            chart("Connections by database", "Sessions of clients, on average.",
                  rate("connections", {"sessions": "sum(sessions_sum)"}, by="coalesce(datname, '')", per="readings", absent_is_zero=True), unit=PLAIN, stack=True),
            chart("Connections by user", "Sessions of clients, on average.",
                  rate("connections", {"sessions": "sum(sessions_sum)"}, by="coalesce(usename, '')", per="readings", absent_is_zero=True), unit=PLAIN, stack=True),
            bars("Connections used", "Backends of the newest reading, of max_connections.", _connections_used(), unit=PERCENT, lowest=0, highest=100,
                 steps=USED_STEPS),
            table("Clients", "Who is connected, as last read.",
                  latest("connections", ["datname", "usename", "application_name", "client_addr", "backend_type", "is_ssl", "ssl_version"],
                         {"source": "source_name", "database": "datname", "user": "usename", "application": "application_name",
                          "client": "client_addr", "TLS": "coalesce(ssl_version, CASE WHEN is_ssl THEN 'yes' WHEN NOT is_ssl THEN 'no' END)",
                          "sessions": "sessions", "oldest": "oldest_age_us / 1e6", "read": "time"}, hours=1, order="7 DESC NULLS LAST", limit=50),
                  units={"oldest": S, "read": WHEN}),
            chart("Sessions begun", "Sessions a second, and those that ended badly.",
                  rate("database", {"begun": "sum(sessions)", "abandoned": "sum(sessions_abandoned)", "fatal": "sum(sessions_fatal)",
                                    "killed": "sum(sessions_killed)"}), unit=PER_S),
            chart("Idle in transaction", "Seconds a second that sessions spent so.",
                  rate("database", {"idle in transaction": "sum(idle_in_transaction_time_us) / 1e6", "active": "sum(active_time_us) / 1e6"}), unit=PLAIN),
        ],
        "Databases": [
            table("Database-level Statistics", "Each database over the range; connections on average.",
                  total("database", {"connections": "sum(numbackends_sum)::float8 / nullif(sum(numbackends_count), 0)", "commits": "sum(xact_commit)",
                                     "rollbacks": "sum(xact_rollback)", "cache hits": "sum(blks_hit)", "cache misses": "sum(blks_read)",
                                     "hit ratio": DATABASE_HIT, "deadlocks": "sum(deadlocks)", "temporary files": "sum(temp_bytes)"},
                        {"source": "source_name", "database": "datname"}, OF_DATABASE, order="1, 2"),
                  width=24, units={"hit ratio": PERCENT, "temporary files": BYTES}, contract=["9.4"]),
            chart("Commits", "A second, by database.", rate("database", {"commits": "sum(xact_commit)"}, by="datname", where=OF_DATABASE), unit=PER_S),
            chart("Rollback share", "Rollbacks of all transactions.",
                  increase("database", {"rollbacks": "100.0 * sum(xact_rollback) / nullif(sum(xact_commit) + sum(xact_rollback), 0)"}, by="datname",
                           where=OF_DATABASE), unit=PERCENT, lowest=0, highest=100),
            chart("Cache hit ratio", "Share of blocks found in shared buffers.", increase("database", {"hit ratio": DATABASE_HIT}, by="datname",
                                                                                          where=OF_DATABASE),
                  unit=PERCENT, lowest=0, highest=100, steps=HIT_STEPS),
            chart("Rows", "Rows a second that databases returned, fetched and changed.",
                  rate("database", {"returned": "sum(tup_returned)", "fetched": "sum(tup_fetched)",
                                    "changed": "sum(tup_inserted + tup_updated + tup_deleted)"}, where=OF_DATABASE), unit=PER_S),
        ],
    }, WITH_DATABASE)


def _connections_used():
    limit = latest("settings", ["setting_name"], {"source_id": "source_id", "value": "setting_value::float8"}, where="setting_name = 'max_connections'")
    return ("WITH m AS (\n" + limit + "),\nb AS (\n"
            "  SELECT DISTINCT ON (source_id) source_id, source_name, time, sum(numbackends) AS used\n"
            f"    FROM readable.database({TO}::timestamptz - interval '1 hour', {TO})\n    WHERE {CHOSEN} AND kind = 'delta'\n"
            "    GROUP BY source_id, source_name, time\n    ORDER BY source_id, time DESC)\n"
            "SELECT b.source_name AS \"name\", 100.0 * b.used::float8 / nullif(m.value, 0) AS \"used\"\n  FROM b JOIN m USING (source_id)\n  ORDER BY 2 DESC NULLS LAST")


def host():
    def share(sql):
        return f"100.0 * sum({sql}) / nullif(sum({PROCESSOR_TIME}), 0)"
    return dashboard("pga-host", "pgAnalytics / System", "The host of each collector: processors, memory, disks, network.", {
        "Processors": [
            chart("Processor time", "By kind, of all processors.",
                  increase("host_cpu", {"user": share("user_us + nice_us"), "system": share("system_us"), "waiting for I/O": share("iowait_us"),
                                        "interrupts": share("irq_us + softirq_us"), "stolen": share("steal_us")}),
                  unit=PERCENT, lowest=0, highest=100, stack=True),
            chart("Load average", "Of one minute, and processors.",
                  increase("host_cpu", {"load": "sum(load_1m_sum) / nullif(sum(load_1m_count), 0)", "processors": "max(cpus_max)"}), unit=PLAIN),
            chart("Pressure", "Share of the time in which some work was held up.",
                  rate("host_pressure", {"held up": "sum(stalled_us) / 1e4"}, by="resource", where="degree = 'some'"), unit=PERCENT, lowest=0),
            chart("Context switches", "A second.", rate("host_cpu", {"switches": "sum(context_switches)"}), unit=PER_S),
        ],
        "Memory": [
            chart("Memory", "In use and available, on average.",
                  increase("host_memory", {"available": "sum(available_bytes_sum) / nullif(sum(available_bytes_count), 0)",
                                           "cached": "sum(cached_bytes_sum) / nullif(sum(cached_bytes_count), 0)",
                                           "total": "max(total_bytes_max)"}), unit=BYTES),
            chart("Swapping", "Pages a second.", rate("host_memory", {"in": "sum(swap_in_pages)", "out": "sum(swap_out_pages)"}), unit=PER_S),
            chart("Control group", "Memory and its limit, of the collector's own group.",
                  increase("host_cgroup", {"memory": "max(memory_bytes_max)", "limit": "max(memory_limit_bytes_max)"}), unit=BYTES),
            chart("Held up by the control group", "Seconds a second that processes waited for their share of processors.",
                  rate("host_cgroup", {"throttled": "sum(cpu_throttled_us) / 1e6"}), unit=PLAIN),
        ],
        "Disks and network": [
            chart("Disk throughput", "Bytes a second.", rate("host_disk", {"read": "sum(read_bytes)", "written": "sum(write_bytes)"}, by="device"), unit=BPS),
            chart("Disks busy", "Share of the time with a request under way.", rate("host_disk", {"busy": "sum(busy_time_us) / 1e4"}, by="device"),
                  unit=PERCENT, lowest=0),
            chart("Time per request", "Of reads and writes.",
                  increase("host_disk", {"read": "sum(read_time_us) / nullif(sum(reads), 0) / 1000.0",
                                         "write": "sum(write_time_us) / nullif(sum(writes), 0) / 1000.0"}, by="device"), unit=MS),
            chart("Network", "Bytes a second.",
                  rate("host_network", {"received": "sum(received_bytes)", "sent": "sum(sent_bytes)"}, by="interface"), unit=BPS),
            filesystems(),
            chart("Space left", "Available to ordinary programs, at least in each step.",
                  increase("host_filesystem", {"available": "min(available_bytes_min)"}, by="mountpoint"), unit=BYTES),
        ],
    }, COMMON)


def resources():
    by_user = "coalesce(username, '')"
    return dashboard("pga-resources", "pgAnalytics / Statement resources", "Local and temporary blocks, WAL, planning: by user.", {
        "By user": [
            table("Local Buffer Metrics by User", "Blocks of temporary tables in the range.",
                  total("statements", {"hit": "sum(local_blks_hit)", "read": "sum(local_blks_read)", "dirtied": "sum(local_blks_dirtied)",
                                       "written": "sum(local_blks_written)"}, {"source": "source_name", "user": by_user}, order="3 DESC NULLS LAST"),
                  contract=["8.1"]),
            chart("Temporary Storage Usage", "Blocks of temporary files a second.",
                  rate("statements", {"read": "sum(temp_blks_read)", "written": "sum(temp_blks_written)"}, by=by_user), unit=PER_S, contract=["8.2"]),
            chart("WAL Activity", "WAL of statements: records and full page images a second, megabytes a second.",
                  rate("statements", {"records": "sum(wal_records)", "full pages": "sum(wal_fpi)", "MB": "sum(wal_bytes) / 1048576.0"}), unit=PER_S,
                  contract=["8.3"]),
            table("Query Planning Time by User", "Needs pg_stat_statements.track_planning; unknown where nothing was planned.",
                  total("statements", {"plans": "sum(plans)", "avg": "sum(total_plan_time_us) / nullif(sum(plans), 0) / 1000.0",
                                       "total": "sum(total_plan_time_us) / 1e6"}, {"source": "source_name", "user": by_user}, order="5 DESC NULLS LAST"),
                  units={"avg": MS, "total": S}, contract=["8.4"]),
            table("Time by user", "Execution in the range.",
                  total("statements", {"total": "sum(total_exec_time_us) / 1e6", "calls": "sum(calls)", "rows": "sum(rows)", "WAL": "sum(wal_bytes)"},
                        {"source": "source_name", "user": by_user}, order="3 DESC NULLS LAST"), units={"total": S, "WAL": BYTES}),
            chart("Compiling", "Seconds a second spent in just-in-time compilation.",
                  rate("statements", {"JIT": "sum(jit_generation_time_us + jit_inlining_time_us + jit_optimization_time_us + jit_emission_time_us) / 1e6"}),
                  unit=PLAIN),
        ],
    }, COMMON)


def io_and_wal():
    return dashboard("pga-io", "pgAnalytics / I/O and WAL", "Blocks, files and WAL.", {
        "WAL": [
            chart("WAL Growth Rate MB/hour", "WAL written, megabytes an hour.",
                  rate("wal", {"WAL": "sum(position_bytes) * 3600.0 / 1048576"}), unit="decmbytes", contract=["6.2"]),
            chart("WAL Directory Size Over Time", "Bytes of WAL files on disk.",
                  increase("wal", {"size": "max(directory_bytes_max)"}), unit=BYTES, contract=["5.6"]),
            chart("WAL Segments Analysis", "WAL files on disk.", increase("wal", {"segments": "max(segments_max)"}), contract=["6.3"]),
            chart("WAL records", "Records and full page images a second.",
                  rate("wal", {"records": "sum(wal_records)", "full pages": "sum(wal_fpi)"}), unit=PER_S),
            table("WAL Status History", "The newest fifty steps.",
                  f"SELECT time AS \"time\", source_name AS \"source\", sum(position_bytes) AS \"WAL\", sum(wal_records) AS \"records\", sum(wal_fpi) AS "
                  f"\"full pages\",\n       max(segments_max) AS \"segments\", max(directory_bytes_max) AS \"on disk\"\n  FROM {stepped('wal')}\n"
                  f"  WHERE {CHOSEN}\n  GROUP BY 1, 2\n  ORDER BY 1 DESC, 2 LIMIT 50", width=24,
                  units={"WAL": BYTES, "on disk": BYTES, "time": WHEN}, contract=["6.7"]),
        ],
        "Blocks": [
            chart("Reads and writes by kind of process", "Bytes a second, from pg_stat_io (PostgreSQL 16 and later).",
                  rate("io", {"read": "sum(read_bytes)", "written": "sum(write_bytes)"}, by="backend_type"), unit=BPS),
            chart("Time of reads and writes", "Seconds a second, from pg_stat_io (PostgreSQL 16 and later)." + MEASURED_IO,
                  rate("io", {"read": "sum(read_time_us) / 1e6", "write": "sum(write_time_us) / 1e6", "sync": "sum(fsync_time_us) / 1e6"}), unit=PLAIN),
            chart("Blocks of databases", "Blocks a second from shared buffers and from the system.",
                  rate("database", {"hit": "sum(blks_hit)", "read": "sum(blks_read)"}), unit=PER_S),
            chart("Temporary files", "Bytes a second written to temporary files.", rate("database", {"written": "sum(temp_bytes)"}), unit=BPS),
            chart("Time of block reads and writes", "Seconds a second." + MEASURED_IO,
                  rate("database", {"read": "sum(blk_read_time_us) / 1e6", "write": "sum(blk_write_time_us) / 1e6"}), unit=PLAIN),
            chart("SLRU caches", "Share of blocks found in their caches.",
                  increase("slru", {"hit ratio": "100.0 * sum(blks_hit) / nullif(sum(blks_hit) + sum(blks_read), 0)"}, by="slru"), unit=PERCENT,
                  lowest=0, highest=100),
        ],
    }, COMMON)


def checkpoints():
    return dashboard("pga-checkpoints", "pgAnalytics / Checkpoints and archiving", "Checkpoints, the background writer, archived WAL.", {
        "Checkpoints": [
            chart("Checkpoints", "In each step, by what began them.",
                  increase("checkpointer", {"timed": "sum(checkpoints_timed)", "requested": "sum(checkpoints_requested)"})),
            chart("Time of checkpoints", "Seconds a second writing and syncing.",
                  rate("checkpointer", {"write": "sum(write_time_us) / 1e6", "sync": "sum(sync_time_us) / 1e6"}), unit=PLAIN),
            chart("Buffers written by checkpoints", "A second.", rate("checkpointer", {"buffers": "sum(buffers_written)"}), unit=PER_S),
            table("Last checkpoint", "As last read from the control file.",
                  f"SELECT DISTINCT ON (source_id) source_name AS \"source\", last_checkpoint_at AS \"began\",\n"
                  f"       extract(epoch FROM {TO}::timestamptz - last_checkpoint_at) AS \"age\", time AS \"read\"\n"
                  f"  FROM readable.checkpointer({TO}::timestamptz - interval '1 hour', {TO})\n  WHERE {CHOSEN}\n"
                  "  ORDER BY source_id, time DESC",
                  units={"began": WHEN, "age": S, "read": WHEN}),
        ],
        "Background writer": [
            chart("Buffers", "Allocated, cleaned by the writer and written by backends, a second.",
                  rate("bgwriter", {"allocated": "sum(buffers_alloc)", "cleaned": "sum(buffers_clean)", "by backends": "sum(buffers_backend)"}), unit=PER_S),
            chart("Writer stopped early", "Times in each step that the writer had written all it may.",
                  increase("bgwriter", {"stopped": "sum(maxwritten_clean)"})),
        ],
        "Archiving": [
            chart("WAL files archived", "Archived and failed, in each step.",
                  increase("archiver", {"archived": "sum(archived_count)", "failed": "sum(failed_count)"})),
            chart("Files that wait to be archived", "Most in each step.", increase("archive_queue", {"waiting": "max(files_ready_max)"})),
        ],
    }, COMMON)


def logs():
    errors = "severity IN ('ERROR', 'FATAL', 'PANIC')"
    return dashboard("pga-logs", "pgAnalytics / Server log", "Entries of the servers' logs. The last ones need the data source of "
                     "login pganalytics_reader_texts.", {
        "Entries": [
            chart("Entries by severity", "A second.", rate("log_counts", {"entries": "sum(entries)"}, by="severity"), unit=PER_S, stack=True),
            chart("Errors by class", "A second; the ten classes with most of them.",
                  rate("log_counts", {"entries": "sum(entries)"}, by="class", where=errors, keep=10), unit=PER_S, stack=True),
            table("Classes", "Over the range; those not kept are counted here and not among the entries.",
                  total("log_counts", {"entries": "sum(entries)", "not kept": "sum(left_out)", "durations": "sum(duration_us) / 1e6"},
                        {"source": "source_name", "class": "class", "severity": "severity", "SQLSTATE": "sqlstate"},
                        having="sum(entries) > 0", order="5 DESC", limit=50), units={"durations": S}, width=24),
        ],
        "What they are about": [
            chart("Waits for locks and deadlocks", "Entries in each step (log_lock_waits).",
                  increase("log_counts", {"entries": "sum(entries)"}, by="class", where="class IN ('lock_wait', 'deadlock_detected')")),
            chart("Temporary files", "Bytes in each step (log_temp_files).",
                  increase("log_counts", {"written": "sum(bytes)"}, where="class = 'temporary_file'"), unit=BYTES),
        ],
        "Last errors": [
            table("Errors", "The newest fifty; ? stands for what is not kept.",
                  "SELECT at AS \"written\", source_name AS \"source\", severity AS \"severity\", class AS \"class\", sqlstate AS \"SQLSTATE\",\n"
                  "       datname AS \"database\", usename AS \"user\", message AS \"message\", statement AS \"statement\"\n"
                  f"  FROM readable.log_events({SINCE}, {TO})\n  WHERE {CHOSEN} AND {errors}\n  ORDER BY at DESC LIMIT 50",
                  units={"written": WHEN}, width=24, source=TEXTS),
        ],
    }, [DATASOURCE, TEXTS_SOURCE, SOURCE, STEP])


def changes():
    # The range against the same span before it.
    before = f"({SINCE}) - {SPAN}"
    keys = "source_id, source_name, userid, dbid, queryid, toplevel"

    def span(since, until):
        return (f"  SELECT {keys}, max(coalesce(datname, '')) AS datname, sum(calls) AS calls,\n"
                "         sum(total_exec_time_us)::float8 / nullif(sum(calls), 0) AS mean\n"
                f"    FROM readable.statements({since}, {until}, {WHOLE})\n    WHERE {CHOSEN}\n    GROUP BY {keys}")
    slower = (f"WITH now AS (\n{span(SINCE, TO)}),\nbefore AS (\n{span(before, SINCE)})\n"
              "SELECT n.source_name AS \"source\", n.datname AS \"database\", n.queryid::text AS \"query\", n.calls AS \"calls\",\n"
              "       n.mean / 1000 AS \"mean\", b.mean / 1000 AS \"mean before\", n.mean / nullif(b.mean, 0) AS \"factor\",\n"
              "       n.calls * (n.mean - b.mean) / 1e6 AS \"cost\"\n"
              "  FROM now n JOIN before b USING (source_id, userid, dbid, queryid, toplevel)\n  WHERE n.mean > b.mean")
    return dashboard("pga-changes", "pgAnalytics / What changed", "The range against the same span before it, habits, and where an index "
                     "may help.", {
        "Slower than before": [
            table("Query Anomalies", "Statements whose mean time grew against the same span before; cost is the time that this added.",
                  slower + "\n  ORDER BY 8 DESC NULLS LAST LIMIT 20", width=16, links=TEXT_LINK,
                  units={"mean": MS, "mean before": MS, "cost": S}, contract=["7.1"]),
            pie("Anomalies by Severity", "Statements that became slower, by factor.",
                "SELECT CASE WHEN factor >= 10 THEN 'ten times and more' WHEN factor >= 5 THEN 'five to ten times'\n"
                "            WHEN factor >= 2 THEN 'two to five times' ELSE 'less than twice' END AS \"name\",\n"
                f"       count(*) AS \"statements\"\n  FROM ({slower}) s\n  GROUP BY 1\n  ORDER BY 2 DESC", width=8, contract=["7.2"]),
        ],
        "Habits": [
            table("Detected Workload Patterns", "Calls of statements a second by hour of the day (UTC), over the range.",
                  "SELECT extract(hour FROM c.time AT TIME ZONE 'UTC')::int AS \"hour\", c.source_name AS \"source\",\n"
                  "       sum(coalesce(v.calls, 0)) / sum(c.seconds) AS \"calls/s\", sum(coalesce(v.us, 0)) / 1e6 / sum(c.seconds) AS \"load\"\n"
                  f"  FROM {covered('statements', HOURLY)} c\n"
                  "  LEFT JOIN (SELECT time, source_id, sum(calls) AS calls, sum(total_exec_time_us) AS us\n"
                  f"               FROM {stepped('statements', HOURLY)}\n               WHERE {CHOSEN} GROUP BY 1, 2) v "
                  "USING (time, source_id)\n"
                  f"  WHERE c.{CHOSEN} AND c.seconds > 0\n  GROUP BY 1, c.source_id, 2\n  ORDER BY 1, 2",
                  units={"calls/s": PER_S}, contract=["7.3"]),
            chart("Statements that are new", "Different statements that ran in each step.",
                  increase("statements", {"statements": "count(DISTINCT (userid, dbid, queryid, toplevel))"}, where="calls > 0")),
        ],
        "Where an index may help": [
            table("Top Index Recommendations", "Tables of which sequential scans read most rows, a thousand a scan at least: candidates, "
                  "to be looked at with their statements.",
                  total("table_stats", {"scans": "sum(seq_scan)", "rows per scan": "sum(seq_tup_read) / nullif(sum(seq_scan), 0)",
                                        "rows read": "sum(seq_tup_read)",
                                        "share of scans": "100.0 * sum(seq_scan) / nullif(sum(seq_scan) + coalesce(sum(idx_scan), 0), 0)"},
                        {"source": "source_name", "database": "datname", "schema": "schemaname", "table": "relname"},
                        having="sum(seq_tup_read) >= 1000 * sum(seq_scan) AND sum(seq_scan) > 0", order="7 DESC NULLS LAST", limit=20),
                  units={"share of scans": PERCENT}, width=24, contract=["7.4"]),
        ],
        "Settings": [
            table("Settings that are not the built-in ones", "As last read.",
                  latest("settings", ["setting_name"], {"source": "source_name", "setting": "setting_name", "value": "setting_value",
                                                        "unit": "setting_unit", "built-in": "boot_value", "from": "source",
                                                        "restart needed": "pending_restart", "read": "time"},
                         outer="setting_value IS DISTINCT FROM boot_value", order="1, 2", limit=500), width=24, units={"read": WHEN}),
        ],
    }, COMMON)


def suite():
    job = 'job=~"$job"'

    def per_second(name, by="instance", more=""):
        return f"sum by ({by}) (rate({name}{{{job}{more}}}[$__rate_interval]))"

    def quantile(name, share, by=""):
        return f"histogram_quantile({share}, sum by (le{', ' + by if by else ''}) (rate({name}_bucket{{{job}}}[$__rate_interval])))"

    def worst(name):
        return f"max by (instance) ({name}{{{job}}})"

    def page(kind, title, description, *queries, **more):
        return kind(title, description, list(queries), source=PROMETHEUS, **more)
    jobs = {"name": "job", "label": "Job", "type": "query", "query": {"query": "label_values(process_start_time_seconds, job)",
                                                                      "refId": "job", "qryType": 1},
            "datasource": PROMETHEUS, "includeAll": True, "multi": True,
            "options": [], "refresh": 2, "regex": "pganalytics.*", "sort": 1, "hide": 0, "skipUrlSync": False,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return dashboard("pga-suite", "pgAnalytics / The suite itself", "Services and collectors by what they say at /metrics.", {
        "State": [
            page(stat, "Scraped", "Processes that answered the last scrape.", (f"sum(up{{{job}}})", "up"), per_row=False, instant=True),
            page(stat, "Collectors connected", "Collectors whose stream to ingest is open.",
                 (f"sum(pga_collector_backend_up{{{job}}})", "connected"), per_row=False, instant=True),
            page(stat, "Sources up", "Sources that their collector is connected to.",
                 (f"sum(pga_collector_source_up{{{job}}})", "up"), per_row=False, instant=True),
            page(stat, "Oldest batch in a spool", "Age of the oldest batch that is not acknowledged.",
                 (f"max(pga_collector_spool_oldest_pending_seconds{{{job}}})", "age"), unit=S, per_row=False, instant=True,
                 steps=[GREEN, 60, YELLOW, 600, RED]),
        ],
        "Taking in": [
            page(chart, "Rows stored", "Rows a second that ingest committed.", (per_second("pga_ingest_rows_total"), "{{instance}}"), unit=PER_S),
            page(chart, "Batches", "Batches a second by what became of them.",
                 (per_second("pga_ingest_batches_total", "outcome"), "{{outcome}}"), unit=PER_S),
            page(chart, "Time to the commit", "From a batch's arrival to its commit.", (quantile("pga_ingest_ack_seconds", 0.5), "p50"),
                 (quantile("pga_ingest_ack_seconds", 0.99), "p99"), unit=S),
            page(chart, "Queue", "Batches that wait for a writer.", (worst("pga_ingest_queue_batches"), "{{instance}}")),
            page(chart, "Refused", "Rejected and refused batches a second.", (per_second("pga_ingest_rejects_total"), "rejected {{instance}}"),
                 (per_second("pga_ingest_queue_refused_total"), "queue full {{instance}}"), unit=PER_S),
            page(chart, "Streams", "Open streams of collectors.", (worst("pga_ingest_streams"), "{{instance}}")),
        ],
        "Collectors": [
            page(chart, "Readings", "Readings a second, and those that failed.", (per_second("pga_collector_collections_total"), "taken {{instance}}"),
                 (per_second("pga_collector_collection_failures_total"), "failed {{instance}}"), unit=PER_S),
            page(chart, "Spools", "Bytes on disk, and the limit.", (worst("pga_collector_spool_bytes"), "{{instance}}"),
                 (worst("pga_collector_spool_limit_bytes"), "limit {{instance}}"), unit=BYTES),
            page(chart, "Batches not acknowledged", "In the spools.", (worst("pga_collector_spool_pending_batches"), "{{instance}}")),
            page(chart, "Refused by the spool", "Batches since the start of the collector.",
                 (worst("pga_collector_spool_refused_batches"), "{{instance}}")),
            page(chart, "Metrics that cannot be read", "Metrics of a source that rest after an error or lack a right.",
                 (f"max by (instance, source) (pga_collector_metrics_missing{{{job}}})", "{{instance}} {{source}}")),
            page(chart, "Clock", "Clock of the suite less that of the collector.",
                 (f"max by (instance) (pga_collector_clock_offset_seconds{{{job}}})", "{{instance}}"), unit=S),
        ],
        "Answers": [
            page(chart, "HTTP requests", "A second, by class of status.",
                 (per_second("pganalytics_http_requests_total", "code"), "{{code}}"), unit=PER_S),
            page(chart, "HTTP time", "From the head of a request to the end of its answer.",
                 (quantile("pganalytics_http_request_duration_seconds", 0.5), "p50"),
                 (quantile("pganalytics_http_request_duration_seconds", 0.95), "p95"), unit=S, steps=[GREEN, 1, RED]),
            page(chart, "Time of calls between services", "p95 by method, the ten slowest.",
                 (f"topk(10, {quantile('pga_rpc_seconds', 0.95, 'method')})", "{{method}}"), unit=S),
            page(chart, "Refusals", "Failed authentications and requests over a limit, a second.",
                 (per_second("pganalytics_auth_failures_total", "reason"), "{{reason}}"),
                 (per_second("pganalytics_http_429_total"), "too many {{instance}}"), unit=PER_S),
        ],
        "Upkeep": [
            page(chart, "Lag of the compactor", "Age of the oldest frame that should have been merged.",
                 (worst("pga_compactor_lag_seconds"), "{{instance}}"), unit=S, steps=[GREEN, 7200, RED]),
            page(chart, "Frames merged", "Frames a second.", (per_second("pga_compactor_frames_total"), "{{instance}}"), unit=PER_S),
            page(chart, "Stored", "Bytes of all blocks.", (worst("pga_compactor_stored_bytes"), "{{instance}}"), unit=BYTES),
            page(chart, "Failures", "Failed runs a second, by job.",
                 (per_second("pga_compactor_job_failures_total", "exported_job"), "{{exported_job}}"), unit=PER_S),
        ],
        "Processes": [
            page(chart, "Memory", "Resident memory.", (f"process_resident_memory_bytes{{{job}}}", "{{job}} {{instance}}"), unit=BYTES),
            page(chart, "Processor", "Seconds a second.", (per_second("process_cpu_seconds_total", "job, instance"), "{{job}} {{instance}}"),
                 unit=PLAIN),
            page(chart, "Files and sockets", "Open descriptors.", (f"process_open_fds{{{job}}}", "{{job}} {{instance}}")),
            page(table, "Running since", "Start of each process.",
                 (f"process_start_time_seconds{{{job}}} * 1000", ""), instant=True, units={"Value": WHEN}),
        ],
    }, [PROMETHEUS_SOURCE, jobs], hours=6)


def all_pages():
    return [overview(), statements(), statement(), by_server(), collectors(), replication(), vacuum(), tables(), activity(), connections(), host(),
            resources(), io_and_wal(), checkpoints(), logs(), changes(), suite()]
