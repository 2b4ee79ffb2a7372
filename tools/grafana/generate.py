#!/usr/bin/env python3
"""Writes tools/deploy/grafana/dashboards/*.json and the tables of docs/dashboards.md from pages.py.

    tools/grafana/generate.py            writes
    tools/grafana/generate.py --check    fails when what is written differs
"""
import json
import pathlib
import sys

import yaml

import contract
import pages

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tools/deploy/grafana/dashboards"
PAGE = ROOT / "docs/dashboards.md"
BEGIN, END = "<!-- {}: written by tools/grafana/generate.py -->\n", "<!-- end -->\n"


def dashboard_table(boards):
    lines = ["| dashboard | file | panels | what it shows |\n|---|---|---|---|\n"]
    for board in boards:
        count = sum(1 for panel in board["panels"] if panel["type"] != "row")
        lines.append(f"| {board['title'].removeprefix('pgAnalytics / ')} | `{board['uid']}.json` | {count} | {board['description']} |\n")
    return "".join(lines)


def contract_table(places):
    lines = ["| 3.2.0 | panel of 3.2.0 | dashboard here | panel here |\n|---|---|---|---|\n"]
    for board, titles in contract.TITLES.items():
        for place, title in enumerate(titles, 1):
            at = places[f"{board}.{place}"]
            lines.append(f"| {board}.{place} | {title} | {at[0]} | {at[1]} |\n")
    return "".join(lines)


def problems_of(boards):
    """What a reader of the pages would miss."""
    sources = yaml.safe_load((ROOT / "tools/deploy/grafana/provisioning/datasources/pganalytics.yaml").read_text(encoding="utf-8"))
    uids = {source["uid"] for source in sources["datasources"]}
    found = []
    for board in boards:
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        titles = [panel["title"] for panel in panels]
        found += [f"{board['uid']}: two panels are called {title}" for title in set(titles) if titles.count(title) > 1]
        found += [f"{board['uid']}: {panel['title']} says nothing of itself" for panel in panels if not panel["description"].endswith(".")]
        found += [f"{board['uid']}: variable {variable['name']} names a data source that is not provisioned"
                  for variable in board["templating"]["list"]
                  if variable["type"] == "datasource" and variable["current"]["value"] not in uids]
    return found


def render():
    """Path -> text of everything that is written."""
    built, places = [], {}
    for board, numbers in pages.all_pages():
        built.append(board)
        for number, title in numbers:
            if number in places:
                raise ValueError(f"panel {number} of 3.2.0 has two places")
            places[number] = (board["title"].removeprefix("pgAnalytics / "), title)
    if found := problems_of(built):
        raise ValueError("; ".join(found))
    missing = sorted(set(contract.PANELS) ^ set(places))
    if missing:
        raise ValueError(f"panels of 3.2.0 without a place, or numbers of none: {missing}")
    out = {FOLDER / f"{board['uid']}.json": json.dumps(board, indent=1, ensure_ascii=False) + "\n" for board in built}
    text = PAGE.read_text(encoding="utf-8")
    for name, content in (("dashboards", dashboard_table(built)), ("contract", contract_table(places))):
        head, rest = text.split(BEGIN.format(name), 1)
        text = head + BEGIN.format(name) + content + END + rest.split(END, 1)[1]
    out[PAGE] = text
    return out


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    wanted = render()
    different = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    left_over = sorted(set(FOLDER.glob("*.json")) - set(wanted))
    if check:
        for path in different + left_over:
            print(f"{path.relative_to(ROOT)}: is not what tools/grafana/generate.py writes")
        sys.exit(1 if different or left_over else 0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in left_over:
        path.unlink()
    for path in different:
        path.write_text(wanted[path], encoding="utf-8")


if __name__ == "__main__":
    main()
