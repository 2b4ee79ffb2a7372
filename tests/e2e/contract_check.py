#!/usr/bin/env python3
"""Asks a running suite every row of the contract table, and keeps docs/api-contract.md current.

contract_check.py URL REGISTRATION_SECRET [--write PAGE | --page PAGE]

ADMIN_PASSWORD has the password of the account admin. The rows are the files of contract/, in order of their numbers:

  section   heading
  rows      each: request (verb and path), case (what is special), as (anonymous, viewer, user, admin (default), collector,
            other: the collector `own` and another one), or token; headers; body (JSON) or raw with type; status (200);
            says (the shape of a success: s i f b t u j, [x], {key: x}, a ~ behind the type of what may be missing or null),
            equal (JSON pointer: value), text (the whole answer), keep (name: JSON pointer, for $name in later rows),
            roles (caller: status, the same request asked by them before), hide (what the page leaves out of the answer)

A refusal always has the shape of errors: error and message, and code, which is its status. Every route of these sections that
the suite describes at /api/v1/openapi.json has a row, and every row a route there.
"""
import datetime
import json
import os
import pathlib
import re
import sys
import urllib.error
import urllib.request

import yaml

URL, SECRET = sys.argv[1:3]
HERE = pathlib.Path(__file__).parent
PASSWORD = "contract-Password-1"
VARIABLES = {"SECRET": SECRET, "PASSWORD": PASSWORD,
             "NOW": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MASKED = ("job_id", "request_id", "temp_password", "secret_value", "token", "refresh_token")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
wrong = []
asked = 0


def send(verb, path, token="", body=None, headers=None):
    request = urllib.request.Request(URL + path, data=body, method=verb)
    if token:
        request.add_header("Authorization", "Bearer " + token)
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def send_json(verb, path, token="", body=None, headers=None):
    status, content = send(verb, path, token, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})
    return status, json.loads(content)


def filled(value):
    if isinstance(value, str):
        return re.sub(r"\$(\w+)", lambda name: str(VARIABLES[name.group(1)]), value)
    if isinstance(value, dict):
        return {key: filled(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner) for inner in value]
    return value


def at(value, pointer):
    for part in pointer.strip("/").split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def differs(shape, value, where=""):
    """What is wrong with a value of a shape, or nothing."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where or '/'} is no list"
        return next(filter(None, (differs(shape[0], one, f"{where}/{i}") for i, one in enumerate(value))), "")
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where or '/'} is no object"
        for name, inner in shape.items():
            if value.get(name) is None:
                if isinstance(inner, str) and inner.endswith("~"):
                    continue
                return f"{where}/{name} is missing"
            found = differs(inner, value[name], f"{where}/{name}")
            if found:
                return found
        return ""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    good = {"s": isinstance(value, str), "b": isinstance(value, bool), "j": True, "f": number, "i": number and value == int(value),
            "t": isinstance(value, str) and TIME.fullmatch(value), "u": isinstance(value, str) and UUID.fullmatch(value)}[shape.rstrip("~")]
    return "" if good else f"{where} is {value!r}, which is no {shape}"


def shown(value, hidden=()):
    """As the page has it: what differs from run to run is masked."""
    if isinstance(value, dict):
        return {key: "..." if key in MASKED or key in hidden else shown(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shown(inner) for inner in value[:1]]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return 0
    if "-----BEGIN" in value:
        return "PEM"
    value = UUID.sub("UUID", TIME.sub("TIME", value))
    return "..." if len(value) > 60 and " " not in value else value


def prepare():
    status, answer = send_json("POST", "/api/v1/auth/login", body={"username": "admin", "password": os.environ["ADMIN_PASSWORD"]})
    assert status == 200, answer
    tokens = {"anonymous": "", "admin": answer["token"]}
    for name, role in (("viewer", "viewer"), ("user", "user"), ("reader", "viewer")):
        status, answer = send_json("POST", "/api/v1/users", tokens["admin"], {"username": name, "email": f"{name}@example.org",
                                                                              "password": PASSWORD, "role": role})
        assert status == 201, answer
        tokens[name] = send_json("POST", "/api/v1/auth/login", body={"username": name, "password": PASSWORD})[1]["token"]
    for caller, name in (("collector", "own"), ("other", "other")):
        status, answer = send_json("POST", "/api/v1/collectors/register", body={"name": name, "hostname": name, "collector_id": name},
                                   headers={"X-Registration-Secret": SECRET})
        assert status == 200, answer
        tokens[caller] = answer["token"]
    # A statement of the first one that ran ten times.
    for minutes, calls in ((5, 100), (4, 110)):
        time = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
        query = {"hash": 77, "text": "SELECT $1", "calls": calls, "total_time": calls * 2.5, "min_time": 1, "max_time": 9, "stddev_time": 2}
        status, answer = send_json("POST", "/api/v1/metrics/push", tokens["collector"], {
            "collector_id": "own", "hostname": "own", "timestamp": time, "version": "3.2.0",
            "metrics": [{"type": "pg_query_stats", "timestamp": time, "database": "app", "queries": [query]}]})
        assert status == 200, answer
    return tokens


def check(row, tokens):
    """Asks one row; gives the request and the answer as the page shows them."""
    global asked
    what = row["request"] + (f" ({row['case']})" if "case" in row else "")
    verb, path = filled(row["request"]).split(" ", 1)
    body, kind = None, "application/json"
    if "raw" in row:
        body, kind = row["raw"].encode(), row.get("type", kind)
    elif "body" in row:
        body = json.dumps(filled(row["body"])).encode()
    headers = filled(row.get("headers", {}))
    if body is not None:
        headers["Content-Type"] = kind

    def refusal(status, content, caller):
        try:
            answer = json.loads(content)
        except ValueError:
            answer = {}
        found = differs({"error": "s", "message": "s", "code": "i"}, answer)
        if found or answer.get("code") != status:
            wrong.append(f"{what} by {caller}: {status}: {found or 'code is not the status'}: {content[:200]!r}")
        return answer

    for caller, wanted in row.get("roles", {}).items():
        status, content = send(verb, path, tokens[caller], body, headers)
        asked += 1
        if status != wanted:
            wrong.append(f"{what} by {caller}: want {wanted}, got {status}: {content[:200]!r}")
        elif status >= 400:
            refusal(status, content, caller)
    caller = row.get("as", "admin")
    token = filled(row["token"]) if "token" in row else tokens[caller]
    status, content = send(verb, path, token, body, headers)
    asked += 1
    wanted = row.get("status", 200)
    if status != wanted:
        wrong.append(f"{what}: want {wanted}, got {status}: {content[:300]!r}")
        return ""
    if status >= 400:
        return json.dumps(shown(refusal(status, content, caller)))
    if "text" in row:
        if content.decode() != row["text"]:
            wrong.append(f"{what}: want {row['text']!r}, got {content[:200]!r}")
        return content.decode()
    if status == 204:
        if content:
            wrong.append(f"{what}: 204 with a body")
        return ""
    answer = json.loads(content)
    found = differs(row["says"], answer) if "says" in row else ""
    if found:
        wrong.append(f"{what}: {found}: {content[:300]!r}")
    for pointer, value in row.get("equal", {}).items():
        try:
            got = at(answer, pointer)
        except (KeyError, IndexError):
            got = None
        if got != filled(value):
            wrong.append(f"{what}: {pointer}: want {filled(value)!r}, got {got!r}")
    for name, pointer in row.get("keep", {}).items():
        try:
            VARIABLES[name] = at(answer, pointer)
        except (KeyError, IndexError):
            wrong.append(f"{what}: nothing at {pointer}")
            VARIABLES[name] = "missing"
    return json.dumps(shown(answer, row.get("hide", ())))


def route_of(request):
    verb, path = request.split(" ", 1)
    return verb.lower(), path.split("?")[0].strip("/").split("/")


def matches(template, path):
    parts = template.strip("/").split("/")
    return len(parts) == len(path) and all(a.startswith("{") or a == b for a, b in zip(parts, path))


def main():
    sections = [yaml.safe_load(file.read_text(encoding="utf-8"))
                for file in sorted((HERE / "contract").glob("*.yaml"), key=lambda file: float(re.match(r"[\d.]+", file.name)[0].rstrip(".")))]
    tokens = prepare()
    lines = ["# The contract of the 3.2.0 API", "",
             "<!-- Made by tests/e2e/contract_check.py from tests/e2e/contract/*.yaml; do not edit. -->", "",
             "Each row is asked of a running suite by a test, by every caller that it names; the answers are its answers. Instants, ids and",
             "numbers, which differ from run to run, are masked; of lists the first entry stands for all.", ""]
    rows = 0
    for section in sections:
        lines += [f"## {section['section']}", "", "| Request | By | Status | Answer | Others |", "|---|---|---|---|---|"]
        for row in section["rows"]:
            rows += 1
            answer = check(row, tokens)
            request = f"`{row['request']}`" + (f" {row['case']}" if "case" in row else "")
            if "body" in row:
                request += f"<br>`{json.dumps(row['body'])}`"
            elif "raw" in row:
                request += f"<br>`{json.dumps(row['raw'])}`"
            caller = "its session" if "token" in row else row.get("as", "admin")
            others = ", ".join(f"{name} {status}" for name, status in row.get("roles", {}).items())
            answer = answer if len(answer) <= 600 else answer[:600] + " ..."
            cells = [request, caller, str(row.get("status", 200)), f"`{answer}`" if answer else "", others]
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", "\\n") for cell in cells) + " |")
        lines.append("")
    # Every row has a route, and every route of these sections a row.
    document = json.loads(send("GET", "/api/v1/openapi.json")[1])
    described = [(verb, path) for path, item in document["paths"].items() for verb in item]
    requests = [route_of(row["request"]) for section in sections for row in section["rows"]]
    for verb, path in requests:
        if not any(matches(template, path) for _, template in described):
            wrong.append(f"no route for {verb} /{'/'.join(path)}")
    contract = [line.split() for line in (HERE / "contract" / "routes.txt").read_text(encoding="utf-8").splitlines()
                if line.strip() and not line.startswith("#")]
    missing = 0
    for verb, template in contract:
        if not any(verb.lower() == asked_verb and matches(template, path) for asked_verb, path in requests):
            missing += 1
            wrong.append(f"no row for {verb} {template}")
    print(f"{rows} rows, {asked} requests, {len(contract) - missing} of {len(contract)} routes, {len(wrong)} differences")
    page = "\n".join(lines)
    if "--write" in sys.argv and not wrong:
        pathlib.Path(sys.argv[sys.argv.index("--write") + 1]).write_text(page, encoding="utf-8")
    if "--page" in sys.argv:
        stored = pathlib.Path(sys.argv[sys.argv.index("--page") + 1]).read_text(encoding="utf-8")
        if stored != page:
            first = next((pair for pair in zip(stored.splitlines(), lines) if pair[0] != pair[1]), ("", "its length"))
            wrong.append(f"docs/api-contract.md is not current (WRITE_CONTRACT=1 writes it anew): {first[1][:300]} / {first[0][:300]}")
    for line in wrong[:60]:
        print("WRONG", line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
