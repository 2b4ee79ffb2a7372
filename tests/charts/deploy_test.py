#!/usr/bin/env python3
"""What is deployed without Kubernetes: the image as text, the systemd units with systemd's own
tools where they are installed."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

import yaml

from settings import ROOT, settings_of

SYSTEMD = ROOT / "tools/deploy/systemd"
# systemd-analyze rates exposure from 0 to 10.
MOST_EXPOSURE = 2.0
checks = 0


def check(condition: bool, what: str) -> None:
    global checks
    checks += 1
    if not condition:
        sys.exit(f"FAILED: {what}")


def run(*args: str) -> str:
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"{' '.join(args)}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def check_image() -> None:
    dockerfile = (ROOT / "tools/deploy/images/Dockerfile").read_text()
    last = dockerfile[dockerfile.rindex("\nFROM"):]
    check("ENV LISTEN_ADDRESS=0.0.0.0" in last, "image: its port must be reached from outside the container")
    check(all(package in last for package in (" ca-certificates ", " tzdata ")), "image: certificates and time zones")
    check(re.search(r"^USER 10001:10001$", last, re.M) is not None, "image: not root")
    check("ARG POSTGRES_CLIENT\n" in last and '"${POSTGRES_CLIENT}"' in last, "image: pg_dump for backups")


def check_release() -> None:
    presets = {p["name"]: p.get("cacheVariables", {}) for p in
               json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]}
    check("PGA_FAILPOINTS" not in presets["release"] and presets["dev"]["PGA_FAILPOINTS"] == "ON",
          "an environment variable must not make a release build fail")


def directives(unit: pathlib.Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", unit.read_text(), re.M):
        found.setdefault(key, []).append(value)
    return found


def check_units() -> None:
    users = dict(re.findall(r"^u (\S+) - \".*?\" (\S+)", (SYSTEMD / "sysusers.d/pganalytics.conf").read_text(), re.M))
    folders = dict(re.findall(r"^d (\S+) \S+ (\S+)", (SYSTEMD / "tmpfiles.d/pganalytics.conf").read_text(), re.M))
    taken = set()
    for unit in sorted(SYSTEMD.glob("*.service")):
        of = directives(unit)
        user, state = of["User"][0], "/var/lib/" + of["StateDirectory"][0]
        check(user in users and user not in taken, f"{unit.name}: user {user} is not made, or not its own")
        taken.add(user)
        check(of.get("LimitCORE") == ["0"] and re.fullmatch(r"[1-9]\d*[MG]", of.get("MemoryMax", [""])[0]) is not None,
              f"{unit.name}: a core dump holds secrets, and memory is bounded")
        check(users[user] == state and of["Environment"][0] in (f"STATE_DIR={state}", f"BACKUP_DIR={state}"),
              f"{unit.name}: state folder")
        for key in ("StandardOutput", "StandardError"):
            for target in of.get(key, []):
                # 209/STDOUT otherwise: files are opened before a unit's own folders are made.
                check(folders.get(os.path.dirname(target.partition(":")[2])) == user, f"{unit.name}: folder of {target}")
        # 226/NAMESPACE when one is not there.
        check("ReadWritePaths" not in of, f"{unit.name}: StateDirectory and LogsDirectory make what they name")
        check(of["CapabilityBoundingSet"] == [""] and of["UMask"] == ["0077"], f"{unit.name}: rights")


def check_with_systemd() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for unit in sorted(SYSTEMD.glob("*.service")):
            # The programs are not installed here; everything else of the unit is as it is.
            copy = pathlib.Path(folder) / unit.name
            copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.M))
            check(run("systemd-analyze", "verify", str(copy)).strip() == "", f"{unit.name}: systemd-analyze has remarks")
            rating = re.search(r"Overall exposure level for \S+: ([0-9.]+)",
                               run("systemd-analyze", "security", "--offline=true", "--no-pager", str(copy)))
            check(rating is not None and float(rating[1]) <= MOST_EXPOSURE, f"{unit.name}: exposure {rating and rating[1]}")
        for timer in sorted(SYSTEMD.glob("*.timer")):
            copy = pathlib.Path(folder) / timer.name
            copy.write_text(timer.read_text())
            check(copy.with_suffix(".service").is_file(), f"{timer.name}: no service of its name")
            check(run("systemd-analyze", "verify", str(copy)).strip() == "", f"{timer.name}: systemd-analyze has remarks")
        if os.geteuid() == 0:
            root = pathlib.Path(folder) / "root"
            (root / "etc").mkdir(parents=True)
            run("systemd-sysusers", f"--root={root}", str(SYSTEMD / "sysusers.d/pganalytics.conf"))
            run("systemd-tmpfiles", f"--root={root}", "--create", str(SYSTEMD / "tmpfiles.d/pganalytics.conf"))
            uid = next(int(line.split(":")[2]) for line in (root / "etc/passwd").read_text().splitlines()
                       if line.startswith("pganalytics:"))
            check((root / "var/log/pganalytics").stat().st_uid == uid, "the log folder belongs to the service's user")


def check_log_rotation() -> None:
    """logrotate itself, on a log of this test: cut while its writer goes on, nothing lost."""
    rules = (SYSTEMD / "logrotate.d/pganalytics").read_text()
    outputs = {target.partition(":")[2] for target in directives(SYSTEMD / "pganalytics.service")["StandardOutput"]}
    for path in outputs:
        check(f"{path} {{" in rules, f"{path} is not rotated")
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "api.log"
        mine = re.sub(r"^\S+ \{", f"{log} {{", re.sub(r"^\s+su .*\n", "", rules, flags=re.M), flags=re.M)
        (pathlib.Path(folder) / "rules").write_text(mine)
        with log.open("a", encoding="utf-8") as writer:
            for line in ("before", "after"):
                print(line, file=writer, flush=True)
                if line == "before":
                    run(shutil.which("logrotate") or "/usr/sbin/logrotate", "--force", "--state", f"{folder}/state",
                        f"{folder}/rules")
        check(log.read_text() == "after\n", f"log after rotation: {log.read_text()!r}")
        check((pathlib.Path(folder) / "api.log.1").read_text() == "before\n", "what was rotated")


def check_log_forwarding() -> None:
    """rsyslog itself with the file that is shipped: each line arrives once, with its severity, over a cut of the log and while the
    other host was away."""
    rules = (ROOT / "tools/deploy/rsyslog/50-pganalytics.conf").read_text()
    outputs = {target.partition(":")[2] for target in directives(SYSTEMD / "pganalytics.service")["StandardOutput"]}
    check(all(f'File="{path}"' in rules for path in outputs), "rsyslog reads another file than the unit writes")
    daemon = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listener:
        log = pathlib.Path(folder) / "api.log"
        log.touch()
        listener.bind(("127.0.0.1", 0))
        mine = re.sub(r'target="[^"]+" port="\d+"', f'target="127.0.0.1" port="{listener.getsockname()[1]}"', rules)
        mine = re.sub(r'File="[^"]+"', f'File="{log}"', mine).replace('action.resumeInterval="5"', 'action.resumeInterval="1"')
        config = pathlib.Path(folder) / "rsyslog.conf"
        config.write_text(f'global(workDirectory="{folder}" maxMessageSize="64k")\n{mine}')
        run(daemon, "-N1", "-f", str(config))
        lines = [{"time": f"2026-11-28T20:00:0{i}.000Z", "level": level, "service": "pganalytics-api", "message": text}
                 for i, (level, text) in enumerate((("info", "before"), ("warn", 'quotes " and \\ and \u00e9'), ("error", "after\nthe cut"), ("debug", "last")))]
        with (pathlib.Path(folder) / "output").open("w") as output, subprocess.Popen(
                [daemon, "-n", "-f", str(config), "-i", f"{folder}/pid"], stdout=output, stderr=output) as process:
            try:
                with log.open("a", encoding="utf-8") as writer:
                    for line in lines[:2]:
                        print(json.dumps(line), file=writer, flush=True)
                    # Nobody listens until now.
                    listener.listen()
                    listener.settimeout(60)
                    connection, _ = listener.accept()
                    connection.settimeout(60)
                    stream = connection.makefile("rb")
                    got = [stream.readline() for _ in lines[:2]]
                    os.truncate(log, 0)
                    for line in lines[2:]:
                        print(json.dumps(line), file=writer, flush=True)
                    got += [stream.readline() for _ in lines[2:]]
                    process.terminate()
                    got += stream.readlines()
                    connection.close()
            finally:
                process.kill()
        check(len(got) == len(lines), f"{len(lines)} lines were written, these came: {got}")
        for wanted, line, severity in zip(lines, got, (182, 180, 179, 183), strict=True):
            head, _, body = line.decode().partition(" - - - ")
            check(json.loads(body) == wanted, f"{wanted} came as {line}")
            check(re.fullmatch(rf"<{severity}>1 {re.escape(wanted['time'])} \S+ pganalytics-api", head) is not None, f"{head}: its severity")


def main() -> int:
    check_image()
    check_release()
    check_units()
    check_log_rotation()
    check_log_forwarding()
    if shutil.which("systemd-analyze"):
        check_with_systemd()
    else:
        print("systemd's tools are not installed here: the units were checked as text alone")
    print(f"deploy: {checks} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
