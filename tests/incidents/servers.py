"""Private PostgreSQL servers, their sessions, and what the suite says of them."""
import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import time
import urllib.request

BIN = pathlib.Path(os.environ["INCIDENTS_PG_BIN"])
WORK = pathlib.Path(os.environ["INCIDENTS_WORK"])
ROOT = os.getuid() == 0
OWNER = pwd.getpwnam("postgres") if ROOT else pwd.getpwuid(os.getuid())
CONF = """
listen_addresses = '127.0.0.1'
shared_preload_libraries = 'pg_stat_statements,auto_explain'
auto_explain.log_min_duration = -1
compute_query_id = on
logging_collector = on
log_destination = 'csvlog'
log_filename = 'server.log'
log_lock_waits = on
log_autovacuum_min_duration = 0
deadlock_timeout = 200ms
max_connections = 40
superuser_reserved_connections = 3
max_prepared_transactions = 5
max_wal_senders = 5
wal_level = replica
archive_mode = on
archive_command = '/bin/true'
fsync = off
shared_buffers = 16MB
max_wal_size = 1GB
min_wal_size = 32MB
autovacuum_naptime = 10s
# As much shorter as the rules' times are.
checkpoint_timeout = 30s
"""


def own(*argv, **options):
    """Runs a program as the servers' owner."""
    prefix = ["runuser", "-u", "postgres", "--"] if ROOT else []
    return subprocess.run([*prefix, *map(str, argv)], cwd="/", check=True, capture_output=True, text=True, **options)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, name, primary=None):
        self.name = name
        self.primary = primary
        self.home = WORK / name
        self.data = self.home / "data"
        self.port = free_port()
        self.sessions = []

    def make(self):
        self.home.mkdir(mode=0o700)
        if ROOT:
            os.chown(self.home, OWNER.pw_uid, OWNER.pw_gid)
        if self.primary is None:
            own(BIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--data-checksums", "-N",
                "--locale=C.UTF-8", "-E", "UTF8")
        else:
            own(BIN / "pg_basebackup", "-D", self.data, "-h", "127.0.0.1", "-p", self.primary.port, "-U", "postgres",
                "-c", "fast", "-R", "-X", "stream", "-N")
        conf = self.data / "postgresql.conf"
        conf.write_text(conf.read_text() + CONF + f"port = {self.port}\nunix_socket_directories = '{self.home}'\n")
        self.start()
        if self.primary is None:
            self.sql("CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE EXTENSION pg_stat_statements")
            self.sql("CREATE DATABASE app")
            # Else bloat and sequences of what the kinds make are metrics_missing.
            self.sql("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO monitor; "
                     "ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO monitor", db="app")
            self.sql("CREATE ROLE app LOGIN PASSWORD 'app'; GRANT CREATE ON SCHEMA public TO app;"
                     "CREATE TABLE orders AS SELECT i AS id, i % 1000 AS customer, repeat('x', 50) AS note "
                     "FROM generate_series(1, 50000) i; CREATE INDEX orders_customer ON orders (customer); "
                     "GRANT ALL ON orders TO app; ANALYZE", db="app")
            hba = self.data / "pg_hba.conf"
            hba.write_text("host all guest 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
            self.sql("CREATE ROLE guest LOGIN PASSWORD 'right'; SELECT pg_reload_conf()")

    def start(self):
        self._ctl("start")

    def _ctl(self, action, *more):
        # The server keeps what it is given as output: a file, never a pipe that somebody waits for.
        prefix = ["runuser", "-u", "postgres", "--"] if ROOT else []
        with open(WORK / f"{self.name}.ctl.log", "ab") as log:
            subprocess.run([*prefix, str(BIN / "pg_ctl"), "-D", str(self.data), "-w", "-t", "60", "-l",
                            str(self.home / "start.log"), *more, action], cwd="/", check=True, stdout=log, stderr=log,
                           stdin=subprocess.DEVNULL)

    def stop(self, mode="fast"):
        self._ctl("stop", "-m", mode)

    def restart(self):
        self._ctl("restart", "-m", "fast")

    def psql(self, db="postgres", user="postgres", options="", password=""):
        env = dict(os.environ, PGOPTIONS=options, PGPASSWORD=password, PGAPPNAME="incident")
        return [str(BIN / "psql"), "-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d",
                db], env

    def sql(self, text, db="postgres", check=True, **options):
        """One statement after the other, each in a transaction of its own; those that may fail with check=False."""
        argv, env = self.psql(db, **options)
        done = subprocess.run([*argv, *(["-v", "ON_ERROR_STOP=1"] if check else [])], input=text, env=env,
                              capture_output=True, text=True, timeout=120)
        if check and done.returncode != 0:
            raise RuntimeError(f"{self.name}: {text[:200]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def session(self, text, db="app", **options):
        """A session that runs the text and stays open until sessions end."""
        argv, env = self.psql(db, **options)
        process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, text=True)
        process.stdin.write(text + "\n")
        process.stdin.flush()
        self.sessions.append(process)
        return process

    def end_sessions(self):
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'incident' "
                 "AND pid <> pg_backend_pid()", check=False)
        for process in self.sessions:
            process.kill()
            process.wait()
        self.sessions.clear()

    def remove(self):
        for process in self.sessions:
            process.kill()
            process.wait()
        self.sessions.clear()
        try:
            self.stop("immediate")
        except subprocess.CalledProcessError:
            pass
        shutil.rmtree(self.home, ignore_errors=True)


class Collector:
    def __init__(self, servers, interval):
        self.config = WORK / "collector.yaml"
        lines = ["collector_id: incidents", f"backend_url: {os.environ['INCIDENTS_URL']}",
                 f"collection_interval: {interval}", "sources:"]
        for server in servers:
            lines.append(f"  - {{name: {server.name}, host: 127.0.0.1, port: {server.port}, user: monitor, "
                         f"databases: [postgres, app], sslmode: disable, log_path: \"{server.data}/log\"}}")
        self.config.write_text("\n".join(lines) + "\n")
        self.process = None

    def start(self):
        env = dict(os.environ, COLLECTOR_CONFIG=str(self.config), METRICS_LISTEN="off",
                   REGISTRATION_SECRET_FILE=os.environ["INCIDENTS_SECRET"], STATE_DIR=str(WORK / "collector"),
                   BACKEND_ALLOW_PLAINTEXT="true",
                   # The machine is shared with whatever else runs on it.
                   HOST_METRICS="false")
        (WORK / "collector").mkdir(exist_ok=True)
        with open(WORK / "collector.log", "ab") as log:
            self.process = subprocess.Popen([os.environ["INCIDENTS_COLLECTOR"]], env=env, stdout=log, stderr=log)

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def alerts(condition):
    """Alerts: (source, rule, seconds since 1970 when it fired, else began, summary)."""
    connection = dict(re.findall(r"(\w+)=(\S+)", os.environ["INCIDENTS_ALERTS"]))
    done = subprocess.run(
        [str(BIN / "psql"), "-X", "-q", "-A", "-t", "-F", "\t", "-h", connection["host"], "-p", connection["port"],
         "-U", connection["user"], "-d", connection["dbname"], "-c",
         "SELECT CASE WHEN source_name = '' THEN 'collector' ELSE source_name END, rule, "
         f"extract(epoch FROM coalesce(fired_at, began_at)), summary FROM pganalytics.alerts WHERE {condition} "
         "ORDER BY coalesce(fired_at, began_at)"],
        env=dict(os.environ, PGPASSWORD=connection["password"]), capture_output=True, text=True, check=True, timeout=30)
    rows = []
    for line in done.stdout.splitlines():
        source, rule, fired, summary = line.split("\t", 3)
        rows.append((source, rule, float(fired), summary))
    return rows


def await_until(seconds, condition):
    """Looks every half second; whether the condition held in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return False


def ready(count):
    """Whether the registry has so many sources that are up, and each was read."""
    connection = dict(re.findall(r"(\w+)=(\S+)", os.environ["INCIDENTS_ALERTS"]))
    done = subprocess.run(
        [str(BIN / "psql"), "-X", "-q", "-A", "-t", "-h", connection["host"], "-p", connection["port"], "-U",
         connection["user"], "-d", "metrics", "-c",
         "SELECT count(DISTINCT source_id) FROM metrics.frame"],
        env=dict(os.environ, PGPASSWORD=connection["password"]), capture_output=True, text=True, timeout=30)
    return done.returncode == 0 and done.stdout.strip().isdigit() and int(done.stdout) >= count


def baselines():
    """What the rules that compare with earlier weeks say of their last evaluation."""
    request = urllib.request.Request(os.environ["INCIDENTS_URL"] + "/api/v1/alert-rules",
                                     headers={"Authorization": f"Bearer {os.environ['INCIDENTS_TOKEN']}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        rules = json.load(answer)["rules"]
    return [rule.get("last_error", "") for rule in rules if "usual(" in rule["expression"]] or ["no such rule"]
