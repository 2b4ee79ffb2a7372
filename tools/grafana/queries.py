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
# Where figures begin: at a full hour when the range is longer than three, so that no day of readings is decoded for a part of one.
SINCE = f"CASE WHEN {RANGE} > interval '3 hours' THEN date_trunc('hour', {FROM}::timestamptz, 'UTC') ELSE {FROM}::timestamptz END"
SPAN = f"({TO}::timestamptz - {SINCE})"
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
        self.every = entry.get("interval_factor", 1)  # collection intervals between two readings
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
    return f"readable.{metric}({SINCE}, {TO}, {step or step_of(metric)})"


def covered(metric, step=None):
    return f"readable.covered('{metric}', {SINCE}, {TO}, {step or step_of(metric)})"


def over_range(metric):
    return stepped(metric, WHOLE)


def _where(*conditions):
    return " AND ".join(f"({c})" if " OR " in c else c for c in (CHOSEN, *conditions) if c)


def _over_time(metric, values, figures, by, keep=None, divide=None, absent_is_zero=False):
    """A chart's query: `values` is a query of time, source_id, with `by` label, and figures f0, f1, ..; `figures` are their names.

    Rows stand for steps that have values, and, with NULL, for those in which no reading covers anything, so that the chart has a
    gap there. `divide`: seconds or readings that cover the step."""
    about = Metric(metric)
    scope = ", database_oid" if about.per_database and divide else ""
    keys = "time, source_id" + scope
    cover = covered(metric)
    parts = [f"v AS (\n{values})"]
    if by:
        first = f" ORDER BY sum(f0) DESC NULLS LAST LIMIT {keep}" if keep else ""
        parts.append(f"l AS (\n  SELECT source_id{scope}, label FROM v GROUP BY source_id{scope}, label{first})")
    if about.per_database and not divide:
        cover = (f"(SELECT time, source_id, source_name, sum(seconds) AS seconds FROM {cover}\n"
                 f"          WHERE {CHOSEN} GROUP BY 1, 2, 3)")
    shown = []
    for place, name in enumerate(figures):
        value = f"v.f{place}"
        if absent_is_zero:
            value = f"CASE WHEN v.time IS NULL THEN 0 ELSE {value} END"
        if divide:
            value += f" / nullif(c.{divide}, 0)"
        shown.append(f"{'sum(' + value + ')' if scope else value} AS \"{name}\"")
    lines = ["WITH " + ",\n".join(parts),
             f"SELECT c.time, {LABELLED if by else 'c.source_name'} AS metric, {', '.join(shown)}", f"  FROM {cover} c"]
    if by:
        lines.append(f"  JOIN l USING (source_id{scope})")
    lines.append(f"  LEFT JOIN v USING ({keys}{', label' if by else ''})")
    there = {"readings": "c.readings > 0"}.get(divide, "true") if absent_is_zero else "v.time IS NOT NULL"
    lines.append(f"  WHERE c.{CHOSEN}" + (f" AND ({there} OR c.seconds = 0)" if there != "true" else ""))
    if scope:
        lines.append("  GROUP BY 1, 2")
    return "\n".join([*lines, "  ORDER BY 1, 2"])


def _values(metric, figures, by, where, scope=""):
    sums = ", ".join(f"{sql} AS f{place}" for place, sql in enumerate(figures.values()))
    label = f", {by} AS label" if by else ""
    return (f"  SELECT time, source_id{scope}{label}, {sums}\n    FROM {stepped(metric)}\n    WHERE {_where(where)}\n"
            f"    GROUP BY time, source_id{scope}{', label' if by else ''}")


def rate(metric, figures, by=None, where=None, keep=None, per="seconds", absent_is_zero=None):
    """Increases a second of covered time, per source and label `by`. `figures`: name -> SQL over the columns; `keep`: no more
    labels than that, those with most of the first figure. With `per="readings"` and sums of readings: the average over readings
    of what comes and goes. A row that is not there is 0 (`absent_is_zero`) where the metric leaves out what did not change."""
    about = Metric(metric)
    return _over_time(metric, _values(metric, figures, by, where, ", database_oid" if about.per_database else ""), figures, by, keep,
                      per, about.leaves_out if absent_is_zero is None else absent_is_zero)


def increase(metric, figures, by=None, where=None):
    """Figures of each step: sums of increases, or greatest and least readings like max(lag_us_max)."""
    return _over_time(metric, _values(metric, figures, by, where), figures, by)


def quotient(metric, name, part, whole, by=None, where=None):
    """part / whole of each step; NULL where the whole is 0."""
    return increase(metric, {name: f"({part}) / nullif({whole}, 0)"}, by, where)


def average(metric, column, name, by=None, where=None, series="", scale=""):
    """Average of the readings of each series in a step, series added up per source and label. `series`: further labels that
    tell series apart."""
    keys = "".join(f", {part}" for part in (series, f"{by} AS label" if by else "") if part)
    group = "".join(f", {part}" for part in (series, "label" if by else "") if part)
    values = (f"  SELECT time, source_id{', label' if by else ''}, sum(value){scale} AS f0\n"
              f"    FROM (SELECT time, source_id{keys}, sum({column}_sum) / nullif(sum({column}_count), 0)::float8 AS value\n"
              f"            FROM {stepped(metric)}\n            WHERE {_where(where)}\n"
              f"            GROUP BY time, source_id{group}) s\n    GROUP BY time, source_id{', label' if by else ''}")
    return _over_time(metric, values, [name], by)


def counted(metric, name, what, where=None):
    """How many different ones a step has; 0 where a reading has none."""
    values = (f"  SELECT time, source_id, count(DISTINCT {what}) AS f0\n    FROM {stepped(metric)}\n"
              f"    WHERE {_where('NOT gone', where)}\n    GROUP BY time, source_id")
    return (_over_time(metric, values, [name], None, divide="readings", absent_is_zero=True)
            .replace(" / nullif(c.readings, 0)", ""))


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
