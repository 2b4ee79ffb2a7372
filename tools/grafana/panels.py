"""Panels and dashboards as Grafana's JSON, from short descriptions."""
import re

from queries import Metric

SCHEMA_VERSION = 41  # of Grafana 11.6
SQL = {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}
TEXTS = {"type": "grafana-postgresql-datasource", "uid": "${texts}"}
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
GREEN, YELLOW, RED = "green", "yellow", "red"


def _thresholds(steps):
    """`steps`: colour, then value and colour by turns."""
    out = [{"color": steps[0], "value": None}]
    out += [{"color": steps[i + 1], "value": steps[i]} for i in range(1, len(steps), 2)]
    return {"mode": "absolute", "steps": out}


class Panel:
    """A panel without its place. `contract`: numbers of the 3.2.0 panels that it answers, like 1.3."""

    def __init__(self, kind, title, description, query, *, unit="short", contract=(), width=12, height=8, steps=None, source=SQL,
                 units=None, options=None, stack=False, lowest=None, highest=None, links=None, instant=False, per_row=False):
        self.kind, self.title, self.description, self.contract = kind, title, description, tuple(contract)
        self.width, self.height = width, height
        self.queries = query if isinstance(query, list) else [query]
        self.source, self.unit, self.units = source, unit, units or {}
        self.steps, self.options, self.stack = steps, options or {}, stack
        self.lowest, self.highest, self.links = lowest, highest, links or {}
        self.instant, self.per_row = instant, per_row

    def _targets(self):
        targets = []
        for place, query in enumerate(self.queries):
            target = {"refId": chr(ord("A") + place), "datasource": self.source}
            if self.source is PROMETHEUS:
                expression, legend = query if isinstance(query, tuple) else (query, "__auto")
                target |= {"expr": expression, "legendFormat": legend, "editorMode": "code", "range": not self.instant,
                           "instant": self.instant, "format": "table" if self.kind == "table" else "time_series"}
            else:
                target |= {"rawSql": query, "rawQuery": True, "editorMode": "code",
                           "format": "time_series" if self.kind == "timeseries" or self.options.get("series") else "table"}
            targets.append(target)
        return targets

    def _bridged(self):
        readings = [Metric(name).every for query in self.queries if isinstance(query, str) and re.search(r"_(max|min|sum|count)\b", query)
                    for name in re.findall(r"readable\.(\w+)\(", query) if name != "covered"]
        return max(readings) * 180_000 if readings else False

    def json(self, number, x, y):
        defaults = {"unit": self.unit, "noValue": "unknown", "mappings": [], "color": {"mode": "palette-classic"}}
        if self.steps:
            defaults |= {"thresholds": _thresholds(self.steps), "color": {"mode": "thresholds"}}
        if self.kind == "timeseries":
            defaults["color"] = {"mode": "palette-classic"}
            # A gap is drawn as a gap. Steps may be shorter than the time between two readings of a gauge: over three of these a
            # line goes on.
            defaults["custom"] = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if self.stack else 10,
                                  "spanNulls": self._bridged(), "showPoints": "auto", "axisSoftMin": 0,
                                  "stacking": {"mode": "normal" if self.stack else "none", "group": "A"},
                                  "thresholdsStyle": {"mode": "dashed" if self.steps else "off"}}
        for name, value in (("min", self.lowest), ("max", self.highest)):
            if value is not None:
                defaults[name] = value
        overrides = []
        # Pages share units; only those of columns that are there say anything.
        texts = " ".join(query if isinstance(query, str) else query[0] for query in self.queries)
        for name in sorted(set(self.units) | set(self.links)):
            if self.source is not PROMETHEUS and f'"{name}"' not in texts:
                continue
            properties = [{"id": "unit", "value": self.units[name]}] if name in self.units else []
            if name in self.links:
                properties.append({"id": "links", "value": [self.links[name]]})
            overrides.append({"matcher": {"id": "byName", "options": name}, "properties": properties})
        options = {
            "timeseries": {"legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
                           "tooltip": {"mode": "multi", "sort": "desc"}},
            "table": {"frameIndex": 0, "showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "countRows": False}},
            "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": self.per_row}, "orientation": "auto",
                     "colorMode": "value" if self.steps else "none", "graphMode": "none", "justifyMode": "auto",
                     "textMode": "auto", "wideLayout": True, "showPercentChange": False,
                     "percentChangeColorMode": "standard"},
            "gauge": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": self.per_row}, "orientation": "auto",
                      "showThresholdLabels": False, "showThresholdMarkers": True, "sizing": "auto", "minVizWidth": 75,
                      "minVizHeight": 75},
            "piechart": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": True}, "orientation": "auto", "pieType": "pie",
                         "displayLabels": [], "tooltip": {"mode": "single", "sort": "none"},
                         "legend": {"showLegend": True, "displayMode": "table", "placement": "right", "calcs": [],
                                    "values": ["value", "percent"]}},
            "bargauge": {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": True}, "orientation": "horizontal",
                         "displayMode": "basic", "valueMode": "color", "namePlacement": "auto", "showUnfilled": True,
                         "sizing": "auto", "minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 300,
                         "legend": {"showLegend": False, "displayMode": "hidden", "placement": "bottom", "calcs": []}},
        }[self.kind]
        return {"id": number, "type": self.kind, "title": self.title, "description": self.description,
                "datasource": self.source, "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
                "targets": self._targets(), "options": options, "transparent": False,
                "fieldConfig": {"defaults": defaults, "overrides": overrides}}


def chart(title, description, query, **more):
    return Panel("timeseries", title, description, query, **more)


def table(title, description, query, **more):
    return Panel("table", title, description, query, **more)


def stat(title, description, query, **more):
    return Panel("stat", title, description, query, **({"width": 6, "height": 4, "per_row": True} | more))


def gauge(title, description, query, **more):
    return Panel("gauge", title, description, query, **({"width": 6, "height": 6, "per_row": True} | more))


def pie(title, description, query, **more):
    return Panel("piechart", title, description, query, **more)


def bars(title, description, query, **more):
    return Panel("bargauge", title, description, query, **more)


def _variable(name, label, kind, **more):
    return {"name": name, "label": label, "type": kind, "hide": 0, "skipUrlSync": False} | more


def data_source_variable(name, label, plugin, wanted, uid):
    return _variable(name, label, "datasource", query=plugin, current={"selected": True, "text": wanted, "value": uid},
                     includeAll=False, multi=False, options=[], refresh=1, regex="")


def query_variable(name, label, sql, multi=True):
    current = {"selected": True, "text": ["All"], "value": ["$__all"]} if multi else {}
    return _variable(name, label, "query", query=sql, datasource=SQL, includeAll=multi, multi=multi, options=[],
                     refresh=2, regex="", sort=0, current=current)


def text_variable(name, label, value=""):
    return _variable(name, label, "textbox", query=value, current={"selected": True, "text": value, "value": value}, options=[])


# Interval of auto: the range by AUTO_COUNT, rounded, at least AUTO_LEAST.
INTERVALS, AUTO_COUNT, AUTO_LEAST = "1m,5m,15m,1h,6h,1d", 120, "1m"


def interval_variable():
    choices = [{"selected": True, "text": "auto", "value": "$__auto_interval_interval"}]
    choices += [{"selected": False, "text": one, "value": one} for one in INTERVALS.split(",")]
    return _variable("interval", "Step", "interval", query=INTERVALS, auto=True, auto_count=AUTO_COUNT, auto_min=AUTO_LEAST,
                     refresh=2, options=choices, current={"selected": True, "text": "auto", "value": "$__auto_interval_interval"})


def dashboard(uid, title, description, rows, variables, *, hours=24, refresh="1m"):
    """`rows`: heading -> panels, which fill lines of width 24 from the left. Returns Grafana's JSON, and number and title of each
    panel that answers one of release 3.2.0."""
    panels, number, y = [], 1, 0
    answered = [(old, panel.title) for members in rows.values() for panel in members for old in panel.contract]
    for heading, members in rows.items():
        panels.append({"id": number, "type": "row", "title": heading, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        number, y, x, tallest = number + 1, y + 1, 0, 0
        for panel in members:
            if x + panel.width > 24:
                x, y, tallest = 0, y + tallest, 0
            panels.append(panel.json(number, x, y))
            number, x, tallest = number + 1, x + panel.width, max(tallest, panel.height)
        y += tallest
    return {
        "uid": uid, "title": title, "description": description, "tags": ["pganalytics"], "timezone": "browser",
        "editable": True, "graphTooltip": 1, "schemaVersion": SCHEMA_VERSION, "version": 1, "refresh": refresh,
        "fiscalYearStartMonth": 0, "weekStart": "", "preload": False,
        "time": {"from": f"now-{hours}h", "to": "now"},
        "timepicker": {"refresh_intervals": ["30s", "1m", "5m", "15m", "30m", "1h"]},
        "annotations": {"list": []},
        "links": [{"title": "pgAnalytics", "type": "dashboards", "tags": ["pganalytics"], "asDropdown": True, "icon": "external link",
                   "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}],
        "templating": {"list": variables},
        "panels": panels,
    }, answered
