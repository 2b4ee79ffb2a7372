#!/usr/bin/env python3
"""Asks every panel of every dashboard as Grafana would, and compares kinds of panels with the API.

    panels_test.py sql    SQL panels, as the logins of readers: of the real collectors, and of all sources over a day
    panels_test.py prometheus

Environment: PGPORT, READER_PASSWORD, URL, TOKEN, REAL (ids of the real sources), ALL (ids of all), NEWER (set when one is of PostgreSQL 16 or later),
START, END (seconds), PROMETHEUS
(URL), SCRAPE (seconds), METRICS (URLs of /metrics). Prints a line per failed check and a summary; exit code 1 when one failed.
"""
import collections
import concurrent.futures
import csv
import datetime
import io
import json
import math
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import grafana

ROOT = pathlib.Path(__file__).resolve().parents[3]
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8"))
          for path in sorted((ROOT / "tools/deploy/grafana/dashboards").glob("*.json"))}
NULL = "\x01null"
READER = {"${datasource}": "pganalytics_reader", "${texts}": "pganalytics_reader_texts"}

# Panels that need what this machine may not have. All others must return rows.
MAY_BE_WITHOUT_ROWS = {
    ("pga-host", "Control group"): "the collector may be in no group with figures",
    ("pga-host", "Held up by the control group"): "the collector may be in no group with figures",
    ("pga-host", "Pressure"): "the kernel may not measure it",
    ("pga-host", "Disk throughput"): "a container may see no disk",
    ("pga-host", "Disks busy"): "a container may see no disk",
    ("pga-host", "Time per request"): "a container may see no disk",
}
if "NEWER" not in os.environ:
    MAY_BE_WITHOUT_ROWS |= {
        ("pga-io", "Reads and writes by kind of process"): "pg_stat_io is of PostgreSQL 16 and later, and none is here",
        ("pga-io", "Time of reads and writes"): "pg_stat_io is of PostgreSQL 16 and later, and none is here",
    }

failures = 0
passed = 0


def check(name, good, detail=""):
    global failures, passed
    if good:
        passed += 1
    else:
        failures += 1
        print(f"FAIL {name}: {str(detail)[:900]}")


class Answer:
    def __init__(self, types, header, rows, seconds):
        self.types, self.header, self.rows, self.seconds = types, header, rows, seconds

    def column(self, name):
        place = self.header.index(name)
        return [None if row[place] == NULL else row[place] for row in self.rows]

    def records(self):
        return [{name: None if value == NULL else value for name, value in zip(self.header, row)} for row in self.rows]


class Session:
    """A connection that stays, as those of Grafana's pool do."""

    def __init__(self, login):
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "--csv", "-h", "127.0.0.1", "-U", login, "-d", "metrics"], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | {"PGPASSWORD": os.environ["READER_PASSWORD"], "PGTZ": "UTC"})
        self._send(f"\\pset null '{NULL}'\n")

    def _send(self, script):
        self.process.stdin.write(script)
        self.process.stdin.flush()

    def _part(self):
        lines = []
        for line in self.process.stdout:
            if line.startswith("====="):
                failed, message = line[5:].split(" ", 1)
                if failed == "true":
                    # The other part says the same.
                    lines = [message]
                return failed == "true", "".join(lines)
            lines.append(line)
        raise RuntimeError("psql has ended")

    def ask(self, text):
        self._send(f"{text}\n\\gdesc\n\\echo =====:ERROR :LAST_ERROR_MESSAGE\n")
        failed, described = self._part()
        if failed:
            raise RuntimeError(described)
        began = time.monotonic()
        self._send(f"{text}\n;\n\\echo =====:ERROR :LAST_ERROR_MESSAGE\n")
        failed, data = self._part()
        if failed:
            raise RuntimeError(data)
        types = {name: kind for name, kind in list(csv.reader(io.StringIO(described)))[1:]}
        table = list(csv.reader(io.StringIO(data)))
        return Answer(types, table[0], table[1:], time.monotonic() - began)


SESSIONS = {}
POOL = concurrent.futures.ThreadPoolExecutor(max_workers=2)


def ask_sql(login, text):
    at = (login, threading.get_ident())
    if at not in SESSIONS:
        SESSIONS[at] = Session(login)
    return SESSIONS[at].ask(text)


def ask_api(path, **parameters):
    query = urllib.parse.urlencode(parameters, doseq=True)
    request = urllib.request.Request(f"{os.environ['URL']}{path}?{query}", headers={"Authorization": f"Bearer {os.environ['TOKEN']}"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def panels():
    for uid, board in BOARDS.items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield uid, board, panel


NUMBERS = {"bigint", "integer", "smallint", "numeric", "double precision", "real"}
SHOWN = NUMBERS | {"text", "boolean", "timestamp with time zone", "name", "character varying"}


def shape_problems(panel, target, answer):
    """What Grafana could not show."""
    problems = []
    strange = {name: kind for name, kind in answer.types.items() if kind not in SHOWN}
    if strange:
        problems.append(f"columns of types that Grafana does not read: {strange}")
    if len(set(answer.header)) != len(answer.header):
        problems.append("two columns have one name")
    numbers = [name for name, kind in answer.types.items() if kind in NUMBERS and name != "time"]
    if panel["type"] != "table" and not numbers:
        problems.append("no number")
    if "time" in answer.types and target["format"] == "table" and answer.types["time"] in NUMBERS:
        problems.append("a number is called time")
    if target["format"] == "time_series":
        if answer.types.get("time") not in ("timestamp with time zone", "numeric", "double precision"):
            return [*problems, f"no column time: {answer.types} {answer.header}"]
        instants = answer.column("time")
        order = instants if answer.types["time"] == "timestamp with time zone" else [float(instant) for instant in instants]
        if order != sorted(order):
            problems.append("not in order of time")
        names = answer.column("metric") if "metric" in answer.header else [""] * len(instants)
        if len(set(zip(instants, names))) != len(instants):
            problems.append("two values of one series at one instant")
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] not in answer.header and panel["type"] == "table":
            problems.append(f"a unit or link of a column that is not there: {override['matcher']['options']}")
    return problems


def values_of(sources, interval, query):
    return {"source": sources, "database": DATABASES, "interval": interval, "query": query}


def run_all(label, sources, start, end, interval, query, must_have_rows, only=None):
    """Every SQL panel, or `only` those; returns the answers."""
    jobs = []
    for uid, board, panel in panels():
        if only is not None and (uid, panel["title"]) not in only:
            continue
        for target in panel["targets"]:
            if "rawSql" in target:
                text = grafana.sql(target["rawSql"], start, end, interval, values_of(sources, interval, query))
                jobs.append((uid, panel, target, text, READER[target["datasource"]["uid"]]))
    answers = {}

    def work(job):
        try:
            return ask_sql(job[4], job[3]), None
        except (RuntimeError, ValueError) as error:
            return None, error
    for job, (answer, error) in zip(jobs, POOL.map(work, jobs)):
        uid, panel, target, text, _ = job
        name = f"{label}: {uid} / {panel['title']}"
        if error is not None:
            check(name, False, f"{error}\n{text}")
            continue
        answers[uid, panel["title"]] = answer
        try:
            problems = shape_problems(panel, target, answer)
        except ValueError as error:
            problems = [f"{error} {answer.types} {answer.header} {answer.rows[:2]} {text}"]
        known = any(cell != NULL for row in answer.rows for kind, cell in zip(answer.types.values(), row) if kind in NUMBERS)
        if not answer.rows or not known and NUMBERS & set(answer.types.values()):
            if must_have_rows(uid, panel["title"]):
                problems.append("no row" if not answer.rows else "every number is unknown")
        check(name, not problems, "; ".join(problems))
    slow = sorted(((answer.seconds, at) for at, answer in answers.items()), reverse=True)[:6]
    print(f"{label}: {len(answers)} panels in {sum(a.seconds for a in answers.values()):.1f} s; slowest: "
          + ", ".join(f"{uid}/{title} {seconds:.2f} s" for seconds, (uid, title) in slow))
    if os.environ.get("TIMES"):
        with open(os.environ["TIMES"] + "." + label.replace(" ", "-"), "w", encoding="utf-8") as out:
            for (uid, title), answer in sorted(answers.items(), key=lambda item: -item[1].seconds):
                out.write(f"{answer.seconds:.3f}\t{len(answer.rows)}\t{uid}\t{title}\n")
    return answers


# --- Against the API

def instant(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def near(a, b, relative=1e-9):
    if a is None or b is None:
        return a is None and b is None
    return math.isclose(float(a), float(b), rel_tol=relative, abs_tol=1e-9)


def series(metric, column, sources, start, end, step, **more):
    """(labels as a tuple of values, second) -> value."""
    found = {}
    names = []
    for one in ask_api("/api/v1/series", metric=metric, column=column, source=sources, start=grafana.rfc3339(start),
                       end=grafana.rfc3339(end), step=step, limit=1000, **more):
        labels = tuple([one.get("source_name", "")] + [one.get("labels", {}).get(name, "") for name in more.get("group_by", [])
                                                       if name != "source"])
        names.append(labels)
        for point in one["points"]:
            found[" ".join(label for label in labels if label), instant(point["time"])] = point.get("value")
    return found


def charted(answer, column, scale=1):
    return {(row["metric"], instant(row["time"])): None if row[column] is None else float(row[column]) * scale
            for row in answer.records()}


def same_series(name, shown, known, relative=1e-9, zero_is_absent=False):
    """Both say the same of every series and instant; what one does not have the other does not know."""
    different = []
    compared = 0
    for at in sorted(set(shown) | set(known)):
        a, b = shown.get(at), known.get(at)
        if zero_is_absent and not a and not b:
            continue
        compared += a is not None
        if not near(a, b, relative):
            different.append(f"{at}: panel {a}, API {b}")
    check(f"{name}: equals the API", not different and compared > 0,
          f"{len(different)} of {len(set(shown) | set(known))}, {compared} compared: {different[:4]}")


COMPARED = {("pga-overview", "WAL written"), ("pga-overview", "Statement time"), ("pga-connections", "Commits"),
            ("pga-activity", "Deadlocks"), ("pga-io", "WAL Directory Size Over Time"),
            ("pga-by-server", "Query Execution Time Trend"), ("pga-queries", "Total Query Count")}


def compare(label, answers, sources, start, end, interval):
    step = int(grafana.seconds_of(interval))

    def api(metric, column, **more):
        return series(metric, column, sources, start, end, step, **({"group_by": ["source"]} | more))
    # Rate of a metric of one row.
    same_series(f"{label}: rate", charted(answers["pga-overview", "WAL written"], "WAL"), api("wal", "position_bytes", rate="true"))
    # Rates added up over rows that are left out when they did not change.
    same_series(f"{label}: rate of statements", charted(answers["pga-overview", "Statement time"], "seconds", 1e6),
                api("statements", "total_exec_time_us", rate="true"))
    # Rates by a label.
    same_series(f"{label}: rate by label", charted(answers["pga-connections", "Commits"], "commits"),
                {at: value for at, value in api("database", "xact_commit", rate="true", group_by=["source", "datname"]).items()
                 if at[0].split(" ")[-1] in DATABASES})
    # Increases.
    same_series(f"{label}: increase", charted(answers["pga-activity", "Deadlocks"], "deadlocks"), api("database", "deadlocks"))
    if label == "real":
        same_series(f"{label}: increase of a metric read per database",
                    charted(answers["pga-vacuum", "Vacuums"], "vacuum"), api("table_stats", "vacuum_count"), zero_is_absent=True)
    # Greatest reading.
    same_series(f"{label}: greatest", charted(answers["pga-io", "WAL Directory Size Over Time"], "size"),
                api("wal", "directory_bytes", aggregate="max"))
    # Quotients of two increases.
    us, calls = api("statements", "total_exec_time_us"), api("statements", "calls")
    same_series(f"{label}: quotient", charted(answers["pga-by-server", "Query Execution Time Trend"], "mean"),
                {at: value / calls[at] / 1000 if value is not None and calls.get(at) else None for at, value in us.items()})
    # One number.
    total = float(answers["pga-queries", "Total Query Count"].rows[0][0])
    known = sum(value for value in calls.values() if value is not None)
    check(f"{label}: total: equals the API", near(total, known), f"panel {total}, API {known}")


def compare_sessions(label, answers, sources, start, end, interval):
    step = int(grafana.seconds_of(interval))
    known = series("activity", "sessions_avg", sources, start, end, step, group_by=["source", "wait_event_type"],
                   filter=["state=active", "backend_type=client backend"], aggregate="sum")
    known = {(name if " " in name else name + " CPU", at): value for (name, at), value in known.items()}
    same_series(f"{label}: sessions", charted(answers["pga-activity", "Active sessions by wait"], "sessions"), known, relative=1e-6,
                zero_is_absent=True)


def ask_panel(uid, title, sources, start, end, interval="1m"):
    panel = next(one for one in BOARDS[uid]["panels"] if one["title"] == title)
    return ask_sql("pganalytics_reader", grafana.sql(panel["targets"][0]["rawSql"], start, end, interval, values_of(sources, interval, "0")))


def compare_top(label, sources, start, end):
    # The API answers for whole minutes.
    start, end = start - start % 60, end + -end % 60
    # As the panels do.
    known_from = start - start % 3600 if end - start > 3 * 3600 else start
    top = ask_api("/api/v1/queries/top", source=sources, start=grafana.rfc3339(known_from), end=grafana.rfc3339(end), order_by="total_time",
                  limit=1000)
    known = collections.defaultdict(lambda: [0.0, 0.0, 0.0])
    for one in top["queries"]:
        at = known[one["source_name"], one.get("database_name", ""), one.get("user_name", ""), one["query_id"]]
        for place, value in enumerate((one["total_time"] / 1000, one["calls"], one["rows"])):
            at[place] += value
    rows = ask_panel("pga-queries", "Top Queries by Total Execution Time", sources, start, end).records()
    wrong = []
    for row in rows:
        at = (row["source"], row["database"] or "", row["user"] or "", row["query"])
        figures = (float(row["total"]), float(row["calls"]), float(row["rows"]))
        if at not in known or not all(near(a, b, 1e-6) for a, b in zip(figures, known[at])):
            wrong.append(f"{at}: panel {figures}, API {known.get(at)}")
    shown = sorted((float(row["total"]) for row in rows), reverse=True)
    best = sorted((figures[0] for figures in known.values()), reverse=True)[:len(shown)]
    check(f"{label}: top statements: equal the API", rows and not wrong, wrong[:3])
    check(f"{label}: top statements: are the first", all(near(a, b, 1e-6) for a, b in zip(shown, best)), f"{shown[:5]} {best[:5]}")
    slices = ask_panel("pga-queries", "Top 10 Queries by Total Execution Time", sources, start, end).records()
    check(f"{label}: pie: equals the API", slices and near(
        sum(float(one["seconds"]) for one in slices[:1]),
        max(sum(f[0] for at, f in known.items() if " ".join((at[0], at[1], at[3])) == slices[0]["name"]), 0), 1e-6), slices[:2])


def compare_state(label, answers, sources, end):
    state = ask_api("/api/v1/state", metric="settings", source=sources, end=grafana.rfc3339(end), start=grafana.rfc3339(end - 3600),
                    limit=10000)
    known = {(row["source_name"], row["labels"]["setting_name"]): row["values"].get("setting_value") for row in state["rows"]
             if row["values"].get("setting_value") != row["values"].get("boot_value")}
    shown = {(row["source"], row["setting"]): row["value"] for row in
             answers["pga-changes", "Settings that are not the built-in ones"].records()}
    check(f"{label}: state: equals the API", shown and shown == known, set(shown.items()) ^ set(known.items()))


def compare_blocking(label, sources, start, end):
    # Everything that was read: waits that reach over an edge of the range are the API's as well.
    start, end = start - 600, end + 60
    edges = [edge for edge in ask_api("/api/v1/activity", source=sources, start=grafana.rfc3339(start), end=grafana.rfc3339(end),
                                      limit=1000)["blocking"] if not edge.get("lasts")]
    rows = ask_panel("pga-activity", "Who held whom", sources, start, end).records()
    shown = {row["holding application"]: 0.0 for row in rows}
    for row in rows:
        shown[row["holding application"]] += float(row["seconds"])
    known = collections.Counter()
    for edge in edges:
        known[edge["blocking"].get("application", "")] += edge["blocked_seconds"]
    check(f"{label}: blocking: equals the API", shown and all(abs(shown[name] - known[name]) < 0.1 + 0.02 * known[name] for name in shown)
          and set(shown) == set(known), f"panel {shown}, API {dict(known)}")


def compare_coverage(label, answers, sources, start, end):
    fresh = ask_api("/api/v1/freshness", source=sources, start=grafana.rfc3339(start), end=grafana.rfc3339(end))["freshness"]
    known = {(one["source_name"], one["metric"]): one["completeness"] * 100 for one in fresh}
    rows = answers["pga-collectors", "Coverage"].records()
    wrong = [f"{row}: {known.get((row['source'], row['metric']))}" for row in rows
             if not near(row["covered"], known.get((row["source"], row["metric"])), 1e-6)]
    check(f"{label}: coverage: equals the API", rows and not wrong, wrong[:4])


DATABASES = []


def sql_panels():
    real, everything = os.environ["REAL"].split(), os.environ["ALL"].split()
    simulated = [one for one in everything if one not in real]
    start, end = int(os.environ["START"]), int(os.environ["END"])
    # The variables' own queries, as the page asks them first.
    for uid, board in BOARDS.items():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query" and isinstance(variable["query"], str):
                answer = ask_sql("pganalytics_reader", grafana.sql(variable["query"], start, end, "1m", values_of(everything, "1m", "0")))
                check(f"{uid}: variable {variable['name']} has values", answer.rows)
                if variable["name"] == "database":
                    DATABASES[:] = [row[0] for row in answer.rows]
                if variable["name"] == "source":
                    check(f"{uid}: variable source has every source", sorted(row[1] for row in answer.rows) == sorted(everything),
                          answer.rows)
    query = ask_sql("pganalytics_reader_texts", "SELECT s.queryid::text FROM readable.statements s JOIN readable.statement_texts t USING "
                    "(source_id, dbid, queryid) WHERE t.query ~ 'UPDATE pgbench_accounts' GROUP BY 1 ORDER BY sum(s.calls) DESC NULLS "
                    "LAST LIMIT 1").rows[0][0]

    answers = run_all("real", real, start, end, "5s", query, lambda uid, title: (uid, title) not in MAY_BE_WITHOUT_ROWS)
    compare("real", answers, real, start, end, "5s")
    compare_sessions("real", answers, real, start, end, "5s")
    compare_top("real", real, start, end)
    compare_state("real", answers, real, end)
    compare_blocking("real", real, start, end)
    compare_coverage("real", answers, real, start, end)

    # Simulated sources have the day before today's midnight; with edges within hours, so that readings and hours answer.
    until = end - end % 86400 - 600
    since = until - 20 * 3600
    DATABASES[:] = [row[0] for row in ask_sql(
        "pganalytics_reader", f"SELECT DISTINCT datname FROM readable.database_size({grafana.literal(grafana.rfc3339(since))}, "
        f"{grafana.literal(grafana.rfc3339(until))}) WHERE datname IS NOT NULL").rows]
    interval = grafana.auto_interval(until - since, 120, "1m")
    if "MEASURE" in os.environ:
        run_all("a day", simulated, since, until, interval, query, lambda uid, title: False)
    compare_top("a day", simulated, since, until)
    since, until = since - since % 3600, until - until % 3600
    answers = run_all("a day by hours", simulated, since, until, "1h", query, lambda uid, title: False, COMPARED)
    compare("a day by hours", answers, simulated, since, until, "1h")


def prometheus_panels():
    base, scrape = os.environ["PROMETHEUS"], float(os.environ["SCRAPE"])

    def ask(path, **parameters):
        with urllib.request.urlopen(f"{base}{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as response:
            return json.load(response)["data"]
    now = time.time()
    jobs = sorted(name for name in ask("/api/v1/label/job/values") if name.startswith("pganalytics"))
    check("prometheus: variable job has values", jobs == ["pganalytics", "pganalytics-collectors"], jobs)
    asked = 0
    results = {}
    for uid, board, panel in panels():
        for target in panel["targets"]:
            if "expr" not in target:
                continue
            asked += 1
            text = grafana.promql(target["expr"], "1s", scrape, {"job": jobs})
            name = f"prometheus: {uid} / {panel['title']} / {target['refId']}"
            try:
                if target["instant"]:
                    result = ask("/api/v1/query", query=text, time=now)["result"]
                else:
                    result = ask("/api/v1/query_range", query=text, start=now - 15, end=now, step=1)["result"]
            except OSError as error:
                check(name, False, f"{error}: {text}")
                continue
            results[uid, panel["title"], target["refId"]] = result
            points = [value for one in result for _, value in (one.get("values") or [one["value"]])]
            known = [value for value in points if value != "NaN"]
            check(name, known or (panel["title"] in MAY_BE_NAN and points), f"{len(points)} points: {text}")
    # Values against what the processes themselves say.
    said = {}
    for url in os.environ["METRICS"].split():
        with urllib.request.urlopen(url, timeout=10) as response:
            for line in response.read().decode().splitlines():
                if line.startswith("process_start_time_seconds "):
                    said[urllib.parse.urlsplit(url).netloc] = float(line.split()[1]) * 1000
    shown = {one["metric"]["instance"]: float(one["value"][1]) for one in results["pga-suite", "Running since", "A"]}
    check("prometheus: start times equal /metrics", said and shown == said, f"{shown} {said}")
    # Hosts are sources too, and nobody connects to them.
    up = sum(1 for one in ask_api("/api/v1/sources")["sources"]
             if one["state"] in ("up", "incomplete") and not one["name"].startswith("host:"))
    figure = results["pga-suite", "Sources up", "A"][0]["value"][1]
    check("prometheus: sources up equal the API", float(figure) == up, f"panel {figure}, API {up}")
    print(f"prometheus: {asked} queries")


# Quantiles of what nobody asked in the time.
MAY_BE_NAN = {"Time of calls between services"}

if __name__ == "__main__":
    {"sql": sql_panels, "prometheus": prometheus_panels}[sys.argv[1]]()
    print(f"{sys.argv[1]}: {passed} passed, {failures} failed")
    sys.exit(1 if failures else 0)
