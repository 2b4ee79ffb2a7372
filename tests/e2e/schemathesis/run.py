#!/usr/bin/env python3
"""Has schemathesis ask every route of a running suite what its own OpenAPI document describes: run.py URL ROLE EXAMPLES SEED FOLDER

No answer is a failure (5xx); status, media type and body are as described; no answer without a token where one is needed.
EXAMPLES is how many requests each route gets at random; 0 asks for the long form, which adds the bounds of each parameter, wrong
methods, and sequences of requests. TOKENS is a folder with a token of each role, `leaving`, a token to sign out
with, and `secret`, a registration secret; PROTECTED names ids that must stay. FOLDER keeps what was found.
Prints what was asked; exits 1 with what is wrong.
"""
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

LONG = 60
LEAST_SERVED = {"viewer": 40, "user": 45, "admin": 65}
CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
          "response_schema_conformance,missing_required_header,unsupported_method,ignored_auth,use_after_free,"
          "ensure_resource_availability")
# Not asked: whether all that is refused is outside the schema, and all that is accepted inside. Which values go together no
# schema says, and Protobuf's JSON takes more than is described: null for what is absent, "1" for 1. Nor the header Allow of a
# path that another route's variable matches, too.
#
# QUERY is no method that the gateway or Envoy know: 400, as any other word.
CONFIG = """headers = {{ Authorization = "Bearer {token}" }}

[phases.coverage]
unexpected-methods = ["GET", "PUT", "POST", "DELETE", "PATCH", "TRACE", "OPTIONS"]

[[operations]]
include-operation-id = "AuthService_Logout"
headers = {{ Authorization = "Bearer {leaving}" }}

[[operations]]
include-operation-id = "RegistryService_RegisterCollector"
headers = {{ X-Registration-Secret = "{secret}" }}
"""


def get(url, token):
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def made(url, path, token, body):
    """The id of something that is made for this test."""
    request = urllib.request.Request(url + path, data=json.dumps(body).encode(), method="POST",
                                     headers={"Authorization": "Bearer " + token, "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["id"]


def known(url, token, role):
    """Values that stand for something in this suite, by the names of the parameters, or by their path and name."""
    sources = get(url + "/api/v1/sources", token)["sources"]
    queries = get(url + "/api/v1/queries/top?hours=24&limit=20", token)["queries"]
    fingerprints = get(url + "/api/v1/queries/fingerprints?hours=24", token)["data"]
    metrics = get(url + "/api/v1/catalog", token)["metrics"]
    collectors = get(url + "/api/v1/collectors", token)["data"]
    servers = get(url + "/api/v1/servers", token)["data"]
    advice = get(url + "/api/v1/advice", token)["advice"]
    users = [made(url, "/api/v1/users", token, {"username": f"spare-{role}-{i}", "email": f"spare-{role}-{i}@example.org",
                                                "password": "spare-Password-1", "role": "viewer"}) for i in range(3)]
    secrets = [made(url, "/api/v1/registration-secrets", token, {"name": f"spare-{role}-{i}"}) for i in range(3)]
    return {
        "/api/v1/users/{id} id": users, "/api/v1/users/{id}/reset-password id": users, "/api/v1/registration-secrets/{id} id": secrets,
        "/api/v1/sources/{id} id": [source["id"] for source in sources],
        "/api/v1/servers/{id} id": [server["id"] for server in servers],
        "/api/v1/servers/{id}/metrics id": [server["id"] for server in servers],
        "/api/v1/advice/{id}/dismiss id": [one["id"] for one in advice], "/api/v1/advice/{id}/restore id": [one["id"] for one in advice],
        "/api/v1/collectors/{id} id": [collector["id"] for collector in collectors],
        "/api/v1/collectors/{id}/queries/slow id": [collector["id"] for collector in collectors],
        "source": [source[key] for source in sources for key in ("id", "name")],
        "query_hash": [query["query_id"] for query in queries],
        "query_id": [query["query_id"] for query in queries],
        "fingerprint_hash": [one["fingerprint_hash"] for one in fingerprints],
        "metric": [metric["name"] for metric in metrics],
        "collector_id": [collector["id"] for collector in collectors],
        "database": ["postgres", "app"], "database_name": ["postgres", "app"],
        "order_by": ["total_time", "calls", "mean_time"],
        "hours": [1, 24, 720], "days": [1, 30], "minutes": [15, 60, 1440], "limit": [1, 50, 100], "page": [1, 2], "page_size": [1, 100],
        "step": [60, 3600], "severity": ["warning", "critical"], "state": ["firing", "resolved"],
        "text_length": [0, 100],
    }


def main():
    url, role, examples, seed, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], pathlib.Path(sys.argv[5])
    folder.mkdir(parents=True, exist_ok=True)
    tokens = pathlib.Path(os.environ["TOKENS"])
    token = (tokens / role).read_text(encoding="utf-8").strip()
    document = get(url + "/api/v1/openapi.json", token)
    for item in document["paths"].values():
        for operation in item.values():
            # Any status would be described.
            del operation["responses"]["default"]
    (folder / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "schemathesis.toml").write_text(CONFIG.format(token=token, **{
        name: (tokens / name).read_text(encoding="utf-8").strip() for name in ("leaving", "secret")}), encoding="utf-8")
    (folder / "known.json").write_text(json.dumps(known(url, (tokens / "admin").read_text(encoding="utf-8").strip(), role)), encoding="utf-8")

    environment = dict(os.environ, SCHEMATHESIS_HOOKS="hooks", KNOWN=str(folder / "known.json"), ANSWERS=str(folder / "answers.json"),
                       PYTHONPATH=os.pathsep.join([str(pathlib.Path(__file__).parent), os.environ["PYTHONPATH"]]))
    report = folder / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(folder / "openapi.json"), "--url", url, "--checks", CHECKS, "--seed", seed, "--workers", "2", "--generation-database", "none",
               "--phases", "fuzzing" if examples else "coverage,fuzzing,stateful", "--max-examples", str(examples or LONG),
               "--continue-on-failure", "--suppress-health-check", "all", "--request-timeout", "30", "--no-color", "--report", "json",
               "--report-json-path", str(report)]
    with open(folder / "output.txt", "w", encoding="utf-8") as output:
        code = subprocess.run(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if not report.is_file():
        print((folder / "output.txt").read_text(encoding="utf-8")[-3000:])
        return 1
    result = json.loads(report.read_text(encoding="utf-8"))
    answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    routes = {f"{verb.upper()} {path}" for path, item in document["paths"].items() for verb in item}
    total = {}
    for by_status in answers.values():
        for status, count in by_status.items():
            total[status] = total.get(status, 0) + count
    served = sum(1 for route in routes if any(status < "400" for status in answers.get(route, ())))
    print(f"{role}: {result['operations']['tested']} of {len(routes)} routes, {sum(total.values())} requests, {served} routes gave what they are for:",
          ", ".join(f"{count} x {status}" for status, count in sorted(total.items())))
    if code != 0 or result["failures"]:
        text = (folder / "output.txt").read_text(encoding="utf-8")
        print(text[max(text.find("=== FAILURES"), text.find("=== ERRORS"), 0):][:20000])
    # Refusals alone would show little.
    if served < LEAST_SERVED[role]:
        print(f"at least {LEAST_SERVED[role]} routes must give what they are for")
        return 1
    return 0 if code == 0 and result["operations"]["tested"] == len(routes) else 1


if __name__ == "__main__":
    sys.exit(main())
