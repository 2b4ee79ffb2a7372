#!/usr/bin/env python3
"""Makes PRODUCTION_APPROVAL.md: what was run and with what outcome, figures, limits, and an empty line to sign.
tools/approval.py [--build FOLDER] [--check FILE]

It takes what `make test`, `make check`, `make campaign` and `make bench` left below build/ and invents nothing: what left no
result is said to be not run, and where a result names its commit, so does the page. --check looks at the form of a file alone."""
import argparse
import datetime
import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEADINGS = ["What was run", "Delivery under faults", "Figures", "The guide", "Limits", "Decision"]
OUTCOMES = {"passed", "FAILED", "not run"}
CHECKS = {
    "asan": "unit and integration tests under the address and undefined-behaviour sanitizers",
    "tsan": "the core under the thread sanitizer",
    "fuzz": "every decoder fuzzed",
    "attack": "floods and stopped processes against the real programs",
    "envoy": "odd requests to the gateway and to a real Envoy",
    "api": "every route asked from the OpenAPI document",
    "plans": "an index dropped and brought back: what the suite says; EXPLAIN on all versions",
    "faults": "every fault of tests/reproduced put back and found",
    "packages": "Debian packages in a bare root; the image",
    "bare": "`make run` on a bare Debian 12",
}
LIMITS = [
    "Kubernetes: the chart is rendered, checked against the schemas of Kubernetes and linted; no pod of it has run in a cluster.",
    "systemd: units are checked by systemd-analyze and by hand; packages are installed in a bare root without a booted init system.",
    "Grafana's own drawing is not tested; the queries of every panel are.",
    "Load of 50 collectors over an hour, outages of a day, 1,000 collectors that connect again at once, 10,000 idle streams: see Figures; "
    "what has no figure there was not measured.",
    "Power failures are simulated from recorded system calls; no machine lost its power.",
    "Citus is experimental; PostgreSQL 19 is in the catalog by its documentation alone.",
    "TimescaleDB is tried in one version and one edition (docs/layouts.md), not on its cloud.",
    "Rolling restarts with two replicas, skew between versions, and the rotation of every secret under load have no test of their own; of "
    "services' secrets rotation is tested.",
    "The audit log is read with the database owner's login (pgactl audit); there is no route and no page of it yet.",
    "No external party has looked at security; threats are in docs/threats.md.",
]


def commit_of(folder):
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=folder, capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() or "unknown"


def tests(build):
    """(outcome, words) of the last `make test`."""
    folder = build / "dev/results"
    ran = failed = skipped = 0
    seconds = 0.0
    for path in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            status = case.get("status", "run")
            ran += status == "run"
            failed += status == "fail"
            skipped += status not in ("run", "fail")
            seconds += float(case.get("time", 0))
    if ran + failed == 0:
        return "not run", "build/dev/results is empty"
    return ("FAILED" if failed else "passed"), f"{ran + failed} programs, {failed} failed, {skipped} skipped, {seconds:,.0f} s of tests"


def check_steps(build):
    steps = {}
    path = build / "check/passed.txt"
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            step, seconds, commit = line.split()
            steps[step] = (int(seconds), commit)
    return steps


def campaign(build):
    """(commit, [(part, outcome, lines)]) of the last `make campaign`."""
    path = build / "campaign/result.txt"
    if not path.is_file():
        return "", []
    text = path.read_text(encoding="utf-8")
    commit = re.search(r"^commit: (\S+)", text, re.M)
    parts = []
    for block in re.split(r"^== ", text, flags=re.M)[1:]:
        head, _, rest = block.partition("\n")
        name, _, how = head.partition(": ")
        lines = [line.strip() for line in rest.splitlines() if re.search(r"lost \d|doubled \d|faults came|failures came|snapshots read|kills", line)]
        parts.append((name, "passed" if how.startswith("passed") else "FAILED", lines))
    return (commit.group(1) if commit else "unknown"), parts


def table_after(text, heading):
    """The first table behind a heading, as lines."""
    behind = text.split(heading, 1)
    if len(behind) < 2:
        return []
    rows = []
    for line in behind[1].splitlines():
        if line.startswith("|"):
            rows.append(line)
        elif rows:
            break
    return rows


def make(build):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    commit = commit_of(ROOT)
    version = re.search(r"VERSION (\d+\.\d+\.\d+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
    out = ["# Production approval", "",
           f"pgAnalytics {version.group(1) if version else 'unknown'}, commit {commit}, {now}. Made by `tools/approval.py`; do not edit but the last section.",
           "It says what was run and what was not. It is no approval before somebody has signed it.", "",
           "## What was run", "", "| what | command | outcome | |", "|---|---|---|---|"]
    outcome, words = tests(build)
    out.append(f"| all tests | `make test` | {outcome} | {words} |")
    steps = check_steps(build)
    for step, what in CHECKS.items():
        if step in steps:
            seconds, at = steps[step]
            out.append(f"| {what} | `tools/check.sh {step}` | passed | {seconds} s, commit {at} |")
        else:
            out.append(f"| {what} | `tools/check.sh {step}` | not run | |")
    at, parts = campaign(build)
    whole = "not run" if not parts else "FAILED" if any(part[1] != "passed" for part in parts) else "passed"
    out.append(f"| delivery under faults | `make campaign` | {whole} | {f'commit {at}' if parts else ''} |")
    report = build / "bench/report.json"
    bench = "not run"
    words = "docs/sizing.md and docs/write-throughput.md are of an earlier run"
    if report.is_file():
        bench, words = "passed", f"{len(json.loads(report.read_text(encoding='utf-8')))} entries in build/bench/report.json"
    out.append(f"| measurements | `make bench` | {bench} | {words} |")

    out += ["", "## Delivery under faults", ""]
    if not parts:
        out.append("Not run: `make campaign` left no result.")
    for name, how, lines in parts:
        out += [f"**{name}**: {how}", "", "```", *lines, "```", ""]
    if out[-1] == "":
        out.pop()

    sizing = (ROOT / "docs/sizing.md").read_text(encoding="utf-8")
    out += ["", "## Figures", "", "From [docs/sizing.md](docs/sizing.md), measured, not estimated, where it says so; GB on disk by sources and changed statements a minute:", ""]
    out += table_after(sizing, "## Disk of the metrics database")
    throughput = (ROOT / "docs/write-throughput.md").read_text(encoding="utf-8")
    out += ["", "Writing, from [docs/write-throughput.md](docs/write-throughput.md):", ""]
    out += table_after(throughput, "# Writing, measured")

    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (G\d+(?:, G\d+)*) \|.*\| ([^|]*) \|$", guide, re.M)
    total = sum(len(numbers.split(",")) for numbers, _ in rows)
    checked = sum(len(numbers.split(",")) for numbers, mark in rows if "✓" in mark)
    out += ["", "## The guide", "",
            f"{total} rows in [docs/guide.md](docs/guide.md); {checked} of them are checked on the running suite by `tests/e2e/guide`."]
    out += ["", "## Limits", ""] + [f"- {limit}" for limit in LIMITS]
    out += ["", "## Decision", "", "| | |", "|---|---|", "| approved, or not, for | |", "| under which conditions | |", "| name and role | |",
            "| date and signature | |"]
    return "\n".join(out) + "\n"


def problems_of(text):
    found = re.findall(r"^## (.+)$", text, re.M)
    problems = [] if found == HEADINGS else [f"sections are {found}, not {HEADINGS}"]
    rows = table_after(text, "## What was run")[2:]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if len(cells) != 4 or cells[2] not in OUTCOMES:
            problems.append(f"no outcome: {row}")
    if len(rows) != len(CHECKS) + 3:
        problems.append(f"{len(rows)} rows of what was run, not {len(CHECKS) + 3}")
    if not re.search(r"^pgAnalytics \d+\.\d+\.\d+, commit \S+, ", text, re.M):
        problems.append("version and commit are missing")
    decision = table_after(text, "## Decision")
    if "| date and signature | |" not in decision and not re.search(r"\| date and signature \| [^|]+ \|", "\n".join(decision)):
        problems.append("there is no line to sign")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--check", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "PRODUCTION_APPROVAL.md")
    arguments = parser.parse_args()
    if arguments.check:
        problems = problems_of(arguments.check.read_text(encoding="utf-8"))
        print("\n".join(problems + [f"approval: {len(problems)} problems"]))
        return 1 if problems else 0
    arguments.output.write_text(make(arguments.build), encoding="utf-8")
    print(f"approval: {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
