#!/usr/bin/env python3
"""Fails on test files that are too long to read: split by subject, with what they share in a *_testing header."""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST_LINES = 600
# File -> why it may. An entry that nothing needs is a fault of the list.
ALLOWED = {
    "libs/catalog/server_test.cc": "one pair of servers for all cases; to be split",
    "services/collector/delta_engine_test.cc": "cases of one class; to be split",
    "services/ingest/ingest_service_test.cc": "one service for all cases; to be split",
}


def main() -> int:
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*_test.cc", "*_test.py", "*_test.sh",
                            "*_testing.cc", "*_testing.h"], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.split()
    problems = []
    for name in sorted(set(names)):
        path = ROOT / name
        if not path.is_file():
            continue
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES and name not in ALLOWED:
            problems.append(f"{name}: {lines} lines, more than {MOST_LINES}")
        if lines <= MOST_LINES and name in ALLOWED:
            problems.append(f"{name}: nothing needs the exception")
    for problem in problems:
        print(problem)
    print(f"tests: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
