#!/usr/bin/env python3
"""PRODUCTION_APPROVAL.md: its form, and that tools/approval.py says what it finds, what failed and what was not run."""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools/approval.py"
JUNIT = '<testsuite><testcase name="a" status="run" time="2"/><testcase name="b" status="{}" time="1"/></testsuite>'
CAMPAIGN = """commit: 0123456789ab
== spool: passed in 9 s
power failures  20000 states: lost 0, doubled 0, spurious 0, corrupt 0, baselines 0
== delivery: {} after 9 s
campaign: 9 batches handed over, 9 accepted; lost 0, doubled 0
"""


def run(*words):
    return subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, check=False)


def main() -> int:
    failures = []

    def check(good, what):
        if not good:
            failures.append(what)

    committed = run("--check", str(ROOT / "PRODUCTION_APPROVAL.md"))
    check(committed.returncode == 0, f"PRODUCTION_APPROVAL.md: {committed.stdout}{committed.stderr}")
    with tempfile.TemporaryDirectory() as name:
        build, out = pathlib.Path(name), pathlib.Path(name) / "approval.md"

        def made():
            done = run("--build", str(build), "--output", str(out))
            check(done.returncode == 0, done.stderr)
            check(run("--check", str(out)).returncode == 0, "what it makes has not the form")
            return out.read_text(encoding="utf-8")

        text = made()
        check(text.count("| not run |") == 13, "without results everything is not run")
        check("| passed |" not in text, "without results nothing passed")
        (build / "dev/results").mkdir(parents=True)
        (build / "check").mkdir()
        (build / "campaign").mkdir()
        (build / "check/passed.txt").write_text("asan 12 0123456789ab\n", encoding="utf-8")
        for status, how, expected in (("run", "passed", "passed"), ("fail", "FAILED (1)", "FAILED")):
            (build / "dev/results/fast.xml").write_text(JUNIT.format(status), encoding="utf-8")
            (build / "campaign/result.txt").write_text(CAMPAIGN.format(how), encoding="utf-8")
            text = made()
            check(f"| `make test` | {expected} | 2 programs, {int(status == 'fail')} failed" in text, f"tests that {expected}")
            check(f"| `make campaign` | {expected} | commit 0123456789ab |" in text, f"a campaign that {expected}")
            check("20000 states: lost 0" in text, "the campaign's figures")
            check("| `tools/check.sh asan` | passed | 12 s, commit 0123456789ab |" in text, "a step of make check")
            check("| `tools/check.sh tsan` | not run |" in text, "a step that was not run")
        for old, new in (("| date and signature | |", ""), ("| `make test` | FAILED |", "| `make test` | fine |"),
                         ("## Limits", "## Praise")):
            check(old in text, f"{old} is there")
            out.write_text(text.replace(old, new), encoding="utf-8")
            check(run("--check", str(out)).returncode == 1, f"{old} may be missing")
    for failure in failures:
        print(f"FAILED: {failure}")
    print(f"approval: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
