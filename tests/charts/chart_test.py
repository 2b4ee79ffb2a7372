#!/usr/bin/env python3
"""The chart, with real Helm and kubeconform: lint --strict, every values file of helm/pganalytics/ci rendered and
checked strictly against several Kubernetes versions, what the schema must refuse, the pods' security posture, and
k8s/ equal to what the chart renders. Exit code 77 when the tools cannot be had."""
import pathlib
import re
import subprocess
import sys

import yaml

from settings import services, settings_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICES = services()
NAMES = {row.name for row in SERVICES}
CHART = ROOT / "helm/pganalytics"
VERSIONS = ["v1.27", "v1.30", "v1.33"]
checks = 0


def run(*args: str, expect: int = 0, stdin: str | None = None) -> str:
    done = subprocess.run(args, capture_output=True, text=True, input=stdin, check=False)
    if (done.returncode == 0) != (expect == 0):
        sys.exit(f"FAILED: {' '.join(args)}\n{done.stdout}{done.stderr}")
    return done.stdout + (done.stderr if expect else "")


def check(condition: bool, what: str) -> None:
    global checks
    checks += 1
    if not condition:
        sys.exit(f"FAILED: {what}")


def pod_specs(objects):
    for obj in objects:
        if obj["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield f"{obj['kind']} {obj['metadata']['name']}", obj["spec"]["template"]["spec"]
        elif obj["kind"] == "CronJob":
            yield f"CronJob {obj['metadata']['name']}", obj["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif obj["kind"] == "Pod":
            yield f"Pod {obj['metadata']['name']}", obj["spec"]


def env_of(container: dict) -> dict[str, str]:
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in container.get("env", [])}


class Chart:
    """What the chart renders for some settings, or a file of them, by kind and name without the release's prefix."""

    def __init__(self, helm: str, *settings: str, values: str = "default"):
        args = ["-f", str(CHART / f"ci/{values}-values.yaml")] + [a for s in settings for a in ("--set", s)]
        rendered = run(helm, "template", "pga", str(CHART), "-n", "pganalytics", "--kube-version", "1.30.0", *args)
        self.objects = {(o["kind"], o["metadata"]["name"].removeprefix("pga-pganalytics").lstrip("-")): o
                        for o in yaml.safe_load_all(rendered) if o}

    def __getitem__(self, key: tuple[str, str]) -> dict:
        check(key in self.objects, f"{key} is not rendered: {sorted(self.objects)}")
        return self.objects[key]

    def pod(self, kind: str, name: str) -> dict:
        spec = self[kind, name]["spec"]
        if kind == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        return spec if kind == "Pod" else spec["template"]["spec"]

    def container(self, kind: str, name: str) -> dict:
        return self.pod(kind, name)["containers"][0]

    def env(self, kind: str, name: str) -> dict[str, str]:
        return env_of(self.container(kind, name))


def check_metrics(helm: str) -> None:
    chart = Chart(helm, "metrics.serviceMonitor.enabled=true", "gateway.service.type=LoadBalancer", "collector.enabled=true",
                  "collector.postgres.host=db", "collector.postgres.passwordSecret=monitor")
    wanted = chart["ServiceMonitor", ""]["spec"]["selector"]["matchLabels"]
    scraped = set()
    for (kind, name), service in chart.objects.items():
        ports = {p["name"] for p in service["spec"]["ports"]} if kind == "Service" else set()
        if "metrics" in ports and wanted.items() <= service["metadata"]["labels"].items():
            check(service["spec"].get("clusterIP") == "None", f"{name}: figures must not be reached from outside")
            scraped.add(service["metadata"]["labels"]["app.kubernetes.io/component"])
    check(scraped == NAMES | {"collector"}, f"scraped are {scraped}")


def check_gateway(helm: str) -> None:
    for settings in ([], ["gateway.tls.existingSecret=pganalytics-tls"]):
        container = Chart(helm, *settings).container("Deployment", "gateway")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            # Requests of the kubelet would count against its address' rate limit.
            check("tcpSocket" in container[probe], f"gateway: {probe} is {container[probe]}")
    plain, tls = Chart(helm), Chart(helm, "gateway.tls.existingSecret=pganalytics-tls")
    check(plain.env("Pod", "test-health")["PGACTL_URL"] == "http://pga-pganalytics-gateway:8080", "helm test: plain")
    env = tls.env("Pod", "test-health")
    check(env["PGACTL_URL"].startswith("https://") and env["PGACTL_TLS_VERIFY"] == "false", "helm test: TLS")


def check_collectors_tls(helm: str) -> None:
    """Collectors reach ingest through the gateway's TLS port: address, port, certificate and policies fit together."""
    chart = Chart(helm, "gateway.tls.existingSecret=pganalytics-tls")
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
    plain = Chart(helm)
    check("COLLECTOR_LISTEN" not in plain.env("Deployment", "ingest")
          and "INGEST_COLLECTOR_ADDR" not in plain.env("Deployment", "gateway"), "without a certificate nothing of it")


def check_settings(helm: str) -> None:
    full, chart = Chart(helm, values="full"), Chart(helm, values="collector")
    check(full.env("Deployment", "query")["QUERY_CONNECTIONS"] == "16", "extraEnv of a service")
    check("fieldRef" in full.env("StatefulSet", "collector")["COLLECTOR_NAME"], "extraEnv with valueFrom")
    for size, expected in (("512Mi", "429496729"), ("2Gi", "1717986918"), ("1Ti", "879609302220")):
        env = Chart(helm, f"collector.persistence.size={size}", values="collector").env("StatefulSet", "collector")
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


def check_secrets(helm: str) -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    made = {name: set(re.findall(r"--from-literal=([a-z-]+)=", keys)) for name, keys in
            re.findall(r"create secret generic (\S+)((?:.*\\\n)+.*)", readme)}
    chart = Chart(helm, "migration.existingSecret=pganalytics-owner", "gateway.tls.existingSecret=pganalytics-tls",
                  "collector.enabled=true", "collector.postgres.host=db", "collector.postgres.passwordSecret=monitor",
                  "backup.enabled=true", "backup.existingSecret=pganalytics-backup")
    read: dict[str, set[str]] = {}
    for _, spec in pod_specs(chart.objects.values()):
        for volume in spec.get("volumes", []):
            if "items" in volume.get("secret", {}):
                read.setdefault(volume["secret"]["secretName"], set()).update(i["key"] for i in volume["secret"]["items"])
    del read["monitor"]
    check(read == made, f"the README makes Secrets {made}, the pods read {read}")
    for name in sorted(NAMES | {"collector"}):
        kind = "StatefulSet" if name == "collector" else "Deployment"
        used = {v["secret"]["secretName"] for v in chart.pod(kind, name)["volumes"] if "secret" in v}
        check("pganalytics-owner" not in used, f"{name} must not hold the owner's login")
    job = Chart(helm).pod("Job", "migrate-1")
    check(job["volumes"][0]["secret"]["secretName"] == "pganalytics", "one Secret for all without migration.existingSecret")


def check_backup(helm: str) -> None:
    check(("CronJob", "backup") not in Chart(helm).objects, "no backups unless asked for")
    on = ("backup.enabled=true", "backup.existingSecret=pganalytics-backup")
    chart = Chart(helm, *on, "backup.keep=3", "backup.days=100000")
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
    own = Chart(helm, *on, "backup.persistence.existingClaim=nfs")
    check(("PersistentVolumeClaim", "backup") not in own.objects, "backup: no claim beside one that exists")
    volumes = {v["name"]: v for v in own.pod("CronJob", "backup")["volumes"]}
    check(volumes["backups"]["persistentVolumeClaim"]["claimName"] == "nfs", "backup: the claim that exists")
    image = (ROOT / "tools/deploy/images/Dockerfile").read_text(encoding="utf-8")
    check("pgactl" in image and "${POSTGRES_CLIENT}" in image, "backup: the image has pgactl and pg_dump")


def check_services(helm: str) -> None:
    """The pods follow libs/token/services.h: whom a service calls, who may call it, and whose secret it holds."""
    chart = Chart(helm)
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


def check_numbers(helm: str) -> None:
    chart = Chart(helm, "gateway.rateLimitPerMinute=2000000", "registry.maxConcurrentCollectors=1000000",
                  "migration.activeDeadlineSeconds=1000000")
    check(chart.env("Deployment", "gateway")["RATE_LIMIT_PER_MINUTE"] == "2000000", "rate limit as a whole number")
    check(chart.env("Deployment", "registry")["MAX_CONCURRENT_COLLECTORS"] == "1000000", "collectors as a whole number")
    check(chart["Job", "migrate-1"]["spec"]["activeDeadlineSeconds"] == 1000000, "deadline as a whole number")
    check(chart.env("Deployment", "ingest")["RATE_LIMIT_PER_MINUTE"] == "2000000", "rate limit of collectors' door")
    env = Chart(helm, "gateway.rateLimitPerMinute=0").env("Deployment", "gateway")
    check(env["RATE_LIMIT_PER_MINUTE"] == "0", "no rate limit")


def main() -> int:
    fetched = subprocess.run([str(ROOT / "tools/fetch-chart-tools.sh")], capture_output=True, text=True, check=False)
    if fetched.returncode == 77:
        print(f"skipped: {fetched.stderr.strip()}")
        return 77
    if fetched.returncode != 0:
        sys.exit(fetched.stderr)
    tools = pathlib.Path(fetched.stdout.strip().splitlines()[-1])
    helm, kubeconform = str(tools / "helm"), str(tools / "kubeconform")
    schemas = ROOT / "build/tools/kubernetes-schemas"

    for values in sorted((CHART / "ci").glob("*-values.yaml")):
        run(helm, "lint", "--strict", "--kube-version", "1.30.0", str(CHART), "-f", str(values))
        for version in VERSIONS:
            rendered = run(helm, "template", "pga", str(CHART), "-n", "pganalytics", "-f", str(values), "--kube-version",
                           version.removeprefix("v") + ".0")
            location = f"{schemas}/{version}/" + "{{ .ResourceKind }}{{ .KindSuffix }}.json"
            result = run(kubeconform, "-summary", "-schema-location", location, "-skip", "ServiceMonitor", "-",
                         stdin=rendered)
            check("Invalid: 0, Errors: 0" in result, f"{values.name} on Kubernetes {version}: {result}")
            mistaken = run(kubeconform, "-schema-location", location, "-skip", "ServiceMonitor", "-", expect=1,
                           stdin=rendered.replace("maxSurge:", "maxSurges:"))
            check("maxSurges" in mistaken, "a misspelt field must be refused")
            objects = [o for o in yaml.safe_load_all(rendered) if o]
            check(not any(o["kind"] == "Secret" for o in objects), "the chart must not render a Secret")
            for name, spec in pod_specs(objects):
                check(spec["securityContext"]["runAsNonRoot"] is True, f"{name} must not run as root")
                check(spec.get("automountServiceAccountToken") is False, f"{name} must not get an API token")
                for container in spec["containers"]:
                    context = container["securityContext"]
                    check(context["readOnlyRootFilesystem"] is True, f"{name}: root file system must be read-only")
                    check(context["allowPrivilegeEscalation"] is False, f"{name}: no privilege escalation")
                    check(context["capabilities"]["drop"] == ["ALL"], f"{name}: all capabilities dropped")
                    for variable in container.get("env", []):
                        check(not any(word in variable["name"] for word in ("PASSWORD", "SECRET", "KEY"))
                              or variable["name"].endswith(("_FILE", "_PATH", "_DIR")), f"{name}: {variable['name']} in clear")
            for name, spec in pod_specs(objects):
                program = spec["containers"][0]["command"][0].rpartition("/")[2].removeprefix("pga-").removeprefix(
                    "pganalytics-")
                if program != "pgactl":
                    # ENVIRONMENT is said to all alike; PGSSLROOTCERT is libpq's.
                    unknown = set(env_of(spec["containers"][0])) - settings_of(program) - {"ENVIRONMENT", "PGSSLROOTCERT"}
                    check(not unknown, f"{name}: {unknown} are no settings of {program}")
            services = {o["metadata"]["name"] for o in objects if o["kind"] == "Deployment"}
            check(services == {f"pga-pganalytics-{s}" for s in NAMES},
                  f"deployments are {services}")

    for part in (check_metrics, check_gateway, check_collectors_tls, check_settings, check_secrets, check_backup, check_services, check_numbers):
        part(helm)

    refused = {
        "no secret": [],
        "unknown key": ["--set", "existingSecret=x,colour=red"],
        "zero replicas": ["--set", "existingSecret=x,ingest.replicas=0"],
        "wildcard origin": ["--set", "existingSecret=x,gateway.corsAllowedOrigins={*}"],
        "variable without a value": ["--set", "existingSecret=x,query.extraEnv[0].name=LOG_LEVEL"],
        "two CAs": ["--set", "existingSecret=x,databaseCa.secret=a,databaseCa.configMap=b"],
        "backup without a secret": ["--set", "existingSecret=x,backup.enabled=true"],
        "backup at no time": ["--set", "existingSecret=x,backup.schedule=never"],
        "backup that keeps nothing": ["--set", "existingSecret=x,backup.keep=0"],
        "collector without host": ["--set", "existingSecret=x,collector.enabled=true"],
    }
    for what, args in refused.items():
        message = run(helm, "template", "pga", str(CHART), "--kube-version", "1.30.0", *args, expect=1)
        check("don't meet the specifications" in message, f"{what}: refused for another reason: {message}")

    expected = run(str(ROOT / "tools/render_k8s.sh"), "--print")
    check(expected == (ROOT / "k8s/pganalytics.yaml").read_text(), "k8s/pganalytics.yaml is stale: tools/render_k8s.sh")
    print(f"charts: {checks} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
