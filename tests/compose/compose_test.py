#!/usr/bin/env python3
"""Both compose files through docker-compose itself, and what they mount through the programs that read it: promtool, amtool, psql on
real servers with the migrations after it, openssl. compose_test.py BUILD-TREE. No container is started."""
import json
import os
import pathlib
import pwd
import re
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/charts"))
from settings import services, settings_of  # noqa: E402 (beside the charts' tests, not a package)

DEPLOY = ROOT / "tools/deploy"
SECRET_WORDS = ("PASSWORD", "SECRET", "KEY", "TOKEN", "URL")
# docker-compose writes figures of memory in bytes.
MOST_MEMORY = 8 << 30
checks = 0


def check(condition: bool, what: str) -> None:
    global checks
    checks += 1
    if not condition:
        sys.exit(f"FAILED: {what}")


def run(*args: str, expect: int = 0, cwd: pathlib.Path | None = None, **environment: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(args, capture_output=True, text=True, check=False, env={**kept, **environment}, cwd=cwd)
    check((done.returncode == 0) == (expect == 0), f"{' '.join(args)}: {done.stdout}{done.stderr}")
    return done.stdout + (done.stderr if expect else "")


def config(file: pathlib.Path, **environment: str) -> dict:
    return yaml.safe_load(run("docker-compose", "-f", str(file), "config", **environment))


def settings_of_suite() -> set[str]:
    return {"STATE_DIR", "ENVIRONMENT"}.union(*(settings_of(row.name) for row in services()), settings_of("api"))


def memory(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([mg]?)b?", str(text).lower()).groups()
    return int(number) << {"": 0, "m": 20, "g": 30}[unit]


def check_rights(name: str, service: dict) -> None:
    check(service["read_only"] is True and service["cap_drop"] == ["ALL"], f"{name}: file system and rights")
    check("no-new-privileges:true" in service["security_opt"] and not service.get("privileged"), f"{name}: privileges")
    user = str(service["user"]).split(":")[0]
    check(user.isdigit() and int(user) > 0, f"{name}: runs as {service['user']}")
    check(16 << 20 <= memory(service["mem_limit"]) <= MOST_MEMORY and int(service["pids_limit"]) > 0, f"{name}: limits")
    check("max-size" in service["logging"]["options"], f"{name}: its log is bounded")
    for variable, value in (service.get("environment") or {}).items():
        check(not any(word in variable for word in SECRET_WORDS) or variable.endswith(("_FILE", "__FILE", "_PATH")) or
              variable in ("ALERTMANAGER_URL", "PGANALYTICS_PROMETHEUS_URL", "BACKEND_URL") or value == "", f"{name}: {variable} in clear")


def check_suite(folder: pathlib.Path) -> None:
    secrets = folder / "secrets"
    run(str(DEPLOY / "compose/secrets.sh"), "pga.example.com", str(secrets))
    before = {p.name: p.read_bytes() for p in secrets.iterdir()}
    check(secrets.stat().st_mode & 0o777 == 0o700 and all(p.stat().st_mode & 0o222 == 0 for p in secrets.iterdir()), "secrets' modes")
    run(str(DEPLOY / "compose/secrets.sh"), "pga.example.com", str(secrets))
    check(before == {p.name: p.read_bytes() for p in secrets.iterdir()}, "what is there stays")
    run(str(DEPLOY / "compose/secrets.sh"), "a b", str(secrets), expect=1)
    for host in ("pga.example.com", "localhost", "api"):
        run("openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", host, "tls.crt", cwd=secrets)

    suite = config(DEPLOY / "docker-compose.yml", PGANALYTICS_SECRETS=str(secrets))
    check(set(suite["services"]) == {"postgres", "timescale", "migrate", "api", "prometheus", "alertmanager", "grafana"}, "services")
    for secret in suite["secrets"].values():
        check(pathlib.Path(secret["file"]).is_file(), f"secrets.sh does not make {secret['file']}")
    volumes, read = set(suite["volumes"]), set()
    for name, service in suite["services"].items():
        check_rights(name, service)
        check(name == "migrate" or service["healthcheck"]["retries"] > 0, f"{name}: health check")
        mounted = {}
        for secret in service.get("secrets", []):
            source = secret if isinstance(secret, str) else secret["source"]
            read.add(source)
            target = source if isinstance(secret, str) else secret.get("target", source)
            mounted[target if target.startswith("/") else f"/run/secrets/{target}"] = source
        for variable, value in (service.get("environment") or {}).items():
            if str(value).startswith("/run/secrets/"):
                check(value in mounted, f"{name}: {variable} names {value}, which is not mounted")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0] if isinstance(volume, str) else volume["source"]
            check(source in volumes or pathlib.Path(source).exists(), f"{name}: {source} is not there")
        for port in service.get("ports", []):
            address = port if isinstance(port, str) else str(port.get("published"))
            check(address.startswith("127.0.0.1:"), f"{name}: {address} is open to everybody")
        check(set(service.get("networks", {})) - {"databases", "monitoring"} or "ports" not in service, f"{name}: ports need a network that has them")
    check(read == set(suite["secrets"]), f"secrets nobody reads: {set(suite['secrets']) - read}")
    api = suite["services"]["api"]
    unknown = set(api["environment"]) - settings_of_suite()
    check(not unknown, f"api: {unknown} are no settings")
    check(api["depends_on"]["migrate"]["condition"] == "service_completed_successfully", "migrations first")
    published = {p.split(":")[-2] for s in suite["services"].values() for p in map(str, s.get("ports", []))}
    check(published == {"8080", "3000", "5432", "5433"}, f"ports {published}")
    open_to_all = config(DEPLOY / "docker-compose.yml", PGANALYTICS_SECRETS=str(secrets), PGANALYTICS_ADDRESS="0.0.0.0")
    check(str(open_to_all["services"]["api"]["ports"][0]).startswith("0.0.0.0:8080"), "the address can be set")


def check_files(folder: pathlib.Path) -> None:
    for name in ("prometheus.yml", "alertmanager.yml"):
        text = (DEPLOY / "compose" / name).read_text()
        text = text.replace("/etc/prometheus/", f"{DEPLOY}/prometheus/").replace("/run/secrets/", f"{folder}/secrets/")
        (folder / name).write_text(text)
    said = run("promtool", "check", "config", str(folder / "prometheus.yml"))
    check("1 rule files found" in said and "rules found" in said, said)
    run("amtool", "check-config", str(folder / "alertmanager.yml"))
    dashboards = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/pganalytics.yaml").read_text())
    grafana = config(DEPLOY / "docker-compose.yml", PGANALYTICS_SECRETS=str(folder / "secrets"))["services"]["grafana"]
    targets = {(v.split(":")[1] if isinstance(v, str) else v["target"]) for v in grafana["volumes"]}
    check(all(p["options"]["path"] in targets for p in dashboards["providers"]), "Grafana looks for dashboards where they are")
    sources = (DEPLOY / "grafana/provisioning/datasources/pganalytics.yaml").read_text()
    for variable in set(re.findall(r"\$(PGANALYTICS_\w+)", sources)):
        check(variable in grafana["environment"], f"Grafana's data sources need {variable}")
    files = {s.get("target") for s in grafana["secrets"] if isinstance(s, dict)}
    check(set(re.findall(r"password: \$__file\{(\S+)\}", sources)) <= files, "passwords of Grafana's data sources")


def check_databases(folder: pathlib.Path, tree: pathlib.Path) -> None:
    """init-roles.sh on servers of their own: with it the migrations run as the owner, and each reader signs in."""
    binaries = pathlib.Path("/usr/lib/postgresql/15/bin")
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    for path in (folder, folder / "secrets", *(folder / "secrets").iterdir()):
        if as_user:
            os.chown(path, pwd.getpwnam("postgres").pw_uid, -1)
    secrets = {p.name: p.read_text().strip() for p in (folder / "secrets").iterdir()}
    urls, servers = {}, []
    try:
        for name, database in (("postgres", "pganalytics"), ("timescale", "metrics")):
            data, socket = folder / name, folder / f"{name}-socket"
            for path in (data, socket):
                path.mkdir(mode=0o700)
                if as_user:
                    os.chown(path, pwd.getpwnam("postgres").pw_uid, -1)
            run(*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "-N")
            run(*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(data / "log"), "-o",
                f"-k {socket} -c listen_addresses='' -c fsync=off -c log_statement=all -c log_min_duration_statement=0", "start")
            servers.append(data)
            run(*as_user, "sh", str(DEPLOY / "compose/init-roles.sh"), PGHOST=str(socket), PGANALYTICS_DATABASE=database,
                PGANALYTICS_SECRETS_DIR=str(folder / "secrets"))
            log = (data / "log").read_text()
            check(not any(secrets[s] in log for s in secrets if s.endswith("-password")), f"{name}: a password is in the log")
            urls[database] = f"postgresql://pganalytics@/{database}?host={socket}"
        run(str(tree / "bin/pganalytics-api"), "migrate", "up", DATABASE_URL=urls["pganalytics"], TIMESCALE_URL=urls["metrics"],
            STATE_DIR=str(folder))
        for login in ("pganalytics_reader", "pganalytics_reader_texts"):
            stored = run("psql", "-X", "-A", "-t", "-h", str(folder / "timescale-socket"), "-U", "postgres", "metrics", "-c",
                         f"SELECT rolpassword FROM pg_authid WHERE rolname = '{login}'")
            check(stored.startswith("SCRAM-SHA-256$"), f"{login} has no password")
            run("psql", "-X", "-h", str(folder / "timescale-socket"), "-U", login, "metrics", "-c", "SELECT count(*) FROM metrics")
        # As where an administrator ran `migrate roles`: nothing is left for it to do.
        for part, database, socket in (("metadata", "pganalytics", "postgres"), ("metrics", "metrics", "timescale")):
            sql = run(str(tree / "bin/pganalytics-api"), "migrate", "roles", part, DATABASE_URL=urls["pganalytics"],
                      TIMESCALE_URL=urls["metrics"], STATE_DIR=str(folder))
            rights = "SELECT rolname, rolconfig, rolconnlimit, rolcanlogin FROM pg_roles ORDER BY 1"
            psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(folder / f"{socket}-socket"), "-U", "postgres"]
            before = run(*psql, database, "-c", rights)
            (folder / "roles.sql").write_text(sql)
            (folder / "roles.sql").chmod(0o644)
            run(*psql, "postgres", "-f", str(folder / "roles.sql"))
            check(run(*psql, database, "-c", rights) == before, f"{database}: roles differ from `migrate roles`: {before}")
    finally:
        for data in servers:
            run(*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")


def check_collector() -> None:
    """As the guide exports it, and with what else can be set."""
    file = ROOT / "collector-docker-compose.yml"
    guide = {"COLLECTOR_ID": "col_prod_001", "BACKEND_URL": "https://host:8080", "POSTGRES_HOST": "db.example.com", "POSTGRES_PORT": "5432",
             "POSTGRES_DATABASES": "postgres,production_db"}
    service = config(file, **guide)["services"]["collector"]
    check(service["container_name"] == "pganalytics-collector", "the container's name")
    check_rights("collector", service)
    for name, value in guide.items():
        check(str(service["environment"][name]) == value, f"collector: {name}")
    unknown = set(service["environment"]) - settings_of("collector")
    check(not unknown, f"collector: {unknown} are no settings")
    check((ROOT / yaml.safe_load(file.read_text())["services"]["collector"]["build"]["dockerfile"]).is_file(), "how the image is built")
    check("pid" not in service and service["healthcheck"]["retries"] > 0, "collector: health check")
    message = run("docker-compose", "-f", str(file), "config", expect=1)
    check("COLLECTOR_ID" in message or "BACKEND_URL" in message, f"what is missing is named: {message}")
    for name in ("BACKEND_TLS_VERIFY", "BACKEND_ALLOW_PLAINTEXT", "POSTGRES_PASSWORD", "REGISTRATION_SECRET", "COLLECTION_INTERVAL"):
        check(str(config(file, **guide, **{name: "7"})["services"]["collector"]["environment"][name]) == "7", f"{name} cannot be set")
    # The command as its shell runs it: a file that is given sets its variable, one that is not leaves it out.
    with tempfile.TemporaryDirectory() as name:
        script = service["command"][-1].replace("$$", "$")
        for variable, inside in (("BACKEND_CA_FILE", "/etc/pganalytics/backend-ca.pem"), ("POSTGRES_PASSWORD_FILE", "/run/secrets/postgres-password"),
                                 ("REGISTRATION_SECRET_FILE", "/run/secrets/registration-secret")):
            given = pathlib.Path(name) / "file"
            given.write_text("x")
            mounts = config(file, **guide, **{variable: str(given)})["services"]["collector"]["volumes"]
            check(any(str(given) in str(m) and inside in str(m) for m in mounts), f"{variable} is not mounted at {inside}: {mounts}")
            shown = run("sh", "-ec", script.replace(inside, str(given)).replace("exec /usr/bin/pganalytics-collector", "env"))
            check([line for line in shown.splitlines() if line.endswith("_FILE=" + str(given))] == [f"{variable}={given}"], shown)


def main() -> int:
    tree = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_suite(folder)
        check_files(folder)
        check_collector()
        check_databases(folder, tree)
    print(f"compose: {checks} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
