"""The kinds of incidents: what happens, which rules may find it, and how the server is put right again.

A kind is a function of a server and a source of random numbers. It brings the incident about and returns what it drew;
what it leaves with `server.later` is done when the alert has come or its time is over.
"""
import os
import signal
import subprocess
import time

KINDS = {}


def kind(*rules, on="primary", interval=1):
    """`on`: what it is played on. `interval`: of the metric that shows it, in collection intervals."""

    def add(play):
        KINDS[play.__name__] = {"play": play, "rules": rules, "on": on, "interval": interval}
        return play

    return add


def repeat(text, times):
    return "\n".join([text] * times)


# --- Sessions and locks


@kind("blocked_for_long", "sessions_waiting_for_locks")
def lock_chain(server, draw, later):
    waiters = draw.randint(3, 8)
    server.session("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE;")
    time.sleep(0.5)
    for _ in range(waiters):
        server.session("SELECT count(*) FROM orders;")
    later(server.end_sessions)
    return f"{waiters} wait"


@kind("idle_in_transaction")
def idle_in_transaction(server, draw, later):
    row = draw.randint(1, 50000)
    server.session(f"BEGIN; UPDATE orders SET note = note WHERE id = {row};", user="app")
    later(server.end_sessions)
    return f"row {row}"


@kind("long_query", "long_transaction")
def runaway_query(server, draw, later):
    width = draw.randint(3, 5)
    server.session("SELECT count(*) FROM " + ", ".join(f"orders o{i}" for i in range(width)) + ";", user="app")
    later(server.end_sessions)
    return f"{width} tables joined without a condition"


@kind("long_transaction")
def long_transaction(server, draw, later):
    level = draw.choice(["REPEATABLE READ", "SERIALIZABLE"])
    server.session(f"BEGIN ISOLATION LEVEL {level}; SELECT 1; SELECT pg_sleep(300);", user="app")
    later(server.end_sessions)
    return level


@kind("connections_near_limit", "connections_exhausted")
def connection_leak(server, draw, later):
    left = int(server.sql("SELECT 37 - count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"))
    count = left - draw.randint(0, 1)
    for _ in range(count):
        server.session("SELECT 1;", user="app")
    later(server.end_sessions)
    return f"{count} sessions"


@kind("fatal_errors")
def connections_refused(server, draw, later):
    server.sql("ALTER ROLE app CONNECTION LIMIT 1")
    server.session("SELECT pg_sleep(300);", user="app")
    time.sleep(0.5)
    attempts = draw.randint(8, 14)
    for _ in range(attempts):
        server.sql("SELECT 1", user="app", db="app", check=False)
    later(lambda: server.sql("ALTER ROLE app CONNECTION LIMIT -1"))
    later(server.end_sessions)
    return f"{attempts} attempts"


@kind("deadlocks")
def deadlocks(server, draw, later):
    pairs = draw.randint(3, 5)
    for _ in range(pairs):
        a, b = draw.sample(range(1, 50000), 2)
        for first, second in ((a, b), (b, a)):
            server.session(f"BEGIN; UPDATE orders SET note = note WHERE id = {first}; SELECT pg_sleep(0.5); "
                           f"UPDATE orders SET note = note WHERE id = {second}; COMMIT;")
        time.sleep(1.5)
    later(server.end_sessions)
    return f"{pairs} pairs"


@kind("sessions_lost")
def sessions_killed(server, draw, later):
    count = draw.randint(14, 20)
    for _ in range(count):
        server.session("SELECT 1;", user="app")
    time.sleep(1)
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
    later(server.end_sessions)
    return f"{count} sessions"


@kind("prepared_transaction_old")
def prepared_transaction(server, draw, later):
    name = f"order-{draw.randint(1, 999)}"
    server.sql(f"BEGIN; INSERT INTO orders VALUES (0, 0, ''); PREPARE TRANSACTION '{name}'", db="app")
    later(lambda: server.sql(f"ROLLBACK PREPARED '{name}'", db="app"))
    return name


# --- Load


@kind("temp_files_written")
def temp_storm(server, draw, later):
    rows = draw.randint(2, 4) * 1000000
    server.session(repeat(f"SELECT count(*) FROM (SELECT i, random() r FROM generate_series(1, {rows}) i ORDER BY r) s;",
                          40), options="-c work_mem=64kB -c max_parallel_workers_per_gather=0")
    later(server.end_sessions)
    return f"sorts of {rows} rows with 64 kB"


@kind("checkpoints_forced")
def checkpoint_storm(server, draw, later):
    count = draw.randint(6, 10)
    server.sql(repeat("INSERT INTO orders VALUES (0, 0, '');\nCHECKPOINT;", count), db="app")
    return f"{count} checkpoints"


@kind("rollbacks")
def rollbacks(server, draw, later):
    count = draw.randint(600, 900)
    server.sql(repeat("BEGIN;\nSELECT 1;\nROLLBACK;", count), db="app")
    return f"{count} transactions"


@kind("plan_changed")
def dropped_index(server, draw, later):
    return other_plan(server, draw, later, "DROP INDEX orders_customer",
                      "CREATE INDEX orders_customer ON orders (customer)")


@kind("plan_changed")
def bad_plan(server, draw, later):
    """The planner is misled as by statistics that nobody renews: it believes the index is worth nothing."""
    return other_plan(server, draw, later, "ALTER DATABASE app SET enable_indexscan = off; "
                      "ALTER DATABASE app SET enable_bitmapscan = off",
                      "ALTER DATABASE app RESET enable_indexscan; ALTER DATABASE app RESET enable_bitmapscan")


def other_plan(server, draw, later, change, back):
    column = f"shown_{draw.randint(1, 99)}"
    statement = f"SELECT note AS {column}, {', '.join(['id'] * draw.randint(1, 5))} FROM orders WHERE customer = 7;"
    options = "-c auto_explain.log_min_duration=0"
    for _ in range(3):
        server.sql(repeat(statement, 10), db="app", options=options)
        time.sleep(4)
    server.sql(change, db="app")
    later(lambda: server.sql(back, db="app"))
    began = time.time()
    for _ in range(3):
        server.sql(repeat(statement, 10), db="app", options=options)
    return statement[:40] + " ...", began


# --- What the log says


@kind("error_rate")
def error_burst(server, draw, later):
    count = draw.randint(200, 400)
    server.sql(repeat(f"SELECT * FROM order_lines_{draw.randint(1, 99)};", count), db="app", check=False)
    return f"{count} times a table that is not there"


@kind("logins_refused")
def wrong_password(server, draw, later):
    count = draw.randint(24, 30)
    for _ in range(count):
        server.sql("SELECT 1", user="guest", password="wrong", check=False)
    return f"{count} logins"


@kind("statements_timed_out")
def statement_timeouts(server, draw, later):
    count = draw.randint(14, 25)
    server.sql(repeat("SELECT pg_sleep(1);", count), db="app", check=False, options="-c statement_timeout=20ms")
    return f"{count} statements"


@kind("lock_timeouts")
def lock_timeouts(server, draw, later):
    count = draw.randint(14, 25)
    server.session("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE;")
    time.sleep(0.5)
    server.sql(repeat("SELECT count(*) FROM orders;", count), db="app", check=False, options="-c lock_timeout=20ms")
    server.end_sessions()
    return f"{count} statements"


@kind("server_crashed")
def crash(server, draw, later):
    number = draw.choice([signal.SIGKILL, signal.SIGSEGV])
    pid = int(server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'"))
    os.kill(pid, number)
    return signal.Signals(number).name


@kind("data_corrupted", "checksum_failures")
def damaged_page(server, draw, later):
    table = f"damaged_{draw.randint(1, 99)}"
    path = server.sql(f"CREATE TABLE {table} AS SELECT i FROM generate_series(1, 5000) i; CHECKPOINT; "
                      f"SELECT pg_relation_filepath('{table}')", db="app").splitlines()[-1]
    offset = draw.randint(64, 8000)
    server.restart()
    with open(server.data / path, "r+b") as file:
        file.seek(8192 + offset)
        file.write(b"\xa5" * 32)
    server.sql(f"SELECT count(*) FROM {table}", db="app", check=False)
    later(lambda: server.sql(f"DROP TABLE {table}", db="app"))
    return f"byte {offset} of block 1"


@kind("disk_full_logged")
def full_disk(server, draw, later):
    size = draw.randint(8, 16)
    place = server.home / "small"
    place.mkdir()
    image = server.home / "small.img"
    with open(image, "wb") as file:
        file.truncate(size << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True).returncode != 0:
        # Where there are no loop devices.
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(place)], check=True)
    later(lambda: subprocess.run(["umount", "-l", str(place)], check=True))
    space = place / "space"
    space.mkdir(mode=0o700)
    subprocess.run(["chown", "postgres:postgres", str(space)], check=True)
    server.sql(f"CREATE TABLESPACE small LOCATION '{space}'")
    server.sql("CREATE TABLE big TABLESPACE small AS SELECT repeat('y', 500) FROM generate_series(1, 100000)", db="app",
               check=False)
    later(lambda: server.sql("DROP TABLESPACE small"))
    return f"{size} MiB"


# --- WAL, archive, replication


@kind("slot_inactive", "slot_holds_wal")
def slot_left_behind(server, draw, later):
    count = draw.randint(14, 20)
    server.sql("SELECT pg_create_physical_replication_slot('left_behind', true)")
    server.sql(repeat("INSERT INTO orders VALUES (0, 0, '');\nSELECT pg_switch_wal();", count), db="app")
    later(lambda: server.sql("SELECT pg_drop_replication_slot('left_behind')"))
    return f"{count * 16} MiB"


@kind("archive_failing")
def archive_failing(server, draw, later):
    command = draw.choice(["/bin/false", "exit 2"])
    server.sql(f"ALTER SYSTEM SET archive_command = '{command}'")
    server.sql("SELECT pg_reload_conf()")
    server.sql("INSERT INTO orders VALUES (0, 0, ''); SELECT pg_switch_wal()", db="app")
    later(lambda: (server.sql("ALTER SYSTEM RESET archive_command"), server.sql("SELECT pg_reload_conf()")))
    return command


@kind("replay_paused", on="standby")
def replay_paused(server, draw, later):
    server.sql("SELECT pg_wal_replay_pause()")
    later(lambda: server.sql("SELECT pg_wal_replay_resume()"))
    return ""


@kind("standby_lost", on="primary_of_standby")
def standby_lost(server, draw, later):
    mode = draw.choice(["fast", "immediate"])
    server.standby.stop(mode)
    later(server.standby.start)
    return mode


@kind("standby_promoted", on="standby")
def failover(server, draw, later):
    server.primary.stop("immediate")
    server.sql("SELECT pg_promote()")
    later(server.primary.start)
    return ""


# --- The server as such


@kind("database_down")
def server_stopped(server, draw, later):
    mode = draw.choice(["fast", "immediate"])
    server.stop(mode)
    later(server.start)
    return mode


@kind("server_restarted")
def restart(server, draw, later):
    server.restart()
    return ""


@kind("wraparound_near", "wraparound_imminent", "freeze_behind", interval=5)
def wraparound(server, draw, later):
    used = draw.randint(1150, 1400) * 1000000
    server.stop()
    subprocess.run(["runuser", "-u", "postgres", "--", str(server.psql()[0][0]).replace("psql", "pg_resetwal"), "-x",
                    str(used), "-D", str(server.data)] if os.getuid() == 0 else
                   [str(server.psql()[0][0]).replace("psql", "pg_resetwal"), "-x", str(used), "-D", str(server.data)],
                   check=True, capture_output=True, cwd="/")
    segment = server.data / "pg_xact" / f"{used // 1048576:04X}"
    segment.write_bytes(b"\0" * 262144)
    owner = server.data.stat()
    os.chown(segment, owner.st_uid, owner.st_gid)
    server.start()
    return f"next transaction id {used}"


@kind("autovacuum_off", interval=60)
def autovacuum_off(server, draw, later):
    server.sql("ALTER SYSTEM SET autovacuum = off")
    server.sql("SELECT pg_reload_conf()")
    later(lambda: (server.sql("ALTER SYSTEM RESET autovacuum"), server.sql("SELECT pg_reload_conf()")))
    return ""


@kind("settings_changed", interval=60)
def setting_changed(server, draw, later):
    value = draw.randint(5, 60)
    server.sql(f"ALTER SYSTEM SET work_mem = '{value}MB'")
    server.sql("SELECT pg_reload_conf()")
    return f"work_mem {value} MB"


@kind("superuser_changed", interval=30)
def superuser_granted(server, draw, later):
    server.sql("ALTER ROLE app SUPERUSER")
    later(lambda: server.sql("ALTER ROLE app NOSUPERUSER"))
    return ""


@kind("sequence_exhausted", interval=30)
def sequence_exhausted(server, draw, later):
    limit = draw.randint(1000, 100000)
    server.sql(f"CREATE SEQUENCE numbers MAXVALUE {limit}; SELECT setval('numbers', {limit} * 9 / 10)", db="app")
    later(lambda: server.sql("DROP SEQUENCE numbers", db="app"))
    return f"at 90 % of {limit}"


@kind("metrics_missing")
def metric_denied(server, draw, later):
    server.sql("REVOKE pg_monitor FROM monitor")
    later(lambda: server.sql("GRANT pg_monitor TO monitor"))
    return ""


@kind("collector_silent", on="collector")
def collector_stopped(collector, draw, later):
    collector.signal(signal.SIGSTOP)
    later(lambda: collector.signal(signal.SIGCONT))
    return ""
