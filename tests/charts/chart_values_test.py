#!/usr/bin/env python3
"""What the chart makes of values: refused ones with the field and what to do instead, names of any release, Secrets and certificates
that are made once, restarts after a change, who may call whom, routes, scaling. Exit code 77 when the tools cannot be had."""
import base64
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse

import yaml

import chart as rendering
from chart import CHART, CLUSTER, NAMES, SERVICES, Chart, check, documents, merged, pod_templates, template, tools
from fake_cluster import FakeCluster
from refused_values import REFUSED, REFUSED_OFFLINE
from settings import ROOT
from value_sets import BACKUP, BASE, COLLECTOR, GIVEN, MADE, TLS, VALUE_SETS

WORDS = VALUE_SETS["words that YAML takes for others"]


def check_refused(pool: concurrent.futures.Executor) -> None:
    check(len(REFUSED) >= 80 and len({name for name, *_ in REFUSED}) == len(REFUSED), "refused values")
    rows = [(row, CLUSTER) for row in REFUSED] + [(row, ()) for row in REFUSED_OFFLINE]
    messages = pool.map(lambda row: template(row[0][1], *row[1], expect=1), rows)
    for ((name, _, field, remedy), _), message in zip(rows, messages, strict=True):
        found = [line for line in message.splitlines() if field in line and remedy in line]
        check(bool(found), f"{name}: {field} and '{remedy}' are not in: {message}")
    # Several faults are shown at once.
    both = template({"existingSecret": "A", "metrics": {"port": 9090}}, expect=1)
    check("existingSecret" in both and "metrics.port" in both, f"one fault at a time: {both}")
    secret = template(merged(GIVEN, {"secrets": {"databaseUrl": "postgresql://a:hidden@b"}}), *CLUSTER, expect=1)
    check("hidden" not in secret, "a refused URL shows its password")


def check_names(pool: concurrent.futures.Executor) -> None:
    values = {"collector": COLLECTOR, "backup": BACKUP, "gateway": {"tls": {"names": ["a"], "selfSigned": {"enabled": True}}},
              "metrics": {"serviceMonitor": {"enabled": True}}}
    releases = ["a", "1prod", "team.prod", "a" * 36, "a" * 53, "a" * 52 + "b", "9" + "x" * 35, "pganalytics", "my-pganalytics-2",
                "x" * 32 + "-" + "y" * 20]
    seen: dict[str, str] = {}
    rendered = pool.map(lambda release: documents(template(values, *CLUSTER, release=release)), releases)
    for release, objects in zip(releases, rendered, strict=True):
        for obj in objects:
            kind, name = obj["kind"], obj["metadata"]["name"]
            most = {"StatefulSet": 52, "CronJob": 52, "Job": 57, "ConfigMap": 253}.get(kind, 63)
            check(len(name) <= most, f"{release}: {kind} {name} is longer than {most}")
            check(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) is not None, f"{release}: {kind} {name}")
            for value in obj["metadata"]["labels"].values():
                check(re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value) is not None, f"{release}: label {value}")
            if kind == "Service":
                check(seen.setdefault(name, release) == release, f"{release} and {seen[name]} have the Service {name} both")


def check_words() -> None:
    """Texts that YAML would take for numbers and switches arrive as texts."""
    chart = Chart(WORDS)
    pod = chart.pod("Deployment", "query")
    check(pod["volumes"][0]["secret"]["secretName"] == "true", "a Secret called true")
    check(pod["nodeSelector"] == {"dedicated": "true", "generation": "7"}, f"node selector: {pod['nodeSelector']}")
    check(pod["priorityClassName"] == "1e3", f"class of priority: {pod['priorityClassName']!r}")
    annotations = chart.annotations("Deployment", "query")
    check(annotations["a"] == "null" and annotations["b"] == "1e3" and annotations["c"] == "a: b", f"annotations: {annotations}")
    labels = chart["Deployment", "query"]["spec"]["template"]["metadata"]["labels"]
    check(labels["on"] == "off" and labels["cost-center"] == "0123", f"labels: {labels}")
    check("on" not in chart["Deployment", "query"]["spec"]["selector"]["matchLabels"], "a selector cannot be changed later")
    check(chart["PersistentVolumeClaim", "backup"]["spec"]["storageClassName"] == "true", "a storage class called true")
    claim = chart["StatefulSet", "collector"]["spec"]["volumeClaimTemplates"][0]
    check(claim["spec"]["storageClassName"] == "no", "a storage class called no")
    volumes = {v["name"]: v for v in chart.pod("CronJob", "backup")["volumes"]}
    check(volumes["secrets"]["secret"]["secretName"] == "123", "a Secret called 123")
    check(chart["ServiceMonitor", ""]["metadata"]["labels"]["release"] == "true", "a label true")
    for name, pod in pod_templates(Chart(WORDS, file="full").objects.values()):
        check(pod["spec"].get("priorityClassName") == "1e3", f"{name}: class of priority")
        check(pod["spec"]["nodeSelector"] == {"dedicated": "true", "generation": "7"}, f"{name}: node selector")
    numbered = documents(template({}, namespace="123"))
    check(all(o["metadata"]["namespace"] == "123" for o in numbered), "a namespace called 123")


def data_of(chart: Chart, name: str) -> dict[str, str]:
    return {k: base64.b64decode(v).decode() for k, v in chart["Secret", name]["data"].items()}


def check_made_secrets() -> None:
    with FakeCluster() as cluster:
        args = (*cluster.args, *CLUSTER)
        first = Chart(merged(MADE, {"backup": {"enabled": True}}), *args)
        names = {name for kind, name in first.objects if kind == "Secret"}
        check(names == {"", "owner", "backup", "db-owner", "db-services"}, f"made are {names}")
        made = {name: data_of(first, name) for name in names}
        wanted = yaml.safe_load(yaml.safe_dump(made))
        for name in names:
            annotations = first["Secret", name]["metadata"]["annotations"]
            check(annotations["helm.sh/hook"] == "pre-install,pre-upgrade" and int(annotations["helm.sh/hook-weight"]) < -10,
                  f"{name}: there before the migration's job")
            check(annotations["helm.sh/resource-policy"] == "keep" and "hook-succeeded" not in annotations["helm.sh/hook-delete-policy"],
                  f"{name}: stays")
        services = made[""]
        check(all(len(services[f"service-secret-{row.name}"]) >= 32 for row in SERVICES if row.calls), "secrets of services")
        check(len({v for k, v in services.items() if k.startswith("service-secret")}) == len(NAMES) - 1, "each another")
        check(len(base64.b64decode(services["encryption-key"])) == 32, "encryption key")
        check(len(base64.b64decode(made["backup"]["backup-key"])) == 32, "backup key")
        key = subprocess.run(["openssl", "ec", "-noout", "-text"], input=services["jwt-signing-key"], capture_output=True, text=True,
                             check=True)
        check("prime256v1" in key.stdout, "signing key is a P-256 key in PEM")
        database = first["Cluster", "db"]
        for login, of in (("services", services), ("owner", made["owner"])):
            for key, name in (("database-url", "pganalytics"), ("timescale-url", "metrics")):
                url = urllib.parse.urlsplit(of[key])
                check(url.username == f"pganalytics_{login}" == made[f"db-{login}"]["username"], f"{key}: login {url.username}")
                check(url.password == made[f"db-{login}"]["password"] and len(url.password) >= 32, f"{key}: password")
                check(url.hostname == f"{database['metadata']['name']}-rw" and url.path == f"/{name}", f"{key}: {url.hostname}{url.path}")
                check(url.query == "sslmode=require", f"{key}: TLS")
        check(made["backup"]["database-url"] == made["owner"]["database-url"], "backups are the owner's")
        bootstrap = database["spec"]["bootstrap"]["initdb"]
        check(bootstrap["secret"]["name"].endswith("-db-owner") and bootstrap["owner"] == "pganalytics_owner", "the cluster's owner")
        readme = (CHART / "README.md").read_text(encoding="utf-8")
        sql = readme[readme.index("```sql") + 6:readme.index("\\password")]
        statements = {" ".join(s.split()) for s in sql.split(";") if s.strip()}
        roles = {f"CREATE ROLE pganalytics_services LOGIN IN ROLE {', '.join(database['spec']['managed']['roles'][0]['inRoles'])}",
                 "CREATE ROLE pganalytics_owner LOGIN", "CREATE DATABASE pganalytics OWNER pganalytics_owner"}
        check(statements == set(bootstrap["postInitSQL"]) | roles, f"as by hand: {statements ^ (set(bootstrap['postInitSQL']) | roles)}")
        job = [name for kind, name in first.objects if kind == "Job"]
        check("annotations" not in first["Job", job[0]]["metadata"], "a hook would wait for a cluster that comes after it")
        rule = next(r for r in first["NetworkPolicy", "auth"]["spec"]["egress"] if any(p["port"] == 5432 for p in r["ports"]))
        check(rule["to"] == [{"podSelector": {"matchLabels": {"cnpg.io/cluster": database["metadata"]["name"]}}}], f"databases: {rule}")

        # As after the install: nothing is made again, whatever the values say.
        cluster.secrets = {f"pga-pganalytics-{name}".rstrip("-"): data for name, data in made.items()}
        again = Chart(merged(MADE, {"backup": {"enabled": True}}), *args)
        check(not any(kind == "Secret" for kind, _ in again.objects), "Secrets are made once")
        # A key that a later version of the chart wants is added, and the others stay.
        del cluster.secrets["pga-pganalytics"]["service-secret-ruler"]
        more = Chart(MADE, *args)
        check({name for kind, name in more.objects if kind == "Secret"} == {""}, "only what lacks a key is written")
        now = data_of(more, "")
        check(now.pop("service-secret-ruler") != wanted[""].pop("service-secret-ruler") and now == wanted[""], "the other keys stay")
        given = Chart(GIVEN, *args, release="other")
        check(data_of(given, "other-pganalytics")["database-url"] == GIVEN["secrets"]["databaseUrl"], "URL of the values")


def check_restarts() -> None:
    """A changed Secret makes new pods of those that read it, and of no others."""
    with FakeCluster() as cluster:
        keys = ["database-url", "timescale-url", "jwt-signing-key", "registration-secret", "service-secret-query"]
        cluster.secrets = {"pganalytics": {key: "a" for key in keys}, "monitor": {"password": "a"}}

        def sums() -> dict[str, dict[str, str]]:
            chart = Chart({"collector": COLLECTOR}, *cluster.args)
            return {name: {k: v for k, v in chart.annotations(kind, name).items() if k.startswith("checksum/")}
                    for kind, name in chart.objects if kind in ("Deployment", "StatefulSet")}
        before = sums()
        check(all(before[name] for name in NAMES | {"collector"}), f"checksums: {before}")
        for secret, key, wanted in (
                ("pganalytics", "database-url", {"auth", "registry", "ruler", "query"}),
                ("pganalytics", "timescale-url", {"ingest", "query", "compactor"}),
                ("pganalytics", "jwt-signing-key", {"auth"}),
                # Read again by the programs.
                ("pganalytics", "service-secret-query", set()),
                ("monitor", "password", {"collector"})):
            cluster.secrets[secret][key] = "b"
            after = sums()
            check({name for name in after if after[name] != before[name]} == wanted, f"{key}: {after}")
            before = after
    check(not any(k.startswith("checksum/") for name in NAMES for k in Chart().annotations("Deployment", name)),
          "without a cluster nothing is known of Secrets")


def check_certificates() -> None:
    names = ["pga.example.com", "pga.example.org"]
    with FakeCluster() as cluster:
        values = {"gateway": {"tls": {"names": names, "selfSigned": {"enabled": True, "days": 30}}}}
        chart = Chart(values, *cluster.args, *CLUSTER)
        made = data_of(chart, "tls")
        with tempfile.TemporaryDirectory() as folder:
            for name, text in made.items():
                (pathlib.Path(folder) / name).write_text(text)
            verify = subprocess.run(["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", names[1], "tls.crt"], cwd=folder,
                                    capture_output=True, text=True, check=False)
            check(verify.returncode == 0, f"the certificate is not of the CA: {verify.stdout}{verify.stderr}")
            text = subprocess.run(["openssl", "x509", "-noout", "-text", "-in", "tls.crt"], cwd=folder, capture_output=True, text=True,
                                  check=True).stdout
            for name in [*names, "pga-pganalytics-gateway", "pga-pganalytics-gateway.pganalytics.svc"]:
                check(f"DNS:{name}" in text, f"{name} is not in the certificate")
            public = [subprocess.run(["openssl", *of], cwd=folder, capture_output=True, text=True, check=True).stdout for of in
                      (["x509", "-noout", "-pubkey", "-in", "tls.crt"], ["pkey", "-pubout", "-in", "tls.key"])]
            check(public[0] == public[1], "key and certificate belong together")
        cluster.secrets["pga-pganalytics-tls"] = made
        check(("Secret", "tls") not in Chart(values, *cluster.args, *CLUSTER), "the certificate is made once")
    managed = Chart(VALUE_SETS["cert-manager"])
    certificate = managed["Certificate", "tls"]["spec"]
    check(certificate["issuerRef"]["name"] == "company" and certificate["dnsNames"][0] == "pga.example.com", f"{certificate}")
    for chart in (chart, managed):
        for name in ("gateway", "ingest"):
            volume = next(v for v in chart.pod("Deployment", name)["volumes"] if v["name"] == "tls")
            check(volume["secret"]["secretName"] == certificate["secretName"], f"{name}: Secret of the certificate")
        check(chart.env("Deployment", "gateway")["TLS_ENABLED"] == "true", "TLS is on")


def component(peer: dict) -> str:
    return peer["podSelector"]["matchLabels"].get("app.kubernetes.io/component", "")


def ports_to(rules: list[dict], direction: str) -> dict[int, list[dict]]:
    found: dict[int, list[dict]] = {}
    for rule in rules:
        check(bool(rule.get("ports")), f"a rule for every port: {rule}")
        for port in rule["ports"]:
            found.setdefault(port["port"], []).extend(rule.get(direction, [{"anybody": True}]))
    return found


def check_policies() -> None:
    chart = Chart({"collector": COLLECTOR, "backup": BACKUP, "gateway": {"tls": TLS}, "networkPolicy": {
        "databaseTo": [{"ipBlock": {"cidr": "10.0.0.5/32"}}], "collectorTo": [{"ipBlock": {"cidr": "10.0.0.6/32"}}],
        "receiverTo": [{"ipBlock": {"cidr": "10.0.0.7/32"}}]}})
    policies = {name: o["spec"] for (kind, name), o in chart.objects.items() if kind == "NetworkPolicy"}
    # Calls as the policies let them out and in, compared with the table of services.
    real = {(row.name, callee) for row in SERVICES for callee in row.calls} | {("collector", "ingest")}
    out = {(name, component(peer)) for name, spec in policies.items() for peer in ports_to(spec["egress"], "to").get(9090, [])}
    into = {(component(peer), name) for name, spec in policies.items() for peer in ports_to(spec["ingress"], "from").get(9090, [])}
    check(out == real, f"let out: {out ^ real}")
    check(into == real, f"let in: {into ^ real}")
    for name, spec in policies.items():
        check(spec["policyTypes"] == ["Ingress", "Egress"], f"{name}: what is not named is refused")
        leaving, entering = ports_to(spec["egress"], "to"), ports_to(spec["ingress"], "from")
        check({"anybody": True} not in [peer for peers in leaving.values() for peer in peers], f"{name} may call anybody: {leaving}")
        check(all(peer["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"} for peer in leaving[53]), f"{name}: names")
        if name not in ("migration", "backup"):
            check(entering[9464] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
                  f"{name}: figures are read by {entering[9464]}")
        database = {"collector": "10.0.0.6/32", "gateway": None}.get(name, "10.0.0.5/32")
        check([peer["ipBlock"]["cidr"] for peer in leaving.get(5432, [])] == ([database] if database else []), f"{name}: {leaving}")
        receivers = [peer["ipBlock"]["cidr"] for port in (443, 9093) for peer in leaving.get(port, [])]
        check(receivers == (["10.0.0.7/32"] * 2 if name == "ruler" else []), f"{name} may reach {receivers}")
    default = Chart()["NetworkPolicy", "ruler"]["spec"]
    blocks = [peer["ipBlock"] for peers in ports_to(default["egress"], "to").values() for peer in peers if "ipBlock" in peer]
    check(blocks and all(block["except"] == ["169.254.0.0/16"] for block in blocks), "credentials of clouds are out of reach")
    narrow = Chart(VALUE_SETS["narrow policies"])
    check(all(9464 not in ports_to(narrow["NetworkPolicy", name]["spec"]["ingress"], "from") for name in NAMES), "figures for nobody")
    callers = ports_to(narrow["NetworkPolicy", "gateway"]["spec"]["ingress"], "from")[8080]
    check(component(callers[0]) == "test" and callers[1:] == [{"podSelector": {}}], f"callers of the gateway: {callers}")
    check(9093 not in ports_to(narrow["NetworkPolicy", "ruler"]["spec"]["egress"], "to"), "no receivers")
    check(not any(kind == "NetworkPolicy" for kind, _ in Chart(VALUE_SETS["no policies"]).objects), "no policies")


def check_routes() -> None:
    chart = Chart(VALUE_SETS["http and grpc routes"])
    grpc = chart["GRPCRoute", "ingest"]["spec"]["rules"][0]
    proto = (ROOT / "protos/pganalytics/ingest/v1/ingest_service.proto").read_text(encoding="utf-8")
    service = re.search(r"^package (\S+);", proto, re.M)[1] + "." + re.search(r"^service (\w+)", proto, re.M)[1]
    check(grpc["matches"] == [{"method": {"type": "Exact", "service": service}}], f"what collectors call: {grpc}")
    check(component(chart["NetworkPolicy", "ingest"]["spec"]["ingress"][0]["from"][0]) == "gateway", "the gateway still calls")
    peers = chart["NetworkPolicy", "ingest"]["spec"]["ingress"][0]["from"]
    check(any("namespaceSelector" in peer for peer in peers), "the Gateway's pods reach ingest")
    for key, name, port in (("HTTPRoute", "gateway", 8080), ("GRPCRoute", "ingest", 9090)):
        ref = chart[key, name]["spec"]["rules"][0]["backendRefs"][0]
        service = chart["Service", name]
        check(ref == {"name": service["metadata"]["name"], "port": port}, f"{key}: {ref}")
        check(port in [p["port"] for p in service["spec"]["ports"]], f"{key}: the Service has no port {port}")
    check(chart["Service", "ingest"]["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/h2c", "gRPC without TLS")
    tls = Chart(VALUE_SETS["tls route"])["TLSRoute", "gateway"]["spec"]
    check(tls["rules"][0]["backendRefs"][0]["name"] == "pga-pganalytics-gateway", f"{tls}")
    through = Chart(VALUE_SETS["ingress passes tls"])["Ingress", "gateway"]
    check(through["metadata"]["annotations"]["nginx.ingress.kubernetes.io/ssl-passthrough"] == "true" and "tls" not in through["spec"],
          "TLS goes through")
    ends = Chart(VALUE_SETS["ingress ends tls"])["Ingress", "gateway"]
    check(ends["spec"]["tls"] == [{"hosts": ["pga.example.com"], "secretName": "public"}], f"{ends}")
    check(ends["metadata"]["annotations"]["example.com/number"] == "5", "annotations are texts")


def check_scaling() -> None:
    chart = Chart(VALUE_SETS["scaling"])
    for name in NAMES:
        scales = ("HorizontalPodAutoscaler", name) in chart
        check(scales == (name in ("ingest", "query", "gateway")), f"{name} scales: {scales}")
        check(("replicas" in chart["Deployment", name]["spec"]) != scales, f"{name}: replicas are the autoscaler's")
        check(("PodDisruptionBudget", name) in chart, f"{name}: budget")
    streams = Chart(VALUE_SETS["scaling on streams"])
    metrics = streams["HorizontalPodAutoscaler", "ingest"]["spec"]["metrics"]
    check(metrics[1]["pods"]["metric"]["name"] == "pga_ingest_streams" and metrics[1]["pods"]["target"]["averageValue"] == "200",
          f"streams: {metrics}")
    source = (ROOT / "services/ingest/stream_session.cc").read_text(encoding="utf-8")
    check('"pga_ingest_streams"' in source, "ingest has no such figure")
    check(("PodDisruptionBudget", "ingest") not in streams, "one pod that may not be moved would hold a node")
    alone = Chart(VALUE_SETS["one of each"])
    check(not any(kind == "PodDisruptionBudget" for kind, _ in alone.objects), "no budgets for single pods")


def check_monitoring() -> None:
    chart = Chart({"dashboards": {"enabled": True}, "metrics": {"prometheusRule": {"enabled": True}, "export": {
        "enabled": True, "tokenSecret": "token"}}})
    files = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "tools/deploy/grafana/dashboards").glob("*.json")}
    maps = {}
    for (kind, _), obj in chart.objects.items():
        if kind == "ConfigMap":
            check(obj["metadata"]["labels"]["grafana_dashboard"] == "1", "the sidecar looks for this label")
            check(obj["metadata"]["annotations"] == {"grafana_folder": "pgAnalytics"}, "folder")
            maps |= obj["data"]
    check({k: v.rstrip() for k, v in maps.items()} == {k: v.rstrip() for k, v in files.items()}, "every dashboard as it is")
    alerts = yaml.safe_load((ROOT / "tools/deploy/prometheus/pganalytics-alerts.yaml").read_text(encoding="utf-8"))
    check(chart["PrometheusRule", ""]["spec"] == alerts, "the alerts as they are")
    for group in alerts["groups"]:
        for rule in group["rules"]:
            check(bool(rule["annotations"]["runbook"]), f"{rule['alert']}: what to do")
    endpoint = chart["ServiceMonitor", "export"]["spec"]["endpoints"][0]
    gateway = chart["Service", "gateway"]
    check(endpoint["port"] in [p["name"] for p in gateway["spec"]["ports"]] and endpoint["path"] == "/api/v1/export/prometheus",
          f"export: {endpoint}")
    check(chart["ServiceMonitor", "export"]["spec"]["selector"]["matchLabels"].items() <= gateway["metadata"]["labels"].items(), "export")
    check("scheme" not in endpoint, "plain")
    check(Chart(VALUE_SETS["export over tls"])["ServiceMonitor", "export"]["spec"]["endpoints"][0]["scheme"] == "https", "TLS")


def check_documents() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/charts/readme.py"), "--check"], capture_output=True, text=True, check=False)
    check(done.returncode == 0, done.stdout + done.stderr)
    check(BASE["image"]["repository"] != "" and yaml.safe_load((CHART / "values.yaml").read_text())["image"]["repository"] == "",
          "no image is pulled that nobody made")


def main() -> int:
    tools()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        check_refused(pool)
        check_names(pool)
        parts = [check_words, check_made_secrets, check_restarts, check_certificates, check_policies, check_routes, check_scaling,
                 check_monitoring, check_documents]
        for part in [pool.submit(part) for part in parts]:
            part.result()
    print(f"chart values: {len(REFUSED) + len(REFUSED_OFFLINE)} refused, {rendering.checks} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
