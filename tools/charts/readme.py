#!/usr/bin/env python3
"""Writes the table of values in helm/pganalytics/README.md from the comments of values.yaml; --check only compares."""
import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parents[2] / "helm/pganalytics"
BEGIN, END = "<!-- values: written by tools/charts/readme.py -->\n", "<!-- end -->\n"
KEY = re.compile(r"^( *)([A-Za-z][\w-]*):")


def comments(text: str) -> dict[str, str]:
    """The comment above each key, by its path."""
    found: dict[str, str] = {}
    path: list[str] = []
    above: list[str] = []
    for line in text.splitlines()[3:]:
        if line.lstrip().startswith("#"):
            above.append(line.strip().removeprefix("#").strip())
            continue
        match = KEY.match(line)
        if match:
            path = [*path[:len(match[1]) // 2], match[2]]
            found[".".join(path)] = " ".join(above)
        above = []
    return found


def rows(values: dict, said: dict[str, str], prefix: str = "") -> list[str]:
    made = []
    for key, value in values.items():
        path = prefix + key
        if isinstance(value, dict) and value and key != "resources":
            if said.get(path):
                made.append(f"| **`{path}`** | | {said[path]} |")
            made += rows(value, said, path + ".")
        else:
            made.append(f"| `{path}` | `{json.dumps(value)}` | {said.get(path, '')} |")
    return made


def main() -> int:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    table = ["| value | default | meaning |", "|---|---|---|", *rows(yaml.safe_load(text), comments(text))]
    readme = CHART / "README.md"
    before = readme.read_text(encoding="utf-8")
    head, rest = before.split(BEGIN)
    after = head + BEGIN + "\n".join(table) + "\n" + END + rest.split(END, 1)[1]
    if "--check" in sys.argv:
        if before != after:
            print("helm/pganalytics/README.md is older than values.yaml: run tools/charts/readme.py")
            return 1
        return 0
    readme.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
