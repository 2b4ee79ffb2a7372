"""What Grafana does with a panel before a database sees its query, for data sources of kinds PostgreSQL and Prometheus.

Variables are replaced in the browser: of one that may have several values each value as a quoted literal, of any other the text
itself. Then the backend replaces $__interval and macros, as Grafana's pkg/tsdb/grafana-postgresql-datasource does.
"""
import datetime
import re

VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
MACRO = re.compile(r"\$__(\w+)\(([^)]*)\)")
# Escaped twice: for the regular expression, and for the text that holds it.
SPECIAL = re.compile(r"[\\$^*{}\[\]'+?.()|]")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(interval):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|d)", interval).groups()
    return int(number) * SECONDS[unit]


def rfc3339(instant):
    moment = datetime.datetime.fromtimestamp(instant, datetime.timezone.utc)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return text + "Z"


def literal(text):
    return "'" + text.replace("'", "''") + "'"


def variables_into(text, values, list_of):
    """`values`: name -> text, or list of texts. What starts with __ is left to the backend."""
    def replace(match):
        name = match.group(1) or match.group(3)
        if name.startswith("__") or name not in values:
            if name.startswith("__"):
                return match.group(0)
            raise ValueError(f"variable {name} has no value")
        value = values[name]
        return list_of(value) if isinstance(value, list) else value.replace("'", "''")
    return VARIABLE.sub(replace, text)


def sql(text, start, end, interval, values):
    text = variables_into(text, values, lambda value: ",".join(literal(one) for one in value))
    text = text.replace("$__interval", interval)

    def macro(match):
        name, arguments = match.group(1), [part.strip() for part in match.group(2).split(",")]
        if name == "timeFrom":
            return literal(rfc3339(start))
        if name == "timeTo":
            return literal(rfc3339(end))
        if name == "timeGroup":
            width = seconds_of(arguments[1].strip("'"))
            width = int(width) if width == int(width) else width
            return f"floor(extract(epoch from {arguments[0]})/{width})*{width}"
        raise ValueError(f"macro $__{name} is none of those of the data source that these dashboards use")
    text = MACRO.sub(macro, text)
    if "$" in re.sub(r"'[^']*'", "", text):
        raise ValueError(f"something is left to replace in {text}")
    return text


def promql(text, interval, scrape, values):
    step = seconds_of(interval)
    rate = max(step + scrape, 4 * scrape)
    text = text.replace("$__rate_interval", f"{int(rate * 1000)}ms").replace("$__interval", interval)
    return variables_into(text, values, lambda value: "(" + "|".join(SPECIAL.sub(r"\\\\\g<0>", one) for one in value) + ")")


def auto_interval(seconds, count, least):
    """The step that a variable of kind interval takes for a range."""
    steps = ["10ms", "20ms", "50ms", "100ms", "200ms", "500ms", "1s", "2s", "5s", "10s", "15s", "20s", "30s", "1m", "2m", "5m", "10m",
             "15m", "20m", "30m", "1h", "2h", "3h", "6h", "12h", "1d", "7d", "30d"]
    wanted = max(seconds / count, seconds_of(least))
    for small, large in zip(steps, steps[1:]):
        if wanted < (seconds_of(small) + seconds_of(large)) / 2:
            return small
    return steps[-1]
