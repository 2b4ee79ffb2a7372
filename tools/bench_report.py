#!/usr/bin/env python3
"""Runs the benchmarks of build/bench one after the other and makes one report of their figures.

tools/bench.sh builds and calls this: bench_report.py [--mode small|full] [--report FILE] [--patience 1] [--list] [name ...]
Without names all run. A benchmark that fails or takes longer than its time is said so, the others go on, and the exit
code is 1. Figures that miss their target are marked; they do not change the exit code, for machines differ.

A benchmark appends its figures to a file as lines of JSON (libs/testing/bench_lines.h): name, value, unit, and perhaps
p50, p95, p99, runs, target. Programs of Google Benchmark write their own form, which is read too.
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = ROOT / "build/bench/bin"
# What a user asks of the storage, by the first word of a figure's name.
SECTIONS = {"space": "Space", "ingest": "Write", "read": "Read", "upkeep": "Compaction", "readable": "SQL for people",
            "memory": "Memory", "gateway": "Gateway and Envoy", "alerts": "Alerts", "columns": "Codec and kernels", "other": "Others"}

# name: minutes and command in the small and in the full form; None = not in this form. {lines}: where lines of JSON go;
# {out}: where Google Benchmark writes; {dir}: the folder of the report, which keeps what one step leaves for another.
SPACE = "tests/bench/space.sh --json {lines}"
STEPS = {
    "ingest": ((4, "{bin}/ingest_bench --json {lines} --minutes 60 --rounds 1 --writers 2 --live 10 --speeds 50"),
               (40, "{bin}/ingest_bench --json {lines} --rounds 5 --live 180")),
    "read": ((2, "{bin}/storage_read_benchmark --json {lines} 10 300"),
             (30, "{bin}/storage_read_benchmark --json {lines} 50 300")),
    "upkeep": ((3, "{bin}/upkeep_bench --json {lines} --sources 10 --hours 3 --fleet 100 --fleet-hours 1 "
                   "--backlog-days 5 --snapshot-hours 1 --models 5"),
               (60, "{bin}/upkeep_bench --json {lines}")),
    "record": ((2, "tools/fleetsim/record.sh {dir}/recorded.tsv 61 1"),
               (6, "tools/fleetsim/record.sh {dir}/recorded.tsv 121 2")),
    "space": ((2, SPACE + " --recorded {dir}/recorded.tsv --dump --detail {dir}/space.json 2 3 300"),
              (60, SPACE + " --recorded {dir}/recorded.tsv --dump --detail {dir}/space.json 50 30 300")),
    "space_100": ((2, SPACE + " 1 1 100"), (10, SPACE + " 10 3 100")),
    "space_1000": ((2, SPACE + " 1 1 1000"), (15, SPACE + " 10 3 1000")),
    "readable": ((2, "{bin}/readable_bench --json {lines} 60"), (10, "{bin}/readable_bench --json {lines} 300 13 15 18")),
    "kernels": ((1, "{bin}/columns_kernels_benchmark --benchmark_out={out} --benchmark_min_time=0.05"),
                (5, "{bin}/columns_kernels_benchmark --benchmark_out={out} --benchmark_repetitions=5")),
    "encoding": (None, (15, "{bin}/columns_encoding_benchmark")),
    "frame": ((1, "{bin}/frame_benchmark --benchmark_out={out} --benchmark_min_time=0.05"),
              (3, "{bin}/frame_benchmark --benchmark_out={out} --benchmark_repetitions=5")),
    "token": ((1, "{bin}/token_benchmark --benchmark_out={out} --benchmark_min_time=0.05"),
              (3, "{bin}/token_benchmark --benchmark_out={out} --benchmark_repetitions=5")),
    "memory": (None, (15, "tests/bench/memory.sh --json {lines}")),
    "gateway": ((4, "tests/bench/gateway.sh --json {lines} 5 1"), (10, "tests/bench/gateway.sh --json {lines} 10 3")),
    "alerts": (None, (15, "tests/bench/alerts.sh --json {lines}")),
}


def output_of(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine() -> dict:
    model = ""
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(encoding="utf-8"))
    return {
        "cores": len(os.sched_getaffinity(0)), "processor": model,
        "memory_gb": round(int(memory.group(1)) / 1e6, 1) if memory else 0,
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "kernel": os.uname().release,
        "postgresql": output_of(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin") + "/postgres", "--version"),
        "commit": output_of("git", "rev-parse", "HEAD"),
        "changed_files": len(output_of("git", "status", "--porcelain").splitlines()),
    }


def figures_of(lines: pathlib.Path, out: pathlib.Path, step: str) -> list[dict]:
    figures = []
    if lines.exists():
        for line in lines.read_text(encoding="utf-8").splitlines():
            figure = json.loads(line)
            if not isinstance(figure["name"], str) or not isinstance(figure["unit"], str):
                raise ValueError(f"not a figure: {line}")
            figure["value"] = float(figure["value"])
            figures.append(figure)
    if out.exists() and out.stat().st_size > 0:
        runs: dict[str, list[dict]] = {}
        for run in json.loads(out.read_text(encoding="utf-8"))["benchmarks"]:
            if run.get("run_type", "iteration") == "iteration":
                runs.setdefault(run["name"], []).append(run)
        prefix = {"kernels": "columns"}.get(step, step)
        for name, repeated in runs.items():
            times = sorted(run["cpu_time"] for run in repeated)
            figure = {"name": f"{prefix}.{name}", "value": times[len(times) // 2], "unit": repeated[0]["time_unit"]}
            if len(times) > 1:
                figure |= {"p50": times[len(times) // 2], "p95": times[-1], "runs": len(times)}
            figures.append(figure)
            if "items_per_second" in repeated[0]:
                rates = sorted(run["items_per_second"] for run in repeated)
                figures.append({"name": f"{prefix}.{name}.items", "value": rates[len(rates) // 2], "unit": "items/s"})
    for figure in figures:
        figure["step"] = step
        if "target" in figure:
            figure["met"] = meets(figure)
    return figures


def meets(figure: dict) -> bool:
    """How many times, and how many a second, are better when they are more; everything else when it is less."""
    more = figure["unit"] in ("x", "ratio") or figure["unit"].endswith("/s")
    return figure["value"] >= figure["target"] if more else figure["value"] <= figure["target"]


def run_step(name: str, command: str, minutes: float, folder: pathlib.Path) -> tuple[dict, list[dict]]:
    lines, out, log = (folder / f"{name}.{end}" for end in ("lines", "google.json", "log"))
    for left_over in (lines, out):
        left_over.unlink(missing_ok=True)
    if "{out}" in command:
        command += " --benchmark_out_format=json"
    command = command.format(bin=BIN, lines=lines, out=out, dir=folder)
    print(f"== {name}: {command}", flush=True)
    environment = os.environ | {"PGA_SOURCE_DIR": str(ROOT), "PGA_BINARY_DIR": str(ROOT / "build/bench"),
                                "PGA_E2E_BIN": str(BIN)}
    step: dict = {"name": name, "command": command, "limit_s": minutes * 60}
    begun = time.monotonic()
    with log.open("w", encoding="utf-8") as log_file:
        try:
            # A session of its own, so that what it started ends with it when its time is over.
            process = subprocess.Popen(["bash", "-c", command], cwd=ROOT, stdout=log_file, stderr=subprocess.STDOUT,
                                       env=environment, start_new_session=True)
            try:
                code = process.wait(timeout=minutes * 60)
                step["status"] = "done" if code == 0 else f"failed with code {code}"
            except subprocess.TimeoutExpired:
                step["status"] = f"not done within {minutes:g} minutes"
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(timeout=30)
        except OSError as error:
            step["status"] = f"not started: {error}"
    step["seconds"] = round(time.monotonic() - begun, 1)
    print(log.read_text(encoding="utf-8", errors="replace"), end="")
    try:
        figures = figures_of(lines, out, name)
    except (ValueError, KeyError) as error:
        figures = []
        step["status"] = f"its figures cannot be read: {error}"
    if step["status"] == "done" and not figures and ("--json" in command or "--benchmark_out" in command):
        step["status"] = "has written no figures"
    print(f"== {name}: {step['status']}, {step['seconds']:.0f} s", flush=True)
    return step, figures


def number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def print_table(report: dict) -> None:
    facts = report["machine"]
    print(f"\nmake bench, {report['mode']}: {facts['cores']} cores, load {facts['load_before'][0]} before and "
          f"{facts['load_after'][0]} after, {facts['postgresql']}, commit {facts['commit'][:12]}"
          + (f" and {facts['changed_files']} changed files" if facts["changed_files"] else ""))
    for section, title in SECTIONS.items():
        rows = [f for f in report["figures"] if (f["name"].split(".")[0] if f["name"].split(".")[0] in SECTIONS
                                                 else "other") == section]
        if not rows:
            if section != "other" and report["all"]:
                print(f"\n{title}: no figures in this run")
            continue
        print(f"\n{title}")
        width = max(len(f["name"]) for f in rows)
        print(f"  {'':{width}} {'value':>12} {'unit':8} {'p50':>10} {'p95':>10} {'p99':>10} {'runs':>5} {'target':>8}")
        for f in rows:
            spread = [number(f[key]) if key in f else "" for key in ("p50", "p95", "p99", "runs")]
            target = number(f["target"]) if "target" in f else ""
            mark = "  MISSED" if f.get("met") is False else ""
            print(f"  {f['name']:{width}} {number(f['value']):>12} {f['unit']:8} {spread[0]:>10} {spread[1]:>10} "
                  f"{spread[2]:>10} {spread[3]:>5} {target:>8}{mark}".rstrip())
    print()
    for step in report["steps"]:
        if step["status"] != "done":
            print(f"NOT DONE: {step['name']} {step['status']} (log: {step['log']})")
    missed = [f["name"] for f in report["figures"] if f.get("met") is False]
    print(f"{len(report['figures'])} figures, {len(missed)} of {sum('met' in f for f in report['figures'])} targets "
          f"missed; {report['file']}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the benchmarks and makes one report.")
    parser.add_argument("--mode", choices=("small", "full"), default=os.environ.get("BENCH", "small") or "small")
    parser.add_argument("--report", type=pathlib.Path, default=ROOT / "build/bench/report.json")
    parser.add_argument("--patience", type=float, default=1.0, metavar="FACTOR",
                        help="how many times longer a benchmark may take, on a busy machine")
    parser.add_argument("--list", action="store_true", help="says what would run")
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(STEPS))
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in STEPS]:
        parser.error(f"{', '.join(unknown)}: not known; there are {', '.join(STEPS)}")
    chosen = {}
    for name, forms in STEPS.items():
        form = forms[arguments.mode == "full"]
        if arguments.names and name not in arguments.names:
            continue
        if form is None and name in arguments.names:
            form = forms[1]
        if form is not None:
            chosen[name] = form
    if arguments.list:
        for name, (minutes, command) in chosen.items():
            print(f"{name:12} {minutes:3} min  {command}")
        return 0
    folder = arguments.report.resolve().parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.json").unlink(missing_ok=True)
    report: dict = {"mode": arguments.mode, "all": not arguments.names,
                    "began": datetime.datetime.now(datetime.timezone.utc).isoformat(),
                    "file": str(arguments.report), "machine": machine(), "steps": [], "figures": []}
    for name, (minutes, command) in chosen.items():
        step, figures = run_step(name, command, minutes * arguments.patience, folder)
        step["log"] = str(folder / f"{name}.log")
        report["steps"].append(step)
        report["figures"] += figures
    report["machine"]["load_after"] = [round(load, 2) for load in os.getloadavg()]
    if (folder / "space.json").exists():
        report["space"] = json.loads((folder / "space.json").read_text(encoding="utf-8"))
    arguments.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_table(report)
    return 0 if all(step["status"] == "done" for step in report["steps"]) else 1


if __name__ == "__main__":
    sys.exit(main())
