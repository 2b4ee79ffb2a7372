#!/usr/bin/env python3
"""Fails on unfinished work and on paths or words that do not belong into the product."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Spelled in pieces so that this file does not find itself.
FORBIDDEN = [
    (r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b", "unfinished work"),
    (r"/wo" + r"rk/", "path of one machine"),
    (r"/tm" + r"p/team", "path of one machine"),
    (r"registry\.npm" + r"js|pypi\.o" + r"rg|proxy\.gol" + r"ang|deb\.deb" + r"ian\.org|crat" + r"es\.io",
     "host of a package registry"),
    (r"\b(fare" + r"well|de" + r"ar|str" + r"ikes?|gr" + r"eet(s|ings?)?|roo" + r"ms)\b", "an image; say plainly what happens"),
    (r"(?<![\w-])(un)?to" + r"ld(?![\w-])|\bRo" + r"om\b|\bRoom" + r"Of\b|\bHasRoo" + r"m\b", "an image; say plainly what happens"),
    (r"GTEST_SK" + r"IP\(\)\s*;", "a skipped test must say why"),
]
SKIP = {".png", ".svg", ".pb"}


def main() -> int:
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.split("\n")
    problems = []
    for name in filter(None, names):
        path = ROOT / name
        if path.suffix in SKIP or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, why in FORBIDDEN:
                if re.search(pattern, line):
                    problems.append(f"{name}:{number}: {why}: {line.strip()[:100]}")
    for problem in problems:
        print(problem)
    print(f"wording: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
