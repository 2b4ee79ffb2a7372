#!/usr/bin/env python3
"""The chart, with real Helm, kubeconform and kustomize: lint --strict, the value sets of value_sets.py checked strictly against every
version of Kubernetes and the operators' kinds, the pods' security posture, what the pods are given, and k8s/ equal to what the
chart renders. Exit code 77 when the tools cannot be had."""
import concurrent.futures
import json
import os
import re
import sys
import tempfile

import yaml

import chart as rendering
from chart import (BIN, CHART, CLUSTER, HELM, NAMES, SERVICES, Chart, check, documents, env_of, kubernetes_versions, merged,
                   pod_templates, run, template, tools)
from settings import ROOT, settings_of
from value_sets import BACKUP, BASE, COLLECTOR, NEEDS_CLUSTER, TLS, VALUE_SETS

SCHEMAS = ROOT / "build/tools/kubernetes-schemas"


def check_metrics() -> None:
    chart = Chart({"metrics": {"serviceMonitor": {"enabled": True}}, "gateway": {"service": {"type": "LoadBalancer"}},
                   "collector": COLLECTOR})
    wanted = chart["ServiceMonitor", ""]["spec"]["selector"]["matchLabels"]
    scraped = set()
    for (kind, name), service in chart.objects.items():
        ports = {p["name"] for p in service["spec"]["ports"]} if kind == "Service" else set()
        if "metrics" in ports and wanted.items() <= service["metadata"]["labels"].items():
            check(service["spec"].get("clusterIP") == "None", f"{name}: figures must not be reached from outside")
            scraped.add(service["metadata"]["labels"]["app.kubernetes.io/component"])
    check(scraped == NAMES | {"collector"}, f"scraped are {scraped}")


def check_gateway() -> None:
    plain, tls = Chart(), Chart({"gateway": {"tls": TLS}})
    for chart in (plain, tls):
        container = chart.container("Deployment", "gateway")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            # Requests of the kubelet would count against its address' rate limit.
            check("tcpSocket" in container[probe], f"gateway: {probe} is {container[probe]}")
    check(plain.env("Pod", "test-health")["PGACTL_URL"] == "http://pga-pganalytics-gateway:8080", "helm test: plain")
    env = tls.env("Pod", "test-health")
    check(env["PGACTL_URL"].startswith("https://") and env["PGACTL_TLS_VERIFY"] == "false", "helm test: TLS")


def check_collectors_tls() -> None:
    """Collectors reach ingest through the gateway's TLS port: address, port, certificate and policies fit together."""
    chart = Chart({"gateway": {"tls": TLS}})
    gateway, ingest = chart.env("Deployment", "gateway"), chart.env("Deployment", "ingest")
    host, port = gateway["INGEST_COLLECTOR_ADDR"].split(":")
    check(ingest["COLLECTOR_LISTEN"] == f"0.0.0.0:{port}", "ingest listens where the gateway passes collectors on")
    check(ingest["GRPC_LISTEN"] == "0.0.0.0:9090" and "GRPC_TLS_ENABLED" not in ingest, "peers and probes speak plain")
    check(chart.container("Deployment", "ingest")["readinessProbe"] == {"grpc": {"port": 9090}, "periodSeconds": 5,
                                                                       "timeoutSeconds": 3}, "probe of the plain port")
    service = chart["Service", "ingest"]
    check(service["metadata"]["name"] == host, f"{host} is no Service")
    ports = {p["name"]: p for p in service["spec"]["ports"]}
    named = {p["name"]: p["containerPort"] for p in chart.container("Deployment", "ingest")["ports"]}
    check(ports["collectors"]["port"] == int(port) == named[ports["collectors"]["targetPort"]], "port of the Service")
    for name, cert, key in (("gateway", gateway["TLS_CERT_PATH"], gateway["TLS_KEY_PATH"]),
                            ("ingest", ingest["COLLECTOR_TLS_CERT_PATH"], ingest["COLLECTOR_TLS_KEY_PATH"])):
        mounts = {m["name"]: m["mountPath"] for m in chart.container("Deployment", name)["volumeMounts"]}
        volumes = {v["name"]: v for v in chart.pod("Deployment", name)["volumes"]}
        check((cert, key) == (mounts["tls"] + "/tls.crt", mounts["tls"] + "/tls.key"), f"{name}: paths of the certificate")
        check(volumes["tls"]["secret"]["secretName"] == "pganalytics-tls", f"{name}: Secret of the certificate")
    allowed = {p["port"]: rule for rule in chart["NetworkPolicy", "ingest"]["spec"]["ingress"] for p in rule["ports"]}
    callers = [f["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for f in allowed[int(port)]["from"]]
    check(callers == ["gateway"], f"callers of the collectors' port are {callers}")
    out = {p["port"] for rule in chart["NetworkPolicy", "gateway"]["spec"]["egress"] for p in rule["ports"]}
    check(int(port) in out, "the gateway may reach the collectors' port")
    plain = Chart()
    check("COLLECTOR_LISTEN" not in plain.env("Deployment", "ingest")
          and "INGEST_COLLECTOR_ADDR" not in plain.env("Deployment", "gateway"), "without a certificate nothing of it")


def check_settings() -> None:
    full, chart = Chart(file="full"), Chart(file="collector")
    check(full.env("Deployment", "query")["QUERY_CONNECTIONS"] == "16", "extraEnv of a service")
    check("fieldRef" in full.env("StatefulSet", "collector")["COLLECTOR_NAME"], "extraEnv with valueFrom")
    for size, expected in (("512Mi", "429496729"), ("2Gi", "1717986918"), ("1Ti", "879609302220")):
        env = Chart({"collector": {"persistence": {"size": size}}}, file="collector").env("StatefulSet", "collector")
        check(env["METRICS_BUFFER_SIZE"] == expected, f"spool of a volume of {size}: {env['METRICS_BUFFER_SIZE']}")
    check(chart.env("StatefulSet", "collector")["HOST_METRICS"] == "false", "host figures would be the node's")
    check("affinity" in full.pod("StatefulSet", "collector"), "affinity of the collector")
    for kind, name, variable, path, volume in (
            *(("Deployment", s, "PGSSLROOTCERT", "/etc/pganalytics/database-ca", {"configMap": {"name": "database-ca"}})
              for s in sorted(NAMES - {"gateway"})),
            ("Job", "migrate-1", "PGSSLROOTCERT", "/etc/pganalytics/database-ca", {"configMap": {"name": "database-ca"}}),
            ("CronJob", "backup", "PGSSLROOTCERT", "/etc/pganalytics/database-ca", {"configMap": {"name": "database-ca"}}),
            ("StatefulSet", "collector", "POSTGRES_SSLROOTCERT", "/etc/pganalytics/postgres-ca",
             {"secret": {"secretName": "cluster-db-ca"}})):
        check(full.env(kind, name)[variable] == path + "/ca.crt", f"{name}: path of the database's CA")
        mount = next(m["name"] for m in full.container(kind, name)["volumeMounts"] if m["mountPath"] == path)
        found = next(v for v in full.pod(kind, name)["volumes"] if v["name"] == mount)
        check(all(volume[k].items() <= found[k].items() for k in volume), f"{name}: volume of the database's CA: {found}")
        if kind != "CronJob":
            check(variable not in chart.env(kind, name), f"{name}: no CA, no {variable}")
    # Every pod but that of `helm test` has a policy; databases are reached by those that need them alone.
    policies = {o["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: o["spec"]
                for (kind, _), o in full.objects.items() if kind == "NetworkPolicy"}
    check(set(policies) == NAMES | {"collector", "migration", "backup"},
          f"policies are {set(policies)}")
    for name, spec in policies.items():
        ports = {p["port"] for rule in spec["egress"] for p in rule["ports"]}
        check((5432 in ports) == (name != "gateway") and 53 in ports, f"{name} may reach ports {ports}")
    check(policies["migration"]["ingress"] == policies["backup"]["ingress"] == [], "nobody calls the jobs")
    order = {k: int(full[k]["metadata"]["annotations"]["helm.sh/hook-weight"]) for k in
             (("NetworkPolicy", "migration"), ("Job", "migrate-1"))}
    check(order["NetworkPolicy", "migration"] < order["Job", "migrate-1"], "the policy comes before the job")


def check_secrets() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    made = {name: set(re.findall(r"--from-literal=([a-z-]+)=", keys)) for name, keys in
            re.findall(r"create secret generic (\S+)((?:.*\\\n)+.*)", readme)}
    chart = Chart({"migration": {"existingSecret": "pganalytics-owner"}, "collector": COLLECTOR, "backup": BACKUP})
    read: dict[str, set[str]] = {}
    for _, pod in pod_templates(chart.objects.values()):
        for volume in pod["spec"].get("volumes", []):
            if "items" in volume.get("secret", {}):
                read.setdefault(volume["secret"]["secretName"], set()).update(i["key"] for i in volume["secret"]["items"])
    del read["monitor"]
    check(read == made, f"the README makes Secrets {made}, the pods read {read}")
    for name in sorted(NAMES | {"collector"}):
        kind = "StatefulSet" if name == "collector" else "Deployment"
        used = {v["secret"]["secretName"] for v in chart.pod(kind, name)["volumes"] if "secret" in v}
        check("pganalytics-owner" not in used, f"{name} must not hold the owner's login")
    job = Chart().pod("Job", "migrate-1")
    check(job["volumes"][0]["secret"]["secretName"] == "pganalytics", "one Secret for all without migration.existingSecret")


def check_backup() -> None:
    check(("CronJob", "backup") not in Chart(), "no backups unless asked for")
    chart = Chart({"backup": {**BACKUP, "keep": 3, "days": 100000}})
    job, container = chart["CronJob", "backup"]["spec"], chart.container("CronJob", "backup")
    check(container["command"] == ["/usr/bin/pgactl", "backup", "create", "--keep", "3", "--days", "100000"],
          f"backup: {container['command']}")
    check(job["concurrencyPolicy"] == "Forbid", "backup: two at once would be one too many")
    env = chart.env("CronJob", "backup")
    check(set(env) == {"BACKUP_DIR", "BACKUP_KEY_FILE", "DATABASE_URL_FILE", "TIMESCALE_URL_FILE"}, f"backup: {set(env)}")
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    volumes = {v["name"]: v for v in chart.pod("CronJob", "backup")["volumes"]}
    check(mounts["backups"] == env["BACKUP_DIR"], "backup: the folder is the volume")
    claim = chart["PersistentVolumeClaim", "backup"]
    check(volumes["backups"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"], "backup: its claim")
    check(claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", "backups outlive the release")
    own = Chart({"backup": {**BACKUP, "persistence": {"existingClaim": "nfs"}}})
    check(("PersistentVolumeClaim", "backup") not in own, "backup: no claim beside one that exists")
    volumes = {v["name"]: v for v in own.pod("CronJob", "backup")["volumes"]}
    check(volumes["backups"]["persistentVolumeClaim"]["claimName"] == "nfs", "backup: the claim that exists")
    image = (ROOT / "tools/deploy/images/Dockerfile").read_text(encoding="utf-8")
    check("pgactl" in image and "${POSTGRES_CLIENT}" in image, "backup: the image has pgactl and pg_dump")


def check_services() -> None:
    """The pods follow libs/token/services.h: whom a service calls, who may call it, and whose secret it holds."""
    chart = Chart()
    callers = {row.name: {other.name for other in SERVICES if row.name in other.calls} for row in SERVICES}
    callers["ingest"].add("collector")
    for row in SERVICES:
        env, volumes = chart.env("Deployment", row.name), chart.pod("Deployment", row.name)["volumes"]
        named = {name.removesuffix("_SERVICE_ADDR").lower() for name in env if name.endswith("_SERVICE_ADDR")}
        check(named == set(row.calls), f"{row.name} gets the addresses of {named}")
        items = {i["key"]: i["path"] for v in volumes if v["name"] == "secrets" for i in v["secret"]["items"]}
        held = {key: path for key, path in items.items() if key.startswith("service-secret")}
        if row.calls:
            key = f"service-secret-{row.name}"
            check(held == {key: key}, f"{row.name} holds {held}, and should hold its own secret alone")
            check(env["SERVICE_SECRET_FILE"] == f"/etc/pganalytics/secrets/{key}", f"{row.name}: file of its secret")
        else:
            wanted = {f"service-secret-{other.name}": f"services/{other.name}" for other in SERVICES if other.calls}
            check(held == wanted and env["SERVICE_SECRETS_DIR"] == "/etc/pganalytics/secrets/services",
                  f"{row.name} reads the secrets {held}")
        if row.port:
            rules = chart["NetworkPolicy", row.name]["spec"]["ingress"]
            allowed = {f["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for rule in rules
                       if any(p["port"] == 9090 for p in rule["ports"]) for f in rule["from"]}
            check(allowed == callers[row.name], f"{row.name} may be called by {allowed}")


def check_numbers() -> None:
    chart = Chart({"gateway": {"rateLimitPerMinute": 2000000}, "registry": {"maxConcurrentCollectors": 1000000},
                   "migration": {"activeDeadlineSeconds": 1000000}})
    check(chart.env("Deployment", "gateway")["RATE_LIMIT_PER_MINUTE"] == "2000000", "rate limit as a whole number")
    check(chart.env("Deployment", "registry")["MAX_CONCURRENT_COLLECTORS"] == "1000000", "collectors as a whole number")
    check(chart["Job", "migrate-1"]["spec"]["activeDeadlineSeconds"] == 1000000, "deadline as a whole number")
    check(chart.env("Deployment", "ingest")["RATE_LIMIT_PER_MINUTE"] == "2000000", "rate limit of collectors' door")
    env = Chart({"gateway": {"rateLimitPerMinute": 0}}).env("Deployment", "gateway")
    check(env["RATE_LIMIT_PER_MINUTE"] == "0", "no rate limit")


def check_pods(name: str, objects: list[dict]) -> None:
    for pod_name, pod in pod_templates(objects):
        where, spec = f"{name}: {pod_name}", pod["spec"]
        check(spec["securityContext"]["runAsNonRoot"] is True, f"{where} must not run as root")
        check(spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, f"{where}: system calls are limited")
        check(spec.get("automountServiceAccountToken") is False, f"{where} must not get an API token")
        # What Envoy runs by is written before it starts.
        prepared = spec.get("initContainers", [])
        for container in prepared + spec["containers"]:
            context = container["securityContext"]
            check(context["readOnlyRootFilesystem"] is True, f"{where}: root file system must be read-only")
            check(context["allowPrivilegeEscalation"] is False, f"{where}: no privilege escalation")
            check(context["capabilities"]["drop"] == ["ALL"], f"{where}: all capabilities dropped")
            names = [variable["name"] for variable in container.get("env", [])]
            check(len(names) == len(set(names)), f"{where}: a variable is there twice: {names}")
            for variable in container.get("env", []):
                check(not any(word in variable["name"] for word in ("PASSWORD", "SECRET", "KEY")) or "valueFrom" in variable
                      or variable["name"].endswith(("_FILE", "_PATH", "_DIR")), f"{where}: {variable['name']} in clear")
        of_settings = prepared[0] if prepared else spec["containers"][0]
        program = of_settings["command"][0].rpartition("/")[2].removeprefix("pga-").removeprefix("pganalytics-")
        if program != "pgactl":
            # ENVIRONMENT is said to all alike; PGSSLROOTCERT is libpq's.
            unknown = set(env_of(of_settings)) - settings_of(program) - {"ENVIRONMENT", "PGSSLROOTCERT"}
            unknown -= {"GATEWAY_SERVICE_ADDR"} if prepared else set()
            check(not unknown, f"{where}: {unknown} are no settings of {program}")


def render_set(name: str) -> str:
    return template(VALUE_SETS[name], *(CLUSTER if name in NEEDS_CLUSTER else ()))


def check_value_sets(pool: concurrent.futures.Executor) -> None:
    check(len(VALUE_SETS) >= 40, "value sets")
    unique, kinds = set(), set()
    for name, rendered in zip(VALUE_SETS, pool.map(render_set, VALUE_SETS), strict=True):
        objects = documents(rendered)
        kinds |= {o["kind"] for o in objects}
        envoy = {"envoy"} if VALUE_SETS[name].get("gateway", {}).get("kind") == "envoy" else set()
        check({o["metadata"]["name"].rpartition("-")[2] for o in objects if o["kind"] == "Deployment"} == NAMES | envoy,
              f"{name}: a Deployment for each service")
        ids = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
        check(len(ids) == len(set(ids)), f"{name}: two objects of one name: {ids}")
        check(name in NEEDS_CLUSTER or not any(o["kind"] == "Secret" for o in objects), f"{name}: no Secret unless asked for")
        check_pods(name, objects)
        # As Helm writes them: another writer of YAML would quote what Helm does not.
        unique |= {part for part in rendered.removeprefix("---\n").split("\n---\n") if "\nkind: " in part}
    check({"ServiceMonitor", "PrometheusRule", "Certificate", "Cluster", "HTTPRoute", "GRPCRoute", "TLSRoute", "Ingress",
           "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ConfigMap", "Secret", "CronJob"} <= kinds, f"kinds: {kinds}")
    everything = "\n---\n".join(sorted(unique))
    versions = kubernetes_versions()
    check(versions[0] == "v1.27" and len(versions) >= 9, f"versions of Kubernetes: {versions}")
    results = pool.map(lambda version: conform(version, everything), versions)
    for version, result in zip(versions, results, strict=True):
        check(f"{len(unique)} resources" in result and "Invalid: 0, Errors: 0, Skipped: 0" in result, f"{version}: {result}")
    for field, wrong in (("maxSurge:", "maxSurges:"), ("endpoints:", "endpoint:"), ("dnsNames:", "dnsName:"),
                         ("instances:", "instance:"), ("backendRefs:", "backendRef:")):
        mistaken = next(text for text in sorted(unique) if field in text).replace(field, wrong)
        check(wrong.rstrip(":") in conform(versions[-1], mistaken, expect=1), f"{wrong} must be refused")


def conform(version: str, objects: str, expect: int = 0) -> str:
    of = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
    return run(str(BIN / "kubeconform"), "-summary", "-schema-location", f"{SCHEMAS}/{version}/{of}", "-schema-location",
               f"{SCHEMAS}/operators/{of}", "-", stdin=objects, expect=expect)


def check_lint() -> None:
    for values in sorted((CHART / "ci").glob("*-values.yaml")):
        run(HELM, "lint", "--strict", "--kube-version", "1.30.0", str(CHART), "-f", str(values))


def check_kubernetes() -> None:
    """k8s/ is what the chart renders; kustomize makes of each overlay what the chart renders for its values."""
    with tempfile.TemporaryDirectory() as folder:
        run(str(ROOT / "tools/render_k8s.sh"), folder)
        made = {str(p.relative_to(folder)): p.read_text() for p in ROOT.__class__(folder).rglob("*.yaml")}
    there = {str(p.relative_to(ROOT / "k8s")): p.read_text() for p in (ROOT / "k8s").rglob("*.yaml")}
    check(set(made) == set(there), f"k8s: {set(made) ^ set(there)}: run tools/render_k8s.sh")
    for name, text in made.items():
        check(text == there[name], f"k8s/{name} is older than the chart: run tools/render_k8s.sh")
    by_name = lambda objects: {(o["kind"], o["metadata"]["name"]): o for o in objects}
    base = yaml.safe_load((ROOT / "k8s/values.yaml").read_text())
    for overlay in ["base", *sorted(p.name for p in (ROOT / "k8s/overlays").iterdir())]:
        path = ROOT / "k8s" / (overlay if overlay == "base" else f"overlays/{overlay}")
        built = by_name(documents(run(str(BIN / "kustomize"), "build", str(path))))
        over = {} if overlay == "base" else yaml.safe_load((path / "values.yaml").read_text())
        wanted = by_name(documents(run(HELM, "template", "pganalytics", str(CHART), "-n", "pganalytics", "--kube-version", "1.30.0",
                                       "--skip-tests", "-f", "-", stdin=json.dumps(merged(base, over)))))
        check(set(built) == set(wanted), f"{overlay}: {set(built) ^ set(wanted)}")
        for key, obj in wanted.items():
            check(built[key] == obj, f"{overlay}: {key} is another one")


def main() -> int:
    tools()
    check_lint()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        check_value_sets(pool)
        parts = [check_metrics, check_gateway, check_collectors_tls, check_settings, check_secrets, check_backup, check_services,
                 check_numbers, check_kubernetes]
        # A part that fails ends its thread with SystemExit, which the result raises here.
        for part in [pool.submit(part) for part in parts]:
            part.result()
    check(rendering.checks >= 200, "assertions")
    print(f"charts: {len(VALUE_SETS)} value sets, {rendering.checks} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
