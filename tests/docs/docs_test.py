#!/usr/bin/env python3
"""The documents against the repository: links lead somewhere, make targets exist, and every file and function that
docs/life-of-a-frame.md names is there."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
STOP = re.compile(r"^\| *\d+ *\| *`([^`]+)` *\| *`([^`]+)` *\|")


def stops() -> list[tuple[str, str]]:
    """(file, function) of each row in the table of docs/life-of-a-frame.md, in order."""
    text = (ROOT / "docs/life-of-a-frame.md").read_text(encoding="utf-8")
    return [m.groups() for line in text.splitlines() if (m := STOP.match(line))]


def main() -> int:
    problems, checked = [], 0
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True,
                           text=True, check=True).stdout.split()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for name in names:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        for link in LINK.findall(text):
            if re.match(r"[a-z]+:", link):
                continue
            checked += 1
            if not (path.parent / link).exists():
                problems.append(f"{name}: link to {link} leads nowhere")
        for target in re.findall(r"`make ([a-z-]+)", text):
            checked += 1
            if target not in targets:
                problems.append(f"{name}: make {target} is no target of the Makefile")
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    script = (ROOT / "tests/e2e/guide/guide_test.sh").read_text(encoding="utf-8")
    marks = [(number, mark) for numbers, mark in re.findall(r"^\| (G\d+(?:, G\d+)*) \|.*\| ?([^|]*?) ?\|$", guide, re.M)
             for number in numbers.split(", ")]
    checked += len(marks)
    if [number for number, _ in marks] != [f"G{i}" for i in range(90)]:
        problems.append("docs/guide.md: its rows are not G0 to G89 in order")
    for number, mark in marks:
        if ("✓" in mark) != bool(re.search(rf"\b{number}\b", script)):
            problems.append(f"docs/guide.md: {number} is marked «{mark}», which tests/e2e/guide/guide_test.sh does not bear out")
    runbooks = (ROOT / "docs/alert-rules.md").read_text(encoding="utf-8")
    for rule in sorted((ROOT / "services/ruler/rules").glob("*.yaml")):
        checked += 1
        if f"### {rule.stem}\n" not in runbooks:
            problems.append(f"docs/alert-rules.md: no runbook of {rule.stem}")
    rows = stops()
    if len(rows) < 8:
        problems.append("docs/life-of-a-frame.md: the table of stops was not found")
    for file, function in rows:
        checked += 1
        path = ROOT / file
        if not path.is_file():
            problems.append(f"docs/life-of-a-frame.md: {file} is missing")
            continue
        bare = function.split("::")[-1].removesuffix("()")
        if not re.search(rf"\b{re.escape(bare)}\(", path.read_text(encoding="utf-8")):
            problems.append(f"docs/life-of-a-frame.md: {file} has no function {function}")
    for problem in problems:
        print(problem)
    print(f"docs: {checked} references checked, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--stops"]:
        for file_name, function_name in stops():
            print(file_name, function_name.split("::")[-1].removesuffix("()"))
        sys.exit(0)
    sys.exit(main())
