"""SQL over schema readable (docs/sql.md), as Grafana's PostgreSQL data source sends it.

`$source` is the list of quoted ids of the chosen sources, `$interval` the step of the page, `$database` quoted names. What is not
known stays NULL or has no row; only where the metric leaves out rows that did not change, and frames cover the step, is there a 0.
"""
import pathlib
import yaml

CATALOG = pathlib.Path(__file__).resolve().parents[2] / "libs/catalog/metrics"
FROM, TO = "$__timeFrom()", "$__timeTo()"
CHOSEN = "source_id IN ($source)"
RANGE = f"{TO}::timestamptz - {FROM}::timestamptz"
LABELLED = "concat_ws(' ', c.source_name, l.label)"

# Readings are decoded one by one up to so many hours times sources; beyond that whole hours answer.
HOURS_OF_READINGS = {"statements": 12, "table_stats": 12, "index_stats": 24, "activity": 48, "io": 96, "database": 240,
                     "host_disk": 240, "host_network": 240, "locks": 48, "slru": 240}


class Metric:
    """What a catalog file says of a metric."""

    def __init__(self, name):
        entry = yaml.safe_load((CATALOG / f"{name}.yaml").read_text(encoding="utf-8"))
        self.name = name
        self.per_database = entry["scope"] == "database"
        self.leaves_out = bool(entry.get("skip_unchanged"))
        self.columns = {column["name"]: column["kind"] for column in entry["columns"]}


def step_of(metric):
    """The step of a chart, as SQL; a constant for the planner."""
    hours = HOURS_OF_READINGS.get(metric)
    if hours is None:
        return "'$interval'"
    return (f"CASE WHEN ({RANGE}) * cardinality(ARRAY[$source]) > interval '{hours} hours' "
            "THEN greatest('$interval'::interval, interval '1 hour') ELSE '$interval'::interval END")


# The step of figures over the whole range: exact, from hours or days where whole ones are in it.
WHOLE = f"CASE WHEN {RANGE} > interval '3 days' THEN interval '1 day' ELSE interval '1 hour' END"


def stepped(metric, step=None):
    return f"readable.{metric}({FROM}, {TO}, {step or step_of(metric)})"


def over_range(metric):
    return stepped(metric, WHOLE)


def _where(*conditions):
    return " AND ".join(f"({c})" if " OR " in c else c for c in (CHOSEN, *conditions) if c)


def _label(by):
    return f"concat_ws(' ', source_name, {by})" if by else "source_name"


def rate(metric, figures, by=None, where=None, keep=None, per="seconds", absent_is_zero=None):
    """Increases a second of covered time, per source and label `by`. `figures`: name -> SQL over the columns; `keep`: no more
    labels than that, those with most of the first figure. With `per="readings"` and sums of readings: the average over readings
    of what comes and goes. A row that is not there is 0 (`absent_is_zero`) where the metric leaves out what did not change."""
    about = Metric(metric)
    absent_is_zero = about.leaves_out if absent_is_zero is None else absent_is_zero
    step = step_of(metric)
    scope = ", database_oid" if about.per_database else ""
    keys = "time, source_id" + scope
    label = f", {by} AS label" if by else ""
    sums = ", ".join(f"{sql} AS f{place}" for place, sql in enumerate(figures.values()))
    parts = [f"v AS (\n  SELECT {keys}{label}, {sums}\n    FROM {stepped(metric, step)}\n    WHERE {_where(where)}\n"
             f"    GROUP BY {keys}{', label' if by else ''})"]
    if by:
        first = f" ORDER BY sum(f0) DESC NULLS LAST LIMIT {keep}" if keep else ""
        parts.append(f"l AS (\n  SELECT source_id{scope}, label FROM v GROUP BY source_id{scope}, label{first})")
    shown = []
    for place, name in enumerate(figures):
        value = f"CASE WHEN v.time IS NULL THEN 0 ELSE v.f{place} END" if absent_is_zero else f"v.f{place}"
        value += f" / nullif(c.{per}, 0)"
        shown.append(f"{'sum(' + value + ')' if about.per_database else value} AS \"{name}\"")
    lines = ["WITH " + ",\n".join(parts),
             f"SELECT c.time, {LABELLED if by else 'c.source_name'} AS metric, {', '.join(shown)}",
             f"  FROM readable.covered('{metric}', {FROM}, {TO}, {step}) c"]
    if by:
        lines.append(f"  JOIN l USING (source_id{scope})")
    lines.append(f"  {'LEFT ' if absent_is_zero or not by else ''}JOIN v USING ({keys}{', label' if by else ''})")
    lines.append(f"  WHERE c.{CHOSEN}")
    if about.per_database:
        lines.append("  GROUP BY 1, 2")
    return "\n".join([*lines, "  ORDER BY 1, 2"])


def ratio(metric, name, part, whole, by=None, where=None):
    """100 * part / whole of each step; NULL where the whole is 0."""
    return (f"SELECT time, {_label(by)} AS metric, 100.0 * ({part}) / nullif({whole}, 0) AS \"{name}\"\n"
            f"  FROM {stepped(metric)}\n  WHERE {_where(where)}\n  GROUP BY 1, 2\n  ORDER BY 1, 2")


def quotient(metric, name, part, whole, by=None, where=None):
    """part / whole of each step; NULL where the whole is 0."""
    return (f"SELECT time, {_label(by)} AS metric, ({part}) / nullif({whole}, 0) AS \"{name}\"\n"
            f"  FROM {stepped(metric)}\n  WHERE {_where(where)}\n  GROUP BY 1, 2\n  ORDER BY 1, 2")


def increase(metric, figures, by=None, where=None):
    """Increases of each step."""
    sums = ", ".join(f'{sql} AS "{name}"' for name, sql in figures.items())
    return (f"SELECT time, {_label(by)} AS metric, {sums}\n  FROM {stepped(metric)}\n  WHERE {_where(where)}\n"
            f"  GROUP BY 1, 2\n  ORDER BY 1, 2")


def average(metric, column, name, by=None, where=None, series="", scale=""):
    """Average of the readings of each series in a step, series added up per source and label. `series`: further labels that
    tell series apart."""
    keys = "".join(f", {part}" for part in (series, by) if part)
    label = f"concat_ws(' ', source_name, {by})" if by else "source_name"
    return (f"SELECT time, {label} AS metric, sum(value){scale} AS \"{name}\"\n"
            f"  FROM (SELECT time, source_id, source_name{keys}, sum({column}_sum) / nullif(sum({column}_count), 0)::float8 AS value\n"
            f"          FROM {stepped(metric)}\n          WHERE {_where(where)}\n"
            f"          GROUP BY time, source_id, source_name{keys}) s\n  GROUP BY 1, 2\n  ORDER BY 1, 2")


def counted(metric, name, what, where=None):
    """How many different ones a step has; 0 where frames cover it and have none."""
    step = step_of(metric)
    return (f"SELECT c.time, c.source_name AS metric, count(DISTINCT v.what) AS \"{name}\"\n"
            f"  FROM readable.covered('{metric}', {FROM}, {TO}, {step}) c\n"
            f"  LEFT JOIN (SELECT time, source_id, {what} AS what FROM {stepped(metric, step)}\n"
            f"               WHERE {_where('NOT gone', where)}) v USING (time, source_id)\n"
            f"  WHERE c.{CHOSEN}\n  GROUP BY 1, 2\n  ORDER BY 1, 2")


def latest(metric, labels, columns, hours=25, where=None, order=None, limit=None, outer=None):
    """One row per series as the newest reading up to the end of the range says, not older than `hours`. `columns`: name ->
    SQL over the row."""
    about = Metric(metric)
    keys = "source_id, " + ("database_oid, " if about.per_database else "") + ", ".join(labels)
    used = ", ".join(sorted(set(about.columns) & _words(" ".join([*columns.values(), where or "", outer or ""])) - set(labels)))
    shown = ", ".join(f'{sql} AS "{name}"' for name, sql in columns.items())
    return (f"SELECT {shown}\n  FROM (SELECT DISTINCT ON ({keys}) source_name, time, gone, {keys}{', ' + used if used else ''}\n"
            f"          FROM readable.{metric}({TO}::timestamptz - interval '{hours} hours', {TO})\n"
            f"          WHERE {_where(where)}\n          ORDER BY {keys}, time DESC) s\n"
            f"  WHERE NOT gone{' AND ' + outer if outer else ''}"
            f"{chr(10) + '  ORDER BY ' + order if order else ''}{f' LIMIT {limit}' if limit else ''}")


def total(metric, columns, by, where=None, order=None, limit=None, having=None):
    """Figures over the whole range, per source and labels. `columns`: name -> SQL aggregate."""
    shown = ", ".join([*(f'{sql} AS "{name}"' for name, sql in by.items()),
                       *(f'{sql} AS "{name}"' for name, sql in columns.items())])
    group = f"\n  GROUP BY {', '.join(str(i + 1) for i in range(len(by)))}" if by else ""
    return (f"SELECT {shown}\n  FROM {over_range(metric)}\n  WHERE {_where(where)}{group}"
            f"{chr(10) + '  HAVING ' + having if having else ''}"
            f"{chr(10) + '  ORDER BY ' + order if order else ''}{f' LIMIT {limit}' if limit else ''}")


def _words(text):
    words, word = set(), ""
    for char in text + " ":
        if char.isalnum() or char == "_":
            word += char
        else:
            words.add(word)
            word = ""
    return words
