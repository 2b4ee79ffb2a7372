#!/usr/bin/env python3
"""Writes docs/sizing.md from the report of the space bench: tools/sizing.py [report.json] [docs/sizing.md]"""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
LEVELS = ("raw", "hours", "days")
KEPT_DAYS = (30, 30, 400)


def main() -> int:
    report = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/bench/report.json"
    target = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs/sizing.md"
    space = json.loads(report.read_text(encoding="utf-8"))
    if space.get("bench") != "space":
        print(f"sizing: {report} is not a report of the space bench", file=sys.stderr)
        return 1
    sources, days = space["sources"], space["days"]
    # Bytes per source and day of each metric and level.
    daily: dict[str, list[float]] = {}
    rows: dict[str, float] = {}
    for entry in space["metrics"]:
        level = entry["level"]
        if level >= len(LEVELS):
            continue
        daily.setdefault(entry["metric"], [0.0] * len(LEVELS))[level] += entry["bytes"] / sources / days
        if level == 0:
            rows[entry["metric"]] = entry["rows"] / sources / days
    text = space["text_bytes"] / sources

    def size(metric: str, kept: tuple[int, ...] = KEPT_DAYS) -> float:
        return sum(b * d for b, d in zip(daily[metric], kept))

    def total(count: int, statements: float, kept: tuple[int, ...] = KEPT_DAYS) -> float:
        return count * (text + sum(size(m, kept) * (statements if m == "statements" else 1) for m in daily)) / 1e9

    lines = [
        "# Sizing",
        "",
        "Made by `tools/sizing.py` from the report of `make bench`; do not edit.",
        f"Measured on {sources} simulated sources over {days} days with {space['changed']} changed statements a minute,",
        "loaded into PostgreSQL with all levels; tables, TOAST and indexes counted.",
        "",
        "## Disk of the metrics database",
        "GB when raw rows and hours are kept 30 days and days 400 days, by sources and changed statements a minute. Other",
        "numbers of sources and statements are scaled from the measured ones.",
        "",
        "| sources | 100 | 300 | 1,000 |",
        "|---|---|---|---|",
    ]
    for count in (1, 10, 50, 200, 500):
        cells = " | ".join(f"{total(count, changed / space['changed']):.1f}" for changed in (100, 300, 1000))
        lines.append(f"| {count} | {cells} |")
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
    wal = space["wal_bytes"] / max(1, space["load"]["rows"])
    lines += [
        f"| texts of statements | | | | | {text / 1e6:,.1f} |",
        f"| receipts | | | | | {space['receipt_bytes'] / sources / 1e6:,.1f} |",
        "",
        "## Values",
        "Bytes of raw rows with labels, structure and texts. A stored value is one that is not NULL, a moving value one that",
        "is not 0 either; labels are not counted as values.",
        "",
        "| metric | values a day | of them 0 | B a stored value | B a moving value |",
        "|---|---|---|---|---|",
    ]
    measured = space["measured"]
    for metric in sorted(measured, key=lambda m: (m != "all", -measured[m]["bytes"])):
        of = measured[metric]
        if of["stored"] == 0:
            continue
        moving = max(1, of["stored"] - of["zeros"])
        lines.append(
            f"| {metric} | {of['stored'] / sources / days:,.0f} | {100 * of['zeros'] / of['stored']:.0f} % "
            f"| {of['bytes'] / of['stored']:.2f} | {of['bytes'] / moving:.2f} |"
        )
    lines += [
        "",
        "## Writing",
        f"Writing the blocks alone takes {wal:.1f} B of WAL a row of a reading.",
        "",
    ]
    target.write_text("\n".join(lines), encoding="utf-8")
    print(f"sizing: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
