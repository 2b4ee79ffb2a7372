#!/usr/bin/env python3
"""Writes the base and the overlays of k8s/ from the chart: kustomize.py HELM FOLDER (tools/render_k8s.sh finds Helm).
An overlay holds the objects that the base lacks, and a JSON patch for each that it changes."""
import pathlib
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART, K8S = ROOT / "helm/pganalytics", ROOT / "k8s"
NOTE = "# Made from helm/pganalytics by tools/render_k8s.sh; change the chart, not this file.\n"


def render(helm: str, *files: pathlib.Path) -> str:
    values = [argument for file in files for argument in ("-f", str(file))]
    return subprocess.run([helm, "template", "pganalytics", str(CHART), "--namespace", "pganalytics", "--kube-version", "1.30.0",
                           "--skip-tests", *values], check=True, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL).stdout


def documents(text: str) -> dict[tuple[str, str], tuple[dict, str]]:
    found = {}
    for part in text.split("\n---\n"):
        obj = yaml.safe_load(part)
        if obj:
            found[obj["kind"], obj["metadata"]["name"]] = obj, part.removeprefix("---\n").strip("\n") + "\n"
    return found


def difference(before, after, path: str = "") -> list[dict]:
    """Operations of RFC 6902 that make `after` of `before`."""
    if before == after:
        return []
    made = []
    if isinstance(before, list) and isinstance(after, list) and len(before) <= len(after):
        for i, value in enumerate(before):
            made += difference(value, after[i], f"{path}/{i}")
        return made + [{"op": "add", "path": f"{path}/-", "value": value} for value in after[len(before):]]
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [{"op": "replace", "path": path, "value": after}]
    for key in sorted(before.keys() | after.keys()):
        at = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
        if key not in after:
            made.append({"op": "remove", "path": at})
        elif key not in before:
            made.append({"op": "add", "path": at, "value": after[key]})
        else:
            made += difference(before[key], after[key], at)
    return made


class Dumper(yaml.SafeDumper):
    pass


# Patches are texts of several lines.
Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


def dump(value) -> str:
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, width=1000)


def main() -> None:
    helm, target = sys.argv[1], pathlib.Path(sys.argv[2])
    text = render(helm, K8S / "values.yaml")
    base = documents(text)

    def write(path: str, content: str) -> None:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(content, encoding="utf-8")

    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    write("base/pganalytics.yaml", NOTE + text)
    write("base/kustomization.yaml", NOTE + dump({**head, "resources": ["pganalytics.yaml"]}))
    write("values.yaml", (K8S / "values.yaml").read_text(encoding="utf-8"))
    for values in sorted(K8S.glob("overlays/*/values.yaml")):
        folder = f"overlays/{values.parent.name}"
        overlay = documents(render(helm, K8S / "values.yaml", values))
        gone = base.keys() - overlay.keys()
        if gone:
            sys.exit(f"{values}: an overlay cannot take {gone} away")
        added = [part for key, (_, part) in overlay.items() if key not in base]
        patches = []
        for key, (obj, _) in overlay.items():
            operations = difference(base[key][0], obj) if key in base else []
            if operations:
                patches.append({"target": {"kind": f"^{key[0]}$", "name": f"^{key[1]}$"}, "patch": dump(operations)})
        kustomization = {**head, "resources": ["../../base"]}
        if added:
            kustomization["resources"].append("more.yaml")
            write(f"{folder}/more.yaml", NOTE + "---\n".join(added))
        if patches:
            kustomization["patches"] = patches
        write(f"{folder}/kustomization.yaml", NOTE + dump(kustomization))
        write(f"{folder}/values.yaml", values.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
