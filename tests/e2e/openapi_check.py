#!/usr/bin/env python3
"""Asks a running suite what its own OpenAPI document says, and more: openapi_check.py URL TOKEN

Every route is called as described and with odd values: the answer has the described form, a refusal has the form of
errors, nothing is a failure (5xx). Prints how many requests gave what; exits 1 with each answer that is wrong.
"""
import collections
import http.client
import json
import sys
import urllib.parse

import jsonschema

# Ends the session of the caller, or is counted as guessing.
LEFT_ALONE = ("/api/v1/auth/",)
ODD = ["", "0", "-1", "1.5", "9223372036854775808", "1e400", "NaN", "x", "true", "null", "[]", "{}", "%00", "\u20ac", "' OR 1=1 --",
       "a" * 5000, "../..", "2026-02-30T00:00:00Z", "2026-11-28T00:00:00", "9999-12-31T23:59:59Z", "(((((", "a,b,,c"]
BODIES = [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"unknown_field": 1}', b'{"name": {}}', b'{"name": 1e999}', b"\xff\xfe",
          b'{"a":' * 200 + b"1" + b"}" * 200]


class Suite:
    def __init__(self, url, token):
        self.where = urllib.parse.urlsplit(url)
        self.headers = {"Authorization": "Bearer " + token}
        self.connection = None
        self.answers = collections.Counter()
        self.wrong = []

    def ask(self, method, path, body=None):
        headers = dict(self.headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.where.hostname, self.where.port, timeout=30)
            try:
                self.connection.request(method, path, body, headers)
                answer = self.connection.getresponse()
                content = answer.read()
                if answer.will_close:
                    self.connection.close()
                    self.connection = None
                return answer.status, answer.getheader("Content-Type", ""), content
            except (http.client.HTTPException, ConnectionError):
                # A refused body ends the connection; the next request needs another one.
                self.connection.close()
                self.connection = None
                if attempt == 2:
                    raise
        return None

    def expect(self, operation, validators, method, path, body=None):
        status, kind, content = self.ask(method, path, body)
        self.answers[status] += 1
        shown = f"{method} {path[:160]}{'' if body is None else ' ' + repr(body[:60])}: {status}"
        if status >= 500:
            self.wrong.append(f"{shown}: a failure: {content[:300]!r}")
            return status, None
        if status < 400:
            described = operation["responses"].get(str(status))
            if described is None:
                self.wrong.append(f"{shown}: this status is not described")
                return status, None
            schema = described.get("content", {}).get("application/json", {}).get("schema")
            if schema is None:
                return status, None
        else:
            schema = {"$ref": "#/components/schemas/Error"}
        if not kind.startswith("application/json"):
            self.wrong.append(f"{shown}: {kind or 'no content type'} in place of JSON: {content[:200]!r}")
            return status, None
        value = json.loads(content)
        key = json.dumps(schema)
        errors = list(validators(key, schema).iter_errors(value))[:2]
        for error in errors:
            self.wrong.append(f"{shown}: {error.json_path}: {error.message[:200]}")
        return status, value


def main():
    suite = Suite(sys.argv[1], sys.argv[2])
    status, _, content = suite.ask("GET", "/api/v1/openapi.json")
    assert status == 200, status
    document = json.loads(content)
    assert document["openapi"] == "3.1.0"
    jsonschema.Draft202012Validator.check_schema({"$defs": document["components"]["schemas"]})
    made = {}

    def validators(key, schema):
        if key not in made:
            made[key] = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
        return made[key]

    operations = [(path, verb.upper(), operation) for path, item in document["paths"].items() for verb, operation in item.items()
                  if not path.startswith(LEFT_ALONE)]
    good = 0
    for path, method, operation in operations:
        parameters = operation.get("parameters", [])
        in_path = [parameter["name"] for parameter in parameters if parameter["in"] == "path"]
        in_query = [parameter["name"] for parameter in parameters if parameter["in"] == "query"]

        def filled(value):
            text = path
            for name in in_path:
                text = text.replace("{" + name + "}", urllib.parse.quote(value, safe=""))
            return text

        target = filled("00000000-0000-0000-0000-000000000000")
        if method == "GET":
            status, _ = suite.expect(operation, validators, method, target)
            good += 1 if status == 200 else 0
            for name in in_query:
                for value in ODD:
                    suite.expect(operation, validators, method, f"{target}?{urllib.parse.urlencode({name: value})}")
            suite.expect(operation, validators, method, target + "?no_such_parameter=1")
        for value in ODD[1:] if in_path else []:
            if method in ("GET", "DELETE"):
                suite.expect(operation, validators, method, filled(value))
        if "requestBody" in operation:
            raw = any("schema" not in media for media in operation["requestBody"]["content"].values())
            for body in BODIES:
                # A body without a rule of its own may be anything.
                if not raw:
                    suite.expect(operation, validators, method, target, body)
    total = sum(suite.answers.values())
    print(f"{len(operations)} operations, {total} requests, {good} reads answered plainly:",
          ", ".join(f"{count} x {status}" for status, count in sorted(suite.answers.items())))
    for line in suite.wrong[:40]:
        print("WRONG", line)
    if len(suite.wrong) > 40:
        print(f"WRONG and {len(suite.wrong) - 40} more")
    return 1 if suite.wrong or good < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
