#!/usr/bin/env python3
"""The generated alerts for Prometheus are what the rules give, promtool takes them, and their tests hold; so does the page of
rules. Argument: pga-rules."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tools/deploy/prometheus"
FORMS = {"prometheus": FOLDER / "pganalytics-alerts.yaml", "prometheus-tests": FOLDER / "pganalytics-alerts-tests.yaml",
         "docs": ROOT / "docs/alert-rules.md"}


def main() -> int:
    failed = 0
    for form, path in FORMS.items():
        made = subprocess.run([sys.argv[1], form], capture_output=True, text=True, check=True).stdout
        if made != path.read_text(encoding="utf-8"):
            print(f"{path.relative_to(ROOT)} is not what the rules give; run: tools/docs.sh")
            failed += 1
    for words in (["check", "rules", str(FORMS["prometheus"])], ["test", "rules", str(FORMS["prometheus-tests"])]):
        done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"promtool {' '.join(words)}:\n{done.stdout}{done.stderr}")
            failed += 1
    for words, status, output in ((["--help"], 0, "stdout"), (["nothing"], 2, "stderr"), ([], 2, "stderr")):
        done = subprocess.run([sys.argv[1], *words], capture_output=True, text=True, check=False)
        if done.returncode != status or "usage: pga-rules test" not in getattr(done, output):
            print(f"pga-rules {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
            failed += 1
    rules = len(re.findall(r"- alert:", FORMS["prometheus"].read_text(encoding="utf-8")))
    tests = len(re.findall(r"- expr:", FORMS["prometheus-tests"].read_text(encoding="utf-8")))
    print(f"alert rules: {rules} for Prometheus, {tests} tests of them, {failed} failures")
    return 1 if failed or rules < 30 or tests < 2 * rules - 20 else 0


if __name__ == "__main__":
    sys.exit(main())
