"""Rendering the chart with real Helm, for the tests of this folder."""
import json
import pathlib
import subprocess
import sys

import yaml

from settings import ROOT, services
from value_sets import BASE

CHART = ROOT / "helm/pganalytics"
SERVICES = services()
NAMES = {row.name for row in SERVICES}
# A cluster serves this group, a rendering without one does not.
CLUSTER = ("--api-versions", "apiregistration.k8s.io/v1")
BIN = ROOT / "build/tools/bin"
HELM = str(BIN / "helm")
checks = 0


def check(condition: bool, what: str) -> None:
    global checks
    checks += 1
    if not condition:
        sys.exit(f"FAILED: {what}")


def run(*args: str, expect: int = 0, stdin: str | None = None) -> str:
    done = subprocess.run(args, capture_output=True, text=True, input=stdin, check=False)
    if (done.returncode == 0) != (expect == 0):
        sys.exit(f"FAILED: {' '.join(args)}\n{stdin or ''}\n{done.stdout[-5000:]}{done.stderr[-5000:]}")
    return done.stdout + (done.stderr if expect else "")


def merged(base: dict, over: dict) -> dict:
    """As Helm lays values over those of the chart; what is None is left to Helm, which takes it away."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def template(values: dict, *args: str, release: str = "pga", namespace: str = "pganalytics", expect: int = 0) -> str:
    return run(HELM, "template", release, str(CHART), "-n", namespace, "--kube-version", "1.30.0", "-f", "-", *args,
               stdin=json.dumps(merged(BASE, values)), expect=expect)


def documents(rendered: str) -> list[dict]:
    # The C loader is ten times as fast.
    return [o for o in yaml.load_all(rendered, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if o]


def pod_templates(objects):
    """(kind and name, template of the pod) of all that make pods."""
    for obj in objects:
        name = f"{obj['kind']} {obj['metadata']['name']}"
        if obj["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield name, obj["spec"]["template"]
        elif obj["kind"] == "CronJob":
            yield name, obj["spec"]["jobTemplate"]["spec"]["template"]
        elif obj["kind"] == "Pod":
            yield name, obj


def env_of(container: dict) -> dict[str, str]:
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in container.get("env", [])}


class Chart:
    """What the chart renders for some values, or a file of them, by kind and name without the release's prefix."""

    def __init__(self, values: dict | None = None, *args: str, file: str = "", release: str = "pga"):
        over = yaml.safe_load((CHART / f"ci/{file}-values.yaml").read_text(encoding="utf-8")) if file else {}
        self.objects = {}
        for obj in documents(template(merged(over, values or {}), *args, release=release)):
            self.objects[obj["kind"], obj["metadata"]["name"].removeprefix("pga-pganalytics").lstrip("-")] = obj

    def __getitem__(self, key: tuple[str, str]) -> dict:
        check(key in self.objects, f"{key} is not rendered: {sorted(self.objects)}")
        return self.objects[key]

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self.objects

    def pod(self, kind: str, name: str) -> dict:
        spec = self[kind, name]["spec"]
        if kind == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        return spec if kind == "Pod" else spec["template"]["spec"]

    def container(self, kind: str, name: str) -> dict:
        return self.pod(kind, name)["containers"][0]

    def env(self, kind: str, name: str) -> dict[str, str]:
        return env_of(self.container(kind, name))

    def annotations(self, kind: str, name: str) -> dict[str, str]:
        return self[kind, name]["spec"]["template"]["metadata"].get("annotations", {})


def tools() -> None:
    """Exits with 77 when the tools cannot be had."""
    fetched = subprocess.run([str(ROOT / "tools/fetch-chart-tools.sh")], capture_output=True, text=True, check=False)
    if fetched.returncode == 77:
        print(f"skipped: {fetched.stderr.strip()}")
        sys.exit(77)
    if fetched.returncode != 0:
        sys.exit(fetched.stderr)


def kubernetes_versions() -> list[str]:
    folders = [p.name for p in pathlib.Path(ROOT / "build/tools/kubernetes-schemas").glob("v1.*")]
    return sorted(folders, key=lambda name: int(name.split(".")[1]))
