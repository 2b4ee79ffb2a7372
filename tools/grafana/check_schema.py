#!/usr/bin/env python3
"""Checks the dashboards against the types that Grafana publishes (npm package @grafana/schema), with TypeScript.

    tools/grafana/check_schema.py FOLDER_OF_THE_PACKAGE COMPILER WORK_FOLDER

Every dashboard is a literal of type Dashboard, every panel's options and custom fields literals of the types of its plugin: a
field that is missing, of another type, or unknown is an error of the compiler. Enumerations of texts become unions of their
values, because a literal is no member of an enumeration.
"""
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = {"timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen", "table": "table/panelcfg/x/TablePanelCfg_types.gen",
           "stat": "stat/panelcfg/x/StatPanelCfg_types.gen", "gauge": "gauge/panelcfg/x/GaugePanelCfg_types.gen",
           "piechart": "piechart/panelcfg/x/PieChartPanelCfg_types.gen", "bargauge": "bargauge/panelcfg/x/BarGaugePanelCfg_types.gen"}
# Grafana saves these of a variable of kind interval; its published type has one shape for variables of all kinds, without them.
UNPUBLISHED = ("auto", "auto_count", "auto_min")
ENUM = re.compile(r"(?:declare )?enum (\w+) \{(.*?)\n?\}", re.S)


def values_of(match):
    values = re.findall(r"= (\"[^\"]*\"|-?\d+)", match.group(2))
    return f"type {match.group(1)} = {' | '.join(values)};"


def main(package, tsc, work):
    work = pathlib.Path(work)
    types = work / "types"
    source = pathlib.Path(package) / "dist/esm"
    for path in source.rglob("*.d.ts"):
        target = types / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(ENUM.sub(values_of, path.read_text(encoding="utf-8")), encoding="utf-8")
    lines = ["import type { Dashboard } from './types/raw/dashboard/x/dashboard_types.gen';"]
    lines += [f"import type * as {kind} from './types/raw/composable/{path}';" for kind, path in PLUGINS.items()]
    panels = 0
    boards = sorted((ROOT / "tools/deploy/grafana/dashboards").glob("*.json"))
    for number, path in enumerate(boards):
        board = json.loads(path.read_text(encoding="utf-8"))
        for variable in board["templating"]["list"]:
            for field in UNPUBLISHED:
                variable.pop(field, None)
        lines.append(f"export const d{number}: Dashboard = {json.dumps(board, ensure_ascii=False)};")
        for panel in board["panels"]:
            if panel["type"] == "row":
                continue
            name = f"d{number}p{panel['id']}"
            lines.append(f"export const {name}: {panel['type']}.Options = {json.dumps(panel['options'])};")
            custom = panel["fieldConfig"]["defaults"].get("custom")
            if custom is not None:
                lines.append(f"export const {name}c: {panel['type']}.FieldConfig = {json.dumps(custom)};")
            panels += 1
    (work / "dashboards.ts").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (work / "tsconfig.json").write_text(json.dumps({
        "compilerOptions": {"strict": True, "noEmit": True, "skipLibCheck": True, "module": "esnext", "moduleResolution": "bundler",
                            "target": "esnext", "types": [], "paths": {"@grafana/schema": ["./types/index.d.ts"]}},
        "files": ["dashboards.ts"]}), encoding="utf-8")
    done = subprocess.run([*tsc.split(), "-p", str(work / "tsconfig.json")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120)
    print(done.stdout, end="")
    print(f"schema: {len(boards)} dashboards with {panels} panels {'fit' if done.returncode == 0 else 'do not fit'} the published types")
    return done.returncode


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
