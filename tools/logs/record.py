#!/usr/bin/env python3
"""Records logs of real servers into services/collector/testdata/logs.

    tools/logs/record.py [MAJOR ...]            default: 13 14 15 16 17 18

Each server runs for two of four log_line_prefix, writes stderr, csvlog and (15 and later) jsonlog at the same time, and is
made to say errors, waits, checkpoints, crashes and the rest. Statements, values and messages hold the words of
secrets.txt. Servers: tools/fetch-postgres.sh, 15 from Debian; psql and pgbench 15 and zstd from Debian. Run by root it uses
the account postgres.
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "services" / "collector" / "testdata" / "logs"
SERVERS = pathlib.Path(os.environ.get("PGA_POSTGRES_DIR", ROOT / "build" / "postgres"))
DEBIAN = pathlib.Path("/usr/lib/postgresql/15/bin")
PREFIXES = [
    "%m [%p] ",
    "%t:%r:%u@%d:[%p]:",
    "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%n %-7p %e %P %Q %q[%a|%b|%i] %c %20u@%-12d %v %x ",
]
SECRETS = ["hunter2x", "Tr0ub4dor", "alice@example.org", "4111111111111111", "tok_9f8e7d6c", "geheimnis", "zq-7731"]
ACCOUNT = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}

SETUP = """
CREATE TABLE account (id int PRIMARY KEY, email text UNIQUE NOT NULL, balance int CHECK (balance >= 0), kind varchar(3));
CREATE TABLE transfer (id int, account int REFERENCES account);
INSERT INTO account VALUES (1, 'alice@example.org', 5, 'a'), (2, 'b', 5, 'a');
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE SEQUENCE tiny MINVALUE 0 MAXVALUE 1 START 1;
CREATE FUNCTION fails(text) RETURNS int LANGUAGE plpgsql AS $f$
BEGIN
  RAISE EXCEPTION 'card % of hunter2x refused', $1 USING DETAIL = 'It was tok_9f8e7d6c.', HINT = 'Ask geheimnis.';
END $f$;
CREATE FUNCTION says(text) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
  RAISE LOG 'checkpoint complete: wrote 999999 buffers (99.9%%); %', $1;
  RAISE WARNING 'careful with %', $1;
  RAISE LOG E'two lines\\nwith hunter2x in the second';
END $f$;
CREATE FUNCTION divides(int) RETURNS int LANGUAGE plpgsql AS $f$
BEGIN
  RETURN (SELECT 1 / $1);
END $f$;
CREATE TABLE busy AS SELECT i, 'hunter2x' || i AS t FROM generate_series(1, 2000) i;
CREATE TABLE spoiled AS SELECT i FROM generate_series(1, 100) i;
CREATE ROLE limited LOGIN;
CREATE ROLE closed NOLOGIN;
CHECKPOINT;
"""
ERRORS = r"""
INSERT INTO account VALUES (1, 'hunter2x', 1, 'a');
INSERT INTO account VALUES (9, 'alice@example.org', 1, 'a');
INSERT INTO account VALUES (3, NULL, 4111, 'a');
INSERT INTO account VALUES (3, 'Tr0ub4dor', -4111, 'a');
INSERT INTO account VALUES (3, 'geheimnis', 1, 'tok_9f8e7d6c');
INSERT INTO transfer VALUES (1, 7731);
DELETE FROM account WHERE id = 1; INSERT INTO transfer VALUES (1, 2); DELETE FROM account WHERE id = 2;
SELECT * FROM missing WHERE a = 'hunter2x';
SELECT absent FROM account WHERE email = $$Tr0ub4dor$$;
SELECT nothing('hunter2x'::text);
SELECT 1 / 0, E'gehei\x6dnis';
SELECT 'hunter2x'::int;
SELECT 'geheimnis'::mood;
SELECT 'tok_9f8e7d6c'::date;
SELECT '2026-13-45'::timestamptz;
SELECT '{hunter2x'::int[];
SELECT 4111111111111111::int;
SELECT 'hunter2x' FROM;
SELECT stranger'';
SELECT 'hunter2x;
';
SELECT fails('4111111111111111');
SELECT says('hunter2x');
SELECT divides(0);
SELECT a FROM account GROUP BY id;
SELECT email FROM account GROUP BY kind;
SELECT (SELECT id FROM busy, account LIMIT 2);
SELECT nextval('tiny'); SELECT nextval('tiny');
SELECT currval('tiny');
CREATE TABLE account ();
CREATE ROLE limited PASSWORD 'hunter2x';
CREATE SCHEMA public;
CREATE DATABASE postgres;
DROP TABLE missing;
DROP TABLE account;
DROP ROLE nobody;
SET nothing_such = 'hunter2x';
SET work_mem = 'hunter2x';
VACUUM (FULL) missing;
COPY account FROM STDIN;
hunter2x	a	b	c
\.
COPY account FROM STDIN;
5
\.
BEGIN; SELECT 1/0; SELECT 'hunter2x'; COMMIT;
BEGIN; BEGIN; VACUUM; COMMIT;
COMMIT;
BEGIN READ ONLY; CREATE TABLE t (); COMMIT;
EXECUTE absent('hunter2x');
DECLARE c CURSOR FOR SELECT 1;
FETCH c;
SELECT 'a\'b' = 'hunter2x';
SELECT pg_read_file('hunter2x');
SELECT repeat('hunter2x', 1000000000);
SELECT 'hunter2x' ~ '(';
SELECT round(1.5, 'hunter2x');
SELECT pg_sleep(1) FROM account WHERE email <> 'hunter2x';
SELECT 1 WHERE 'Tr0ub4dor' = ANY (ARRAY[1]);
SET lock_timeout = 1; SET statement_timeout = 0;
"""


class Server:
    def __init__(self, major, prefix, folder):
        self.bin = DEBIAN if major == 15 else SERVERS / str(major) / "bin"
        self.major = major
        self.folder = folder
        self.data = folder / "data"
        self.logs = folder / "log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        run([self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-k", "--no-locale", "-E", "UTF8", "-N"])
        formats = "stderr,csvlog" + (",jsonlog" if major >= 15 else "")
        settings = {
            "port": self.port, "unix_socket_directories": folder, "listen_addresses": "127.0.0.1",
            "fsync": "off", "logging_collector": "on", "log_destination": formats, "log_directory": self.logs,
            "log_filename": "corpus.log", "log_rotation_age": 0, "log_rotation_size": 0, "log_line_prefix": prefix,
            "log_timezone": "Europe/Berlin", "log_connections": "on", "log_disconnections": "on", "log_lock_waits": "on",
            "deadlock_timeout": "200ms", "log_temp_files": 0, "log_checkpoints": "on", "log_autovacuum_min_duration": 0,
            "autovacuum_naptime": 1, "work_mem": "64kB", "archive_mode": "on", "shared_buffers": "4MB", "max_connections": 20,
            "archive_command": "echo archive of hunter2x fails >&2; false", "log_statement": "ddl", "lc_messages": "C",
            "log_error_verbosity": "verbose" if prefix == PREFIXES[1] else "default", "max_wal_size": "64MB",
            "log_parameter_max_length_on_error": -1, "autovacuum_vacuum_threshold": 50, "superuser_reserved_connections": 3,
        }
        if major >= 14:
            settings["compute_query_id"] = "on"
        if major == 15:
            settings.update({"session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "500ms"})
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            for name, value in settings.items():
                file.write(f"{name} = '{value}'\n")

    def start(self):
        run([self.bin / "pg_ctl", "-D", self.data, "-w", "-l", self.folder / "start.log", "start"])

    def stop(self, mode="fast"):
        run([self.bin / "pg_ctl", "-D", self.data, "-w", "-m", mode, "stop"])

    def command(self, user="postgres", database="postgres", app="recorder"):
        return [DEBIAN / "psql", "-X", "-q", "-d",
                f"host=127.0.0.1 port={self.port} user={user} dbname={database} application_name='{app}'"]

    def sql(self, text, **whom):
        run(self.command(**whom), input=text.encode(), check=False)

    def session(self, text, **whom):
        process = subprocess.Popen([str(p) for p in self.command(**whom)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, **ACCOUNT)
        process.stdin.write((text + "\n\\echo ready\n").encode())
        process.stdin.flush()
        while process.stdout.readline().strip() != b"ready":
            pass
        return process

    def wait_for(self, text, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if text in (self.logs / "corpus.log").read_text(encoding="utf-8", errors="replace"):
                return
            time.sleep(0.1)
        print(f"{self.major}: never said {text}", file=sys.stderr)


def run(command, check=True, **options):
    subprocess.run([str(p) for p in command], check=check, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=120, **options, **ACCOUNT)


def send(process, text):
    process.stdin.write((text + "\n").encode())
    process.stdin.flush()


def end(process):
    process.stdin.close()
    process.wait(timeout=60)


def deadlock(server):
    a = server.session("BEGIN; UPDATE busy SET t = 'geheimnis' WHERE i = 1;", app="first one")
    b = server.session("BEGIN; UPDATE busy SET t = 'hunter2x' WHERE i = 2;", app="second")
    send(a, "UPDATE busy\nSET t = 'Tr0ub4dor' WHERE i = 2;")
    time.sleep(0.1)
    send(b, "UPDATE busy SET t = 'tok_9f8e7d6c' WHERE i = 1;")
    server.wait_for("deadlock detected")
    end(a)
    end(b)


def lock_wait(server):
    holder = server.session("BEGIN; LOCK TABLE account;")
    waiter = server.session("SELECT 1;")
    send(waiter, "SELECT * FROM account WHERE email = 'hunter2x';")
    server.wait_for("still waiting for AccessShareLock")
    server.sql("SET lock_timeout = 50; SELECT * FROM account WHERE email = 'Tr0ub4dor';")
    end(holder)
    end(waiter)


def ended_sessions(server):
    victim = server.session("SELECT 1;", app="victim")
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim';")
    victim.stdin.close()
    victim.wait()
    idle = server.session("SET idle_in_transaction_session_timeout = 100; BEGIN;")
    server.wait_for("idle-in-transaction timeout")
    idle.kill()
    idle.wait()
    server.sql("SET statement_timeout = 100; SELECT pg_sleep(9), 'hunter2x';")
    sleeper = server.session("SELECT 1;", app="sleeper")
    send(sleeper, "SELECT pg_sleep(20);")
    time.sleep(0.2)
    server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'sleeper';")
    end(sleeper)
    server.sql("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM busy; SELECT pg_sleep(0.1);\n"
               "\\! sleep 0\nCOMMIT;")
    first = server.session("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM busy;")
    server.sql("UPDATE busy SET t = 'x' WHERE i = 5;")
    send(first, "UPDATE busy SET t = 'geheimnis' WHERE i = 5;")
    end(first)


def slow_statements(server):
    script = server.folder / "bench.sql"
    script.write_text("\\set id 4111\nSELECT :id::int, 'hunter2x';\nSELECT\n  'zq-7731', :id - :id;\nSELECT 1 / (:id - 4111);\n",
                      encoding="utf-8")
    os.chmod(script, 0o644)
    for mode in ("extended", "prepared"):
        run([DEBIAN / "pgbench", "-n", "-t", "1", "-M", mode, "-f", script, "-h", "127.0.0.1", "-p", str(server.port),
             "-U", "postgres", "postgres"], check=False,
            env={**os.environ, "PGOPTIONS": "-c log_min_duration_statement=0"})
    server.sql("SET log_min_duration_statement = 0;\nSELECT 'hunter2x',\n  \"email\" /* geheimnis */ -- Tr0ub4dor\nFROM account;\n"
               "SET log_duration = on; SET log_min_duration_statement = -1; SELECT 1;\n"
               "SELECT count(*) FROM (SELECT * FROM busy a, generate_series(1, 3) ORDER BY a.t) x WHERE t <> 'hunter2x';\n")


def refused_logins(server):
    for whom in ({"database": "absent"}, {"user": "nobody"}, {"user": "closed"}):
        server.sql("SELECT 1;", **whom)
    server.sql("SELECT * FROM account WHERE email = 'hunter2x'; CREATE ROLE x SUPERUSER PASSWORD 'geheimnis'; DROP TABLE busy;\n"
               "SELECT pg_read_file('postgresql.conf');", user="limited")
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"\0\0")
    kept = [server.session("SELECT 1;") for _ in range(17)]
    server.sql("SELECT 1;", user="limited")
    for one in kept:
        end(one)
    run([DEBIAN / "psql", "-X", "-d",
         f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres replication=database",
         "-c", "IDENTIFY_SYSTEM", "-c", "START_REPLICATION SLOT absent PHYSICAL 0/1"], check=False)


def settings(server):
    server.sql("ALTER SYSTEM SET work_mem = '128kB'; ALTER SYSTEM SET max_connections = 30; SELECT pg_reload_conf();")
    server.wait_for("cannot be changed without restarting")
    with open(server.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
        file.write("random_page_cost = 'hunter2x'\n")
    server.sql("SELECT pg_reload_conf();")
    server.wait_for("contains errors")
    lines = (server.data / "postgresql.auto.conf").read_text(encoding="utf-8").splitlines()
    (server.data / "postgresql.auto.conf").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")


def vacuum_and_archive(server):
    server.sql("DELETE FROM busy WHERE i % 2 = 0; SELECT pg_stat_reset_single_table_counters(0); SELECT pg_switch_wal(); CHECKPOINT;")
    server.wait_for("automatic vacuum of table", 30)
    server.wait_for("archive command failed", 30)


def crash(server):
    other = server.session("SELECT 1;", app="bystander")
    victim = server.session("SELECT pg_backend_pid() \\g " + str(server.folder / "pid"), app="crashing")
    send(victim, "SELECT pg_sleep(30), 'hunter2x';")
    time.sleep(0.3)
    pid = int((server.folder / "pid").read_text(encoding="utf-8").split("\n")[2])
    os.kill(pid, signal.SIGKILL)
    server.wait_for("all server processes terminated; reinitializing")
    time.sleep(1)
    for process in (victim, other):
        process.kill()
        process.wait()


def damage(server):
    path = server.folder / "path"
    server.sql(f"SELECT pg_relation_filepath('spoiled') \\g {path}")
    server.stop()
    file = server.data / path.read_text(encoding="utf-8").split("\n")[2].strip()
    with open(file, "r+b") as heap:
        heap.seek(200)
        heap.write(b"hunter2x" * 40)
    server.start()
    server.sql("SELECT count(*) FROM spoiled;")


def record(major, number, prefix):
    lines = 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"pga-logs-{major}-"))
    try:
        if ACCOUNT:
            shutil.chown(folder, "postgres", "postgres")
        server = Server(major, prefix, folder)
        server.start()
        server.sql(SETUP)
        server.sql(ERRORS)
        deadlock(server)
        lock_wait(server)
        ended_sessions(server)
        slow_statements(server)
        refused_logins(server)
        settings(server)
        vacuum_and_archive(server)
        crash(server)
        damage(server)
        server.stop("fast")
        for end_of_name in ("log", "csv", "json"):
            file = server.logs / f"corpus.{end_of_name}"
            if file.exists():
                text = file.read_bytes().replace(str(folder).encode(), b"/srv/pg")
                target = TARGET / f"{major}-{number}.{end_of_name}.zst"
                target.unlink(missing_ok=True)
                subprocess.run(["zstd", "-q", "-19", "-o", target], input=text, check=True)
                lines += text.count(b"\n")
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{major}, prefix {number}: {lines} lines", flush=True)


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / "secrets.txt").write_text("\n".join(SECRETS) + "\n", encoding="utf-8")
    (TARGET / "prefixes.txt").write_text("".join(f"{p}|\n" for p in PREFIXES), encoding="utf-8")
    for major in [int(m) for m in sys.argv[1:]] or [13, 14, 15, 16, 17, 18]:
        # Two of the four, so that the recordings stay small.
        for number in (major % 4, (major + 1) % 4):
            record(major, number, PREFIXES[number])


if __name__ == "__main__":
    main()
