#!/usr/bin/env python3
"""Writes docs/sizing.md from the report of `make bench`: tools/sizing.py [report.json] [docs/sizing.md]"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
LEVELS = ("raw", "hours", "days")


def main() -> int:
    report = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/bench/report.json"
    target = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs/sizing.md"
    whole = json.loads(report.read_text(encoding="utf-8"))
    space = whole.get("space")
    if space is None:
        print(f"sizing: {report} is not a report of `make bench` with the benchmark `space`", file=sys.stderr)
        return 1
    figures = {figure["name"]: figure for figure in whole["figures"]}
    machine = whole["machine"]
    sources, days = space["sources"], space["days"]
    # Bytes per source and day of each metric and level.
    daily: dict[str, list[float]] = {}
    rows: dict[str, float] = {}
    # Days that a metric's levels are kept.
    kept_days: dict[str, list[int]] = {}
    for entry in space["metrics"]:
        level = entry["level"]
        if level >= len(LEVELS):
            continue
        daily.setdefault(entry["metric"], [0.0] * len(LEVELS))[level] += entry["bytes"] / sources / days
        kept_days.setdefault(entry["metric"], [0] * len(LEVELS))[level] = entry["kept_days"]
        if level == 0:
            rows[entry["metric"]] = entry["rows"] / sources / days
    text = space["text_bytes"] / sources

    # `raw_days` in place of the days that readings and hours are kept.
    def size(metric: str, raw_days: int | None = None) -> float:
        raw, hours, day_level = kept_days[metric]
        kept = (raw, hours, day_level) if raw_days is None else (raw_days, raw_days, day_level)
        return sum(b * d for b, d in zip(daily[metric], kept))

    def total(count: int, statements: float, raw_days: int | None = None) -> float:
        return count * (text + sum(size(m, raw_days) * (statements if m == "statements" else 1) for m in daily)) / 1e9

    lines = [
        "# Sizing",
        "",
        "Made by `tools/sizing.py` from the report of `make bench`; do not edit.",
        f"Measured on {sources} simulated sources over {days} days with {space['changed']} of {space['entries']:,} statements",
        f"changed a minute, loaded into PostgreSQL with all levels; tables, TOAST and indexes counted. {machine['cores']} cores",
        f"({machine['processor']}), {machine['postgresql']}.",
        "",
        "## Disk of the metrics database",
        "GB when raw rows and hours are kept 30 days and days 400 days (estimates of bloat 90, states and momentary readings 30), by",
        "sources and changed statements a minute. Other numbers of sources and statements are scaled from the measured ones.",
        "",
        "| sources | 100 | 300 | 1,000 |",
        "|---|---|---|---|",
    ]
    for count in (1, 10, 50, 200, 500):
        cells = " | ".join(f"{total(count, changed / space['changed']):.1f}" for changed in (100, 300, 1000))
        lines.append(f"| {count} | {cells} |")
    lines += [
        "",
        "GB of 50 sources by the days that raw rows and hours are kept, and changed statements a minute.",
        "",
        "| days | 100 | 300 | 1,000 |",
        "|---|---|---|---|",
    ]
    for kept in (7, 14, 30, 60, 90):
        cells = " | ".join(f"{total(50, changed / space['changed'], kept):.1f}" for changed in (100, 300, 1000))
        lines.append(f"| {kept} | {cells} |")
    lines += [
        "",
        "## Shares",
        "MB of one source at that retention, and what it takes a day.",
        "",
        "| metric | rows a day | raw, kB a day | hours, kB a day | days, kB a day | kept, MB |",
        "|---|---|---|---|---|---|",
    ]
    for metric in sorted(daily, key=size, reverse=True):
        cells = " | ".join(f"{b / 1e3:,.1f}" for b in daily[metric])
        lines.append(f"| {metric} | {rows.get(metric, 0):,.0f} | {cells} | {size(metric) / 1e6:,.1f} |")
    lines += [
        f"| texts of statements | | | | | {text / 1e6:,.1f} |",
        f"| receipts | | | | | {space['receipt_bytes'] / sources / 1e6:,.1f} |",
        "",
        "## Bytes a value",
        "Of raw blocks with their share of tables and indexes, keyframes apart. A stored value is one that is not NULL; a",
        "moving one is not 0 either.",
        "",
        "| metric | B a row | B a stored value | B a moving value |",
        "|---|---|---|---|",
    ]
    by_metric = {of["metric"]: of for of in space["values"]}
    for metric in sorted(by_metric, key=size, reverse=True):
        of = by_metric[metric]
        cells = " | ".join("" if of[key] is None else f"{of[key]:.2f}" for key in ("bytes_per_row", "per_stored", "per_moving"))
        lines.append(f"| {metric} | {cells} |")
    lines += [f"| all | | {space['per_stored']:.2f} | {space['per_moving']:.2f} |", ""]
    if recorded := figures.get("space.recorded.statements_row"):
        lines += [f"Statements recorded on a real server take {recorded['value']:.1f} B a row, "
                  f"{figures['space.recorded.statements_moving_value']['value']:.2f} B a moving value.", ""]
    if dumps := space.get("dumps"):
        lines += ["## Dumps", f"pg_dump of the {space['table_bytes'] / 1e9:.2f} GB that were loaded.", "",
                  "| form | GB | seconds |", "|---|---|---|"]
        lines += [f"| {name} | {dump['bytes'] / 1e9:.2f} | {dump['seconds']:.0f} |" for name, dump in dumps.items()]
        lines += ["", "While a dump runs, the queue of frames grows with what arrives (docs/operations.md, Disk full)"
                  + (f": {figures['upkeep.snapshot.growth_source_hour']['value']:.1f} MB a source and hour."
                     if "upkeep.snapshot.growth_source_hour" in figures else "."), ""]
    lines += ["## Cores"]
    if cpu := figures.get("upkeep.fleet.cpu_s_source_day"):
        lines += [f"Upkeep (compactor and its share of PostgreSQL) takes {cpu['value']:.1f} CPU seconds a source and day.",
                  "", "| sources | cores for upkeep |", "|---|---|"]
        lines += [f"| {count} | {cpu['value'] * count / 86400:.3f} |" for count in (10, 50, 200, 500)]
    else:
        lines += ["Not measured in this run."]
    others = [f for name, f in figures.items() if re.match(r"(ingest|memory|read)\.", name) and
              re.search(r"cpu|us_|peak|rss", name)]
    if others:
        lines += ["", "| writing and reading, memory | | |", "|---|---|---|"]
        lines += [f"| {f['name']} | {f['value']:,.2f} | {f['unit']} |" for f in others]
    rows_loaded = max(1, space["load"]["rows"])
    lines += ["", "## WAL", f"Writing the blocks of every level takes {space['wal_bytes'] / rows_loaded:.1f} B of WAL a row."]
    if "upkeep.sources.wal_row_arriving" in figures:
        lines += [f"With frames on their way through the queue, whole pages and folds: "
                  f"{figures['upkeep.sources.wal_row_arriving']['value']:.1f} B a row when they arrive and "
                  f"{figures['upkeep.sources.wal_row_upkeep']['value']:.1f} B when they are merged."]
    lines += [""]
    target.write_text("\n".join(lines), encoding="utf-8")
    print(f"sizing: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
