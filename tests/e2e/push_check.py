#!/usr/bin/env python3
"""Pushes what collectors of 3.2.0 send, and finds every value again by the API and by SQL.

push_check.py send URL REGISTRATION_SECRET STATE   pushes of every kind, repeats, several readings of one second
push_check.py again URL REGISTRATION_SECRET STATE  goes on after the suite was killed: increases, resets, repeats

ADMIN_TOKEN has a token of an administrator, METRICS_URL is the metrics database. Prints what was compared; exits 1 with
what differs.
"""
import datetime
import gzip
import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zlib

URL, SECRET, STATE = sys.argv[2:5]
ADMIN = os.environ["ADMIN_TOKEN"]
BASE = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) - datetime.timedelta(minutes=10)
compared = 0
wrong = []


def at(step):
    return (BASE + datetime.timedelta(seconds=30 * step)).strftime("%Y-%m-%dT%H:%M:%SZ")


def call(method, path, token, body=None, headers=None):
    request = urllib.request.Request(URL + path, data=body, method=method)
    request.add_header("Authorization", "Bearer " + token)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def sql(text):
    ran = subprocess.run(["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", os.environ["METRICS_URL"], "-c", text],
                         capture_output=True, text=True, check=False)
    return ran.stdout.strip() if ran.returncode == 0 else "failed: " + ran.stderr.strip()


def expect(what, wanted, got):
    global compared
    compared += 1
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        try:
            same = abs(float(got) - wanted) <= 1e-6 * max(1, abs(wanted))
        except (TypeError, ValueError):
            same = False
    else:
        same = wanted == got
    if not same:
        wrong.append(f"{what}: want {wanted!r}, got {got!r}")


def register(name):
    request = urllib.request.Request(URL + "/api/v1/collectors/register", method="POST",
                                     data=json.dumps({"name": name, "hostname": name, "collector_id": name}).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("X-Registration-Secret", SECRET)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["token"]


def plain(text):
    return text, {}


def packed(text):
    return gzip.compress(text), {"Content-Encoding": "gzip"}


def zlib_framed(text):
    return zlib.compress(text), {"Content-Encoding": "gzip"}


def gzip_in_name_only(text):
    return text, {"Content-Encoding": "gzip"}


def push(token, collector, elements, step, form=plain, host=None):
    text = json.dumps({"collector_id": collector, "hostname": host or collector, "timestamp": at(step), "version": "3.2.0",
                       "metrics_count": len(elements), "metrics": elements}).encode()
    body, headers = form(text)
    return call("POST", "/api/v1/metrics/push", token, body, headers)


COLUMNS = {metric["name"]: {column["name"]: column for column in metric["columns"]}
           for metric in call("GET", "/api/v1/catalog", ADMIN)[1]["metrics"]}


def find(metric, source, labels, column, wanted):
    """One value of one row, by the API and by SQL."""
    what = f"{source} {metric}{labels}.{column}"
    query = [("metric", metric), ("source", source), ("hours", "1")] + [("filter", f"{k}={v}") for k, v in labels.items()]
    status, answer = call("GET", "/api/v1/rows?" + urllib.parse.urlencode(query), ADMIN)
    if status != 200 or len(answer["rows"]) != 1:
        expect(what + " rows by the API", "one", (status, answer))
        return
    row = answer["rows"][0]
    got = row["numbers"].get(column, row["texts"].get(column))
    expect(what + " by the API", wanted, got)
    counter = COLUMNS[metric][column]["kind"] == "COLUMN_KIND_COUNTER"
    value = f"sum({column})" if counter else f"(array_agg({column} ORDER BY time DESC))[1]"
    condition = "".join(f" AND {k}::text = '{v}'" for k, v in labels.items())
    got = sql(f"SELECT {value} FROM readable.{metric}(now() - interval '1 hour', now() + interval '1 hour') "
              f"WHERE source_name = '{source}'{condition}")
    if isinstance(wanted, str) and COLUMNS[metric][column]["type"] == "COLUMN_TYPE_TIMESTAMPTZ":
        got = sql(f"SELECT extract(epoch FROM '{got}'::timestamptz) = extract(epoch FROM '{wanted}'::timestamptz)")
        wanted = "t"
    expect(what + " by SQL", wanted, {"t": True, "f": False}.get(got, got) if isinstance(wanted, bool) else got)


def query(hash_, calls, total, **more):
    return {"hash": hash_, "text": f"SELECT {abs(hash_)} FROM t WHERE id = $1", "calls": calls, "total_time": total,
            "mean_time": total / calls, "min_time": 0.25, "max_time": 1500.5, "stddev_time": 3.125, "rows": calls * 2,
            "shared_blks_hit": calls * 10, "shared_blks_read": calls * 3, "shared_blks_dirtied": calls, "shared_blks_written": calls + 1,
            "local_blks_hit": calls + 2, "local_blks_read": calls + 3, "local_blks_dirtied": calls + 4, "local_blks_written": calls + 5,
            "temp_blks_read": calls + 6, "temp_blks_written": calls + 7, "blk_read_time": calls * 0.5, "blk_write_time": calls * 0.25,
            "wal_records": calls * 4, "wal_fpi": calls * 5, "wal_bytes": calls * 600, **more}


# How much of each column ten more calls are, with 25.5 ms more.
TEN_CALLS = {"calls": 10, "total_exec_time_us": 25500, "rows": 20, "shared_blks_hit": 100, "shared_blks_read": 30,
             "shared_blks_dirtied": 10, "shared_blks_written": 10, "local_blks_hit": 10, "local_blks_read": 10,
             "local_blks_dirtied": 10, "local_blks_written": 10, "temp_blks_read": 10, "temp_blks_written": 10,
             "shared_blk_read_time_us": 5000, "shared_blk_write_time_us": 2500, "wal_records": 40, "wal_fpi": 50, "wal_bytes": 6000,
             "min_exec_time_us": "250", "max_exec_time_us": "1500500", "stddev_exec_time_us": "3125"}


def pg_stats(step, database="app", by=0):
    return {"type": "pg_stats", "timestamp": at(step), "database": database, "size_bytes": 8_000_000 + by,
            "transactions_committed": 1000 + by, "transactions_rolledback": 10 + by, "tuples_returned": 5000 + by,
            "tuples_fetched": 4000 + by, "tuples_inserted": 300 + by, "tuples_updated": 200 + by, "tuples_deleted": 100 + by,
            "tables": [{"schema": "public", "name": "orders", "live_tuples": 700 + by, "dead_tuples": 7 + by,
                        "modified_since_analyze": 3 + by, "size_bytes": 65536 + by, "last_vacuum": "2026-02-26 10:00:00.25+00",
                        "last_autovacuum": "2026-02-26 11:00:00+00", "last_analyze": "2026-02-26 12:00:00+00",
                        "last_autoanalyze": "", "vacuum_count": 4 + by, "autovacuum_count": 5 + by}],
            "indexes": [{"schema": "public", "name": "orders_pkey", "table": "orders", "scans": 40 + by, "tuples_read": 50 + by,
                         "tuples_returned": 60 + by, "size_bytes": 16384 + by, "status": "USED"}]}


def stats_values(source, database, by):
    table = {"datname": database, "schemaname": "public", "relname": "orders"}
    index = {**table, "indexrelname": "orders_pkey"}
    found = [("database", {"datname": database}, column, by) for column in
             ("xact_commit", "xact_rollback", "tup_returned", "tup_fetched", "tup_inserted", "tup_updated", "tup_deleted")]
    found += [("database_size", {"datname": database}, "size_bytes", 8_000_000 + by),
              ("table_stats", table, "n_live_tup", 700 + by), ("table_stats", table, "n_dead_tup", 7 + by),
              ("table_stats", table, "n_mod_since_analyze", 3 + by), ("table_stats", table, "vacuum_count", by),
              ("table_stats", table, "autovacuum_count", by), ("table_stats", table, "last_vacuum", "2026-02-26 10:00:00.25+00"),
              ("table_size", table, "total_bytes", 65536 + by), ("index_stats", index, "idx_scan", by),
              ("index_stats", index, "idx_tup_read", by), ("index_stats", index, "idx_tup_fetch", by),
              ("index_size", index, "size_bytes", 16384 + by)]
    return [(source, *value) for value in found]


def sysstat(step, by=0):
    return {"type": "sysstat", "timestamp": at(step),
            "cpu": {"user": 12.5 + by, "system": 3.25, "idle": 80.25, "iowait": 4, "load_1m": 0.5 + by, "load_5m": 0.25, "load_15m": 0.125},
            "memory": {"total_mb": 16000, "free_mb": 4000 + by, "cached_mb": 3000, "used_mb": 9000},
            "disk_io": [{"device": "sda", "read_ops": 100 + by, "write_ops": 200 + by, "read_sectors": 1000 + by, "write_sectors": 2000 + by}]}


def log(step, lines):
    return {"type": "pg_log", "timestamp": at(step), "database": "postgres",
            "entries": [{"timestamp": "2026-01-01T00:00:00Z", "level": level, "message": message} for level, message in lines]}


REPLICATION = {
    "type": "pg_replication",
    "replication_slots": [{"slot_name": "standby_1", "slot_type": "physical", "active": True, "restart_lsn": "0/3000060",
                           "confirmed_flush_lsn": None, "wal_retained_mb": 16, "plugin_active": False, "backend_pid": 4711,
                           "bytes_retained": 16777216}],
    "replication_status": [{"server_pid": 4711, "usename": "replicator", "application_name": "standby_1", "state": "streaming",
                            "sync_state": "async", "write_lsn": "1/A0", "flush_lsn": "1/90", "replay_lsn": "1/80", "write_lag_ms": 1.5,
                            "flush_lag_ms": 2, "replay_lag_ms": 3, "behind_by_mb": 2, "client_addr": "10.0.0.7",
                            "backend_start": "2026-02-26 09:00:00+00"}],
    "wal_status": {"total_segments": 5, "current_wal_size_mb": 80, "wal_directory_size_mb": 96, "segments_since_checkpoint": 2,
                   "growth_rate_mb_per_hour": 12.5},
    "wraparound_risk": [{"database": "app", "relfrozenxid": 700, "current_xid": 900, "xid_until_wraparound": 2_000_000_000,
                         "percent_until_wraparound": 93.1, "at_risk": False, "tables_needing_vacuum": 0, "oldest_table_age": 200}],
    "logical_subscriptions": [], "collection_errors": []}


def replication_values(source):
    receiver = {"pid": "4711", "application_name": "standby_1", "client_addr": "10.0.0.7", "usename": "replicator"}
    slot = {"slot_name": "standby_1"}
    return [(source, "replication", receiver, "replay_lag_us", 3000), (source, "replication", receiver, "write_lag_us", 1500),
            (source, "replication", receiver, "flush_lag_us", 2000), (source, "replication", receiver, "replay_lag_bytes", 2097152),
            (source, "replication", receiver, "state", "streaming"), (source, "replication", receiver, "sync_state", "async"),
            (source, "replication_slots", slot, "retained_bytes", 16777216), (source, "replication_slots", slot, "slot_type", "physical"),
            (source, "replication_slots", slot, "active_pid", "4711"), (source, "wal", {}, "segments", 5),
            (source, "wal", {}, "directory_bytes", 96 * 1048576), (source, "wraparound", {"datname": "app"}, "xids_left", 2_000_000_000),
            (source, "pushed_values", {"name": "wal_status.growth_rate_mb_per_hour"}, "value", 12.5),
            (source, "pushed_values", {"name": "wal_status.current_wal_size_mb"}, "value", 80),
            (source, "pushed_values", {"name": "wal_status.segments_since_checkpoint"}, "value", 2)]


def kinds():
    """Name, form, two pushes, values to be found: source, metric, labels, column, value."""
    def stats(name, form=plain):
        return name, form, [pg_stats(0)], [pg_stats(1, by=7)], stats_values(name, "app", 7)

    first, second = query(-77, 100, 200), query(-77, 110, 225.5)
    other_first, other_second = query(9007199254740993, 5, 50), query(9007199254740993, 15, 75.5)
    statement = [{"queryid": "-77", "datname": "app"}, {"queryid": "9007199254740993", "datname": "shop"}]
    yield stats("k-pg-stats")
    yield ("k-query-stats", plain,
           [{"type": "pg_query_stats", "timestamp": at(0), "database": "app", "queries": [first]},
            {"type": "pg_query_stats", "timestamp": at(0), "database": "shop", "queries": [other_first]}],
           [{"type": "pg_query_stats", "timestamp": at(1), "database": "app", "queries": [second]},
            {"type": "pg_query_stats", "timestamp": at(1), "database": "shop", "queries": [other_second]}],
           [("k-query-stats", "statements", labels, column, value) for labels in statement for column, value in TEN_CALLS.items()])
    yield ("k-query-stats-joined", plain,
           [{"type": "pg_query_stats", "timestamp": at(0), "databases": [{"database": "app", "queries": [first]},
                                                                         {"database": "shop", "queries": [other_first]}]}],
           [{"type": "pg_query_stats", "timestamp": at(1), "databases": [{"database": "app", "queries": [second]},
                                                                         {"database": "shop", "queries": [other_second]}]}],
           [("k-query-stats-joined", "statements", labels, column, value) for labels in statement for column, value in TEN_CALLS.items()])
    disk = {"device": "sda"}
    yield ("k-sysstat", plain, [sysstat(0)], [sysstat(1, by=4)],
           [("host:k-sysstat", "host_cpu", {}, "load_1m", 4.5), ("host:k-sysstat", "host_cpu", {}, "load_15m", 0.125),
            ("host:k-sysstat", "host_memory", {}, "total_bytes", 16000 * 1048576), ("host:k-sysstat", "host_memory", {}, "free_bytes", 4004 * 1048576),
            ("host:k-sysstat", "host_disk", disk, "reads", 4), ("host:k-sysstat", "host_disk", disk, "writes", 4),
            ("host:k-sysstat", "host_disk", disk, "read_bytes", 2048), ("host:k-sysstat", "host_disk", disk, "write_bytes", 2048)] +
           [("host:k-sysstat", "pushed_values", {"name": name}, "value", value) for name, value in
            (("cpu.user", 16.5), ("cpu.system", 3.25), ("cpu.idle", 80.25), ("cpu.iowait", 4), ("memory.cached_mb", 3000), ("memory.used_mb", 9000))])

    def filesystem(step, used):
        return [{"type": "disk_usage", "timestamp": at(step), "filesystems": [
            {"device": "/dev/sda1", "mount": "", "total_gb": 50, "used_gb": used, "free_gb": 50 - used, "percent_used": used * 2}]}]
    volume = {"device": "/dev/sda1"}
    yield ("k-disk-usage", plain, filesystem(0, 20), filesystem(1, 21),
           [("host:k-disk-usage", "host_filesystem", volume, "total_bytes", 50 << 30),
            ("host:k-disk-usage", "host_filesystem", volume, "used_bytes", 21 << 30), ("host:k-disk-usage", "host_filesystem", volume, "free_bytes", 29 << 30)])
    yield ("k-replication", plain, [{**REPLICATION, "timestamp": at(0)}], [{**REPLICATION, "timestamp": at(1)}], replication_values("k-replication"))

    def named(step, by):
        stamp = int(datetime.datetime.fromisoformat(at(step).replace("Z", "+00:00")).timestamp())
        return [{"name": f"metric_{i}", "value": i + by + 0.5, "timestamp": stamp, "labels": {"host": "h1"}} for i in range(5)]
    yield ("k-load-test", plain, named(0, 0), named(1, 10),
           [("k-load-test", "pushed_values", {"name": f"metric_{i}"}, "value", i + 10.5) for i in range(5)])
    yield ("k-collector", plain, [{"type": "collector_metrics", "timestamp": at(0), "buffer_used_bytes": 1, "buffer_max_bytes": 52428800}],
           [{"type": "collector_metrics", "timestamp": at(1), "buffer_used_bytes": 1024, "buffer_max_bytes": 52428800,
             "buffer_used_percent": 0.5, "metrics_discarded_count": 3}],
           [("host:k-collector", "pushed_values", {"name": name}, "value", value) for name, value in
            (("buffer_used_bytes", 1024), ("buffer_max_bytes", 52428800), ("buffer_used_percent", 0.5), ("metrics_discarded_count", 3))])
    yield stats("k-gzip", packed)
    yield stats("k-zlib", zlib_framed)
    yield stats("k-gzip-in-name", gzip_in_name_only)
    mixed = stats_values("k-mixed", "app", 7) + stats_values("k-mixed", "shop", 7)
    yield ("k-mixed", plain, [pg_stats(0), pg_stats(0, "shop"), sysstat(0), {"type": "pg_locks", "databases": {"app": {"active_locks": []}}}],
           [pg_stats(1, by=7), pg_stats(1, "shop", by=7), sysstat(1), {"type": "pg_locks", "databases": {"app": {"active_locks": []}}}], mixed)


def send():
    tokens = {}
    for name, form, first, second, values in kinds():
        tokens[name] = register(name)
        for step, elements in enumerate((first, second)):
            status, answer = push(tokens[name], name, elements, step, form)
            expect(f"{name}: push {step}", (200, False), (status, answer.get("repeated")))
        # The same bodies again: nothing is stored again, and the answer is the same.
        status, again = push(tokens[name], name, second, 1, form)
        expect(f"{name}: repeat", (200, True, answer["metrics_inserted"], answer["metrics_untyped"]),
               (status, again.get("repeated"), again.get("metrics_inserted"), again.get("metrics_untyped")))
        for source, metric, labels, column, wanted in values:
            find(metric, source, labels, column, wanted)

    # Lines of a log come once, though every push has most of those before.
    name = "k-log"
    tokens[name] = register(name)
    lines = [("LOG", "checkpoint starting: time"), ("ERROR", 'relation "orders" does not exist'), ("LOG", "checkpoint starting: time")]
    more = lines[1:] + [("WARNING", "there is no transaction in progress"), ("FATAL", "sorry, too many clients already")]
    for step, window in enumerate((lines, more, more)):
        expect(f"{name}: push {step}", 200, push(tokens[name], name, [log(step, window)], step)[0])
    stored = sql("SELECT string_agg(severity || ' ' || message, '; ' ORDER BY time, slot) FROM "
                 "readable.log_events(now() - interval '1 hour', now() + interval '1 hour') WHERE source_name = 'k-log'")
    expect(f"{name}: by SQL", "; ".join(" ".join(line) for line in lines + more[2:]), stored)
    events = call("GET", "/api/v1/logs/events?source=k-log&hours=1", ADMIN)[1]["events"]
    expect(f"{name}: by the API", sorted(lines + more[2:]), sorted((event["severity"], event["message"]) for event in events))

    # Ten readings of one second, as 3.2.0 takes them.
    name = "k-often"
    tokens[name] = register(name)
    elements = [pg_stats(0, by=i) for i in range(10)]
    expect(f"{name}: push", 200, push(tokens[name], name, elements, 0)[0])
    find("database", name, {"datname": "app"}, "xact_commit", 9)

    # What nobody knows is kept, counted and read.
    name = "k-unknown"
    tokens[name] = register(name)
    unknown = [{"type": "pg_extensions", "timestamp": at(0), "databases": {"app": {"extensions": [{"name": "hstore"}]}}},
               {"type": "of_tomorrow", "value": 7}, {"nothing": 1}]
    status, answer = push(tokens[name], name, unknown, 0)
    expect(f"{name}: push", (200, 3, 3), (status, answer["metrics_inserted"], answer["metrics_untyped"]))
    status, answer = call("GET", f"/api/v1/metrics/pushed?collector_id={name}&untyped=true", ADMIN)
    expect(f"{name}: kept", (200, 3), (status, answer["count"]))
    expect(f"{name}: whole", sorted(json.dumps(one, sort_keys=True) for one in unknown),
           sorted(json.dumps(json.loads(e["element"]), sort_keys=True) for e in answer["elements"]))
    expect(f"{name}: by type", {"pg_extensions": 1, "of_tomorrow": 1, "": 1}, {t["type"]: t["untyped"] for t in answer["by_type"]})
    expect(f"{name}: by SQL", "3", sql(f"SELECT count(*) FROM metrics.pushed_element WHERE collector = '{name}' AND readings = 0"))

    # The same statements, asked for as 3.2.0 does.
    for kind, column in (("slow", "max_time"), ("frequent", "calls")):
        status, answer = call("GET", f"/api/v1/collectors/k-query-stats/queries/{kind}?hours=1", ADMIN)
        expect(f"{kind}: answer", (200, kind, 2, 1), (status, answer["type"], answer["count"], answer["hours"]))
        values = [entry[column] for entry in answer["queries"]]
        expect(f"{kind}: order", sorted(values, reverse=True), values)
        expect(f"{kind}: calls", [10, 10], [entry["calls"] for entry in answer["queries"]])
        expect(f"{kind}: time", [25.5, 25.5], [entry["total_time"] for entry in answer["queries"]])
        expect(f"{kind}: longest", [1500.5, 1500.5], [entry["max_time"] for entry in answer["queries"]])
        expect(f"{kind}: texts", True, all(entry["query_text"].startswith("SELECT ") for entry in answer["queries"]))
    servers = {s["name"]: s for s in call("GET", "/api/v1/servers?page_size=100", ADMIN)[1]["data"]}
    expect("servers", "k-pg-stats", servers["k-pg-stats"]["collector_id"])
    status, answer = call("GET", f"/api/v1/servers/{servers['k-pg-stats']['id']}/metrics", ADMIN)
    expect("server metrics", (200, "database", 7), (status, answer["metric"], answer["data"][0]["numbers"]["xact_commit"]))
    # What a person pushes in a collector's name is kept and changes none of its figures.
    status, answer = push(ADMIN, "k-gzip", [pg_stats(2, by=1000)], 2)
    expect("a person's push", (200, 1, 1), (status, answer["metrics_inserted"], answer["metrics_untyped"]))
    find("database", "k-gzip", {"datname": "app"}, "xact_commit", 7)
    # Who is somebody else.
    expect("another's id", 401, push(tokens["k-pg-stats"], "k-gzip", [pg_stats(2)], 2)[0])
    status, answer = call("POST", "/api/v1/metrics/push/binary", tokens["k-gzip"], b"\xef\xbe\xad\xde", {"Content-Type": "application/octet-stream"})
    expect("binary", (400, True), (status, "/api/v1/metrics/push" in answer["message"]))
    with open(STATE, "w", encoding="utf-8") as file:
        json.dump({"tokens": tokens, "base": BASE.isoformat()}, file)


def again():
    global BASE
    with open(STATE, encoding="utf-8") as file:
        state = json.load(file)
    BASE = datetime.datetime.fromisoformat(state["base"])
    token = state["tokens"]["k-pg-stats"]
    # A body of before the end is still known.
    status, answer = push(token, "k-pg-stats", [pg_stats(1, by=7)], 1)
    expect("repeat after a restart", (200, True), (status, answer.get("repeated")))
    # The first increase after a restart covers the time between.
    expect("after a restart", 200, push(token, "k-pg-stats", [pg_stats(2, by=20)], 2)[0])
    find("database", "k-pg-stats", {"datname": "app"}, "xact_commit", 20)
    find("index_stats", "k-pg-stats", {"datname": "app", "indexrelname": "orders_pkey"}, "idx_scan", 20)
    # Statistics were reset: what is read grew since, at least; the others go on.
    fresh = pg_stats(3, by=25)
    fresh["transactions_committed"] = 6
    expect("after a reset", 200, push(token, "k-pg-stats", [fresh], 3)[0])
    find("database", "k-pg-stats", {"datname": "app"}, "xact_commit", 26)
    find("database", "k-pg-stats", {"datname": "app"}, "xact_rollback", 25)
    expect("flagged", "t", sql("SELECT bool_or(lower_bound) FROM readable.database(now() - interval '1 hour', now() + interval '1 hour') "
                               "WHERE source_name = 'k-pg-stats' AND xact_commit = 6"))
    status, rows = call("GET", "/api/v1/rows?metric=database&source=k-pg-stats&hours=1", ADMIN)
    expect("flagged by the API", True, rows["rows"][0]["lower_bound"])
    # A statement that is not among those that are sent goes on when it is back; one that was not seen before may be old.
    name, token = "k-top", register("k-top")
    full = [query(i, 1000 - i, 100) for i in range(1, 101)]
    def statements(step, queries):
        return push(token, name, [{"type": "pg_query_stats", "timestamp": at(step), "database": "app", "queries": queries}], step)[0]
    expect("top: first", 200, statements(0, full))
    expect("top: one goes, one comes", 200, statements(1, full[1:] + [query(500, 5000, 100)]))
    expect("top: back", 200, statements(2, [query(1, 1009, 100)] + full[2:] + [query(500, 5003, 100)]))
    find("statements", name, {"queryid": "1"}, "calls", 10)
    find("statements", name, {"queryid": "500"}, "calls", 3)


if __name__ == "__main__":
    {"send": send, "again": again}[sys.argv[1]]()
    print(f"{compared} values and answers compared, {len(wrong)} differ")
    for line in wrong[:60]:
        print("WRONG", line)
    sys.exit(1 if wrong else 0)
