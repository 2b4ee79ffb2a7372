#!/usr/bin/env python3
"""Fails on waits, deadlines and ages by the wall clock, and on sleeps. Time to wait for is clock::SteadyTime
(libs/clock/steady.h); the wall clock is asked by clock::WallNow() where a time is shown or stored."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

RULES = {
    "now": (r"\babsl::Now\(|\bsystem_clock\b|\bhigh_resolution_clock\b|\bgettimeofday\(|\bCLOCK_REALTIME|"
            r"\bstd::time\(|(?<![\w.>])time\((nullptr|NULL|0)\)",
            "ask clock::SteadyNow(), or clock::WallNow() for what is shown or stored"),
    "wait": (r"\w(?:Await|Wait|LockWhen|ReaderLockWhen|WaitForNotification)WithDeadline\(|"
             r"\b(?:Await|Wait|LockWhen|ReaderLockWhen|WaitForNotification)WithDeadline\(|"
             r"\bsystem_timer\b|\bGPR_CLOCK_REALTIME\b|\btimed_mutex\b|\bsem_timedwait\b|\bpthread_cond_timedwait\b|"
             r"set_deadline\(.*(?:chrono|Chrono)",
             "wait with clock::AwaitUntil, rpc::GrpcDeadline or a steady timer"),
    "sleep": (r"\bsleep_for\(|\bsleep_until\(|\bSleepFor\(|(?<![\w:>.])u?sleep\(|\bnanosleep\(",
              "wait for the state, with a limit"),
    "wall": (r"\bWallNow\(", "the wall clock is for what is shown or stored; say in this check why this file needs it"),
}

# File -> rule -> why it may. An entry that nothing needs is a fault of the list.
ALLOWED = {
    "libs/backup/create.cc": {"wall": "names and times of a backup"},
    "libs/backup/restore.cc": {"wall": "names of databases beside", "sleep": "polls what nothing signals, for 3 s"},
    "libs/clock/clock.cc": {"now": "the one place that asks the system", "wall": "its definition"},
    "libs/clock/clock.h": {"wall": "its declaration"},
    "libs/clock/clock_test.cc": {"now": "compares with the system"},
    "libs/clock/steady.cc": {"now": "turns an end on the wall clock into one on the monotonic clock",
                             "sleep": "its definition"},
    "libs/clock/steady_test.cc": {"sleep": "tests it"},
    "libs/clock/steady.h": {"sleep": "its declaration"},
    "libs/log/log.cc": {"wall": "time of a line"},
    "libs/rpc/grpc_log.cc": {"wall": "minute of a line"},
    "libs/rpc/runtime.cc": {"sleep": "gRPC can only be asked whether it is down"},
    "libs/storage/schema/migrations.cc": {"sleep": "a lock of the database is only asked for"},
    "libs/storage/write/group_writer.cc": {"sleep": "back-off of at most a second"},
    "libs/testing/wait_until.h": {"sleep": "polls what nothing signals"},
    "libs/testing/temp_postgres.cc": {"sleep": "polls what nothing signals"},
    "services/api/preflight_databases.cc": {"wall": "difference to the server's clock"},
    "services/api/preflight_host.cc": {"wall": "validity of a certificate"},
    "services/collector/collector.cc": {"wall": "start time, sent to ingest",
                                        "sleep": "the spool's emptiness is only asked for"},
    "services/collector/credentials.h": {"wall": "expiry of a certificate"},
    "services/collector/credentials_client.cc": {"wall": "expiry of a token"},
    "services/collector/failpoints.cc": {"sleep": "a failpoint that delays"},
    "services/collector/ingest_client.cc": {"wall": "session number; difference to the server's clock, a metric"},
    "services/gateway/http_session.cc": {"wall": "Date header"},
    "services/ingest/ingest_testing.cc": {"sleep": "back-off of a simulated collector"},
    "libs/storage/read/fetch.cc": {"wall": "today, by which blocks expire"},
    "tools/fleetsim/loader.cc": {"wall": "days of the data it makes"},
    "tools/fleetsim/main.cc": {"wall": "days of the data it makes"},
    "tools/fleetsim/wire.cc": {"wall": "instants of the readings it sends"},
    "tools/fleetsim/wire_collector.cc": {"wall": "instants of the readings it sends"},
    "tools/pgactl/commands.cc": {"wall": "ages as people see them"},
    "tools/pgactl/doctor_command.cc": {"wall": "compares the server's clock with this one's"},
    "tools/pgactl/session.cc": {"wall": "expiry of a token"},
    "tools/sanitizers/tsan_absl_mutex.cc": {"wait": "wraps Abseil's functions"},
    "tests/clock/stepped_clock.cc": {"now": "shifts the wall clock of a process under test",
                                     "wait": "finds waits on the wall clock"},
    "tests/clock/stepped_waits_test.cc": {"now": "a wait on the wall clock is found", "sleep": "tests it"},
    "tests/faults/collector_under_test.cc": {"sleep": "the spool's emptiness is only asked for"},
    "tests/faults/compactor_campaign_test.cc": {"sleep": "faults happen at random moments"},
    "tests/faults/delivery_campaign_test.cc": {"sleep": "faults happen at random moments"},
    "tests/e2e/lib/suite.sh": {"shell": "polls with a limit"},
    "tests/e2e/bare_debian.sh": {"shell": "polls with a limit, outside of the suite"},
    "tests/bench/memory.sh": {"shell": "pace of a load"},
    "tests/bench/alerts.sh": {"shell": "length of a measurement"},
}
# Of the tests' scripts alone.
SHELL_RULE = (r"^(?!\s*#).*\bsleep\b", "wait for the state, with a limit: await or within of tests/e2e/lib/suite.sh")


def is_test(name: str) -> bool:
    stem = pathlib.Path(name).stem
    return name.startswith("tests/") or "/testing/" in name or bool(re.search(r"_(test|testing|benchmark|bench)$", stem))


def main() -> int:
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.cc", "*.h"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.split()
    scripts = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "tests/*.sh"], cwd=ROOT,
                             capture_output=True, text=True, check=True).stdout.split()
    problems = []
    used = set()
    for name in scripts:
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            if not re.search(SHELL_RULE[0], line):
                continue
            if "shell" in ALLOWED.get(name, {}):
                used.add((name, "shell"))
            else:
                problems.append(f"{name}:{number}: shell: {line.strip()[:100]}: {SHELL_RULE[1]}")
    for name in names:
        path = ROOT / name
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.lstrip().startswith("//"):
                continue
            for rule, (pattern, advice) in RULES.items():
                if not re.search(pattern, line) or (rule == "wall" and is_test(name)):
                    continue
                if rule in ALLOWED.get(name, {}):
                    used.add((name, rule))
                else:
                    problems.append(f"{name}:{number}: {rule}: {line.strip()[:100]}: {advice}")
    for name, rules in ALLOWED.items():
        for rule in rules:
            if (name, rule) not in used:
                problems.append(f"{name}: nothing needs the exception `{rule}`")
    for problem in problems:
        print(problem)
    print(f"time: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
