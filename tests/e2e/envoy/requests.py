"""Odd requests to the API, made from its OpenAPI document and a seed. In names that a request would make, the letter of the side
that it is sent to stands for SIDE, so that one suite can be asked by both ways."""
import json
import random
import urllib.parse

SIDE = "\x01"
UUID = "3f0c7a52-6f0e-4c39-9a52-0d4b1f6f7a10"
NAMES = ["primary", "no such", "", "a/b", "a%2Fb", "%", "%zz", "%00", "\x7f", "é", "日本", "..", ".", "a b", "a+b", "*", "{id}", ":verb", "a:b", "x" * 300,
         "'", '"', "<b>", "\\", ";", "&", "=", "?", "#", "1" * 30, UUID, UUID.upper(), "null", "true"]
NUMBERS = ["0", "-1", "1", "7", "24", "60", "720", "721", "+5", " 5", "5 ", "05", "5.0", "5.5", "5e1", "1e400", "0x10", "1_000", "2147483647", "2147483648",
           "-2147483648", "9223372036854775808", "NaN", "nan", "Infinity", "-Infinity", "inf", "", "x", "true", "null", "５", "--5", "1,5", "1e2", "1.", ".5", "-0"]
TIMES = ["2026-11-28T10:00:00Z", "2026-11-28T10:00:00+02:00", "2026-11-28T10:00:00.123456789Z", "2026-11-28T10:00:00.1234567891Z", "2026-11-28", "10:00",
         "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-11-28t10:00:00z",
         "2026-11-28T10:00:60Z", "2026-11-28T24:00:00Z", "2026-11-28 10:00:00Z", "1732788000", "", "now", "2026-11-28T10:00:00", "2026-11-28T10:00:00+25:00"]
FLAGS = ["true", "false", "TRUE", "True", "1", "0", "yes", "t", "", "null", "tru", " true"]
ENUMS = ["sum", "avg", "SUM", "0", "1", "5", "6", "-1", "", "AGGREGATE_UNSPECIFIED", "last ", "none"]
TOKENS = ["", "Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "bearer x", "Basic YWRtaW46YWRtaW4=", "Token x", "Bearer  x", "Bearer \xe9", "x" * 9000, "Bearer " + "x" * 9000,
          "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyOjEiLCJyb2xlIjoiYWRtaW4ifQ.", "Bearer null"]
TEXTS = ["", "a", "\u0000", "\ud800", "é" * 40, "x" * 5000, "'; DROP TABLE users; --", "${jndi:x}", "\n", "\u202e", "null", "0"]
VALUES = [None, True, False, 0, -1, 1, 1.5, 2**31, 2**53, 2**63, 2**64, 1e308, "", "1", "x", "true", [], {}, [[]], [1, "a", None], {"a": {"b": 1}}, {"": ""}]
JSON = [b"", b" ", b"\r\n\t", b"{}", b"{", b"}", b"[]", b"[", b"null", b"true", b"0", b'"x"', b"{}x", b"{} {}", b"{,}", b'{"a":1,}', b"{'a':1}", b'{"a" 1}', b"\xff\xfe",
        b'{"username":"\xff"}', b"\xef\xbb\xbf{}", b'{"a":' * 99 + b"1" + b"}" * 99, b'{"a":' * 150 + b"1" + b"}" * 150, b"[" * 5000, b'{"a":NaN}', b'{"a":0123}',
        b'{"a":+1}', b'{"a":1e999}', b'{"a":"\\ud800"}', b'{"a":"\\x"}', b"// c\n{}", b"/**/{}", b'{"a":1,"a":2}', b"{\"a\":'x'}", b"{a:1}", b'{"\\u0061":1}', b"undefined",
        b'{"a":"\n"}', b'{"a":"\x00"}', b"\x00", b"a=b&c=d", b"--x\r\n"]
# What a service takes, for requests that shall have an effect.
SOUND = {"role": "viewer", "password": "a-good-Password-1", "full_name": "Somebody", "groups": [], "group": "default", "expires_at": "2027-06-01T00:00:00Z",
         "texts": False, "description": "made by a test", "comment": "made by a test", "for_many": True, "snapshot_type": "manual", "collector_id": ""}
VERBS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "REPORT", "get", "LINK"]
# They end sessions, count guesses, or take the place of something that the next request needs: never with a good token.
WITHOUT_TOKEN = ("/api/v1/auth/",)
# What they find depends on what the call before has left; with a body they do not take alone.
LEAVES = ("/api/v1/anomalies/detect", "/api/v1/recommendations/aggregate", "/index-recommendations/generate", "/api/v1/alerts/test", "/api/v1/collectors/register",
          "/api/v1/auth/")


class Request:
    """Bytes to send, for a side; what it is, for people; which verb, and whether it may be sent again."""

    def __init__(self, verb: str, path: str, headers: list[tuple[str, str]], body: bytes | None):
        self.verb, self.path, self.headers, self.body = verb, path, headers, body

    def bytes_of(self, side: str, host: str) -> bytes:
        lines = [f"{self.verb} {self.path} HTTP/1.1", f"Host: {host}"] + [f"{name}: {value}" for name, value in self.headers]
        body = self.body
        if body is not None:
            body = body.replace(SIDE.encode(), side.encode())
            lines.append(f"Content-Length: {len(body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").replace(SIDE, side)
        return head.encode("latin-1") + (body or b"")

    def __str__(self) -> str:
        headers = [(name, value if len(value) < 60 else value[:40] + "…") for name, value in self.headers]
        return f"{self.verb} {self.path[:300]} {headers} {None if self.body is None else self.body[:300]}".replace(SIDE, "SIDE")


class Maker:
    def __init__(self, document: dict, tokens: list[str], seed: int):
        self.random = random.Random(seed)
        self.tokens = tokens
        self.schemas = document["components"]["schemas"]
        self.operations = [(path, verb.upper(), operation) for path, item in document["paths"].items() for verb, operation in item.items()]
        self.made = 0
        self.seed = seed

    def pick(self, values):
        return values[self.random.randrange(len(values))]

    def maybe(self, share: float) -> bool:
        return self.random.random() < share

    def make(self) -> Request:
        self.made += 1
        path, verb, operation = self.pick(self.operations)
        parameters = operation.get("parameters", [])
        for parameter in parameters:
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", self.path_value(path))
        plain = path
        if self.maybe(0.12):
            path = self.bent(path)
        known = [p for p in parameters if p["in"] == "query"]
        query = self.query(known) if known and self.maybe(0.75) or self.maybe(0.08) else ""
        if self.maybe(0.08):
            verb = self.pick(VERBS)
        headers = self.headers(plain, verb)
        body = None
        if "requestBody" in operation and verb in ("POST", "PUT", "PATCH") or self.maybe(0.04):
            body = self.body(operation, plain)
            if self.maybe(0.8):
                headers.append(("Content-Type", "application/json" if self.maybe(0.85) else self.pick(["text/plain", "application/x-www-form-urlencoded", "",
                                                                                                  "application/json; charset=utf-8", "application/xml", "x"])))
            if self.maybe(0.02):
                headers.append(("Content-Encoding", self.pick(["gzip", "identity", "br", "deflate", "GZIP", "snappy", "zstd", "x-gzip", ""])))
        return Request(verb, path + query, headers, body)

    def path_value(self, path: str) -> str:
        # No id that somebody has: users and tokens are counted from 1.
        if "/users/" in path:
            return self.pick(["1000000", "-1", "x", "1.5", "9223372036854775807", "%31%30%30%30%30%30", "1e9", "%00", "%ff", "a%2Fb", "99999999999999999999"])
        value = self.pick(NAMES + NUMBERS)
        return self.quoted(value) or "x"

    def quoted(self, text: str) -> str:
        if self.maybe(0.08):
            return "".join(f"%{byte:02{self.pick('xX')}}" for byte in text.encode("utf-8", "surrogatepass"))
        if self.maybe(0.04):
            return self.pick(["%ff", "%c0%af", "%ed%a0%80", "%00", "%", "%2", "%%", "%u0041", "%f4%90%80%80"])
        return urllib.parse.quote(text.encode("utf-8", "surrogatepass"), safe=self.pick(["", "!$'()*,:@", "-._~"]))

    def bent(self, path: str) -> str:
        way = self.random.randrange(9)
        if way == 0:
            return path + "/" * self.random.randrange(1, 4)
        if way == 1:
            return path.replace("/", "//", 1)
        if way == 2:
            return path.upper()
        if way == 3:
            return path.replace("/v1/", "/v1/./") if self.maybe(0.5) else path.replace("/v1/", "/v1/x/../")
        if way == 4:
            return path.replace("api", "%61pi")
        if way == 5:
            return path + self.pick([":verb", ";a=b", ".json", "%20", "%2F", "/x", "%3F", "*"])
        if way == 6:
            return self.pick(["/", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/health", "//", "/./", "/apis", "/mcpx", "/version/x", "/index.html", "/api/v1/" + "x/" * 200])
        if way == 7:
            at = path.rfind("/")
            return path[:at] or "/"
        return path.replace("/api/v1", "/api/v1" + self.pick(["/", "//", "%2F", "/v1"]))

    def query(self, known: list[dict]) -> str:
        pairs = []
        for _ in range(self.random.randrange(1, 5) if not self.maybe(0.01) else 120):
            parameter = self.pick(known) if known else {"name": "x", "schema": {}}
            name = parameter["name"]
            schema = parameter.get("schema", {})
            if schema.get("type") == "array":
                schema = schema.get("items", {})
            if self.maybe(0.03):
                name = self.pick(["colour", "", "a.b", name.upper(), name + ".x", name + "[]", "%00", "%ff", name + "%20", "constructor", "." + name])
            elif self.maybe(0.04) and "_" in name:
                words = name.split("_")
                name = words[0] + "".join(word.title() for word in words[1:])
            value = self.quoted(self.value(schema))
            pairs.append(name + "=" + value if not self.maybe(0.02) else self.pick([name, name + "==" + value, "=" + value, "", name + "=" + value + "#"[:0]]))
        joined = "&".join(pairs)
        if self.maybe(0.05):
            joined = self.pick(["&", "&&", "?", ""]) + joined + self.pick(["&", "&&", "?", ";"])
        return "?" + joined

    def value(self, schema: dict) -> str:
        if "$ref" in schema:
            schema = self.schemas.get(schema["$ref"].rsplit("/", 1)[-1], {})
        kind = schema.get("type")
        kinds = kind if isinstance(kind, list) else [kind]
        if self.maybe(0.1):
            return self.pick(NAMES + NUMBERS + TIMES + FLAGS + ENUMS)
        if "enum" in schema:
            return str(self.pick(schema["enum"])) if self.maybe(0.5) else self.pick(ENUMS)
        if schema.get("format") == "date-time":
            return self.pick(TIMES)
        if "integer" in kinds or "number" in kinds:
            return self.pick(NUMBERS)
        if "boolean" in kinds:
            return self.pick(FLAGS)
        return self.pick(["database", "xact_commit", "source", "primary", "table_stats", "total_time", "UTC", "Europe/Berlin", *NAMES])

    def headers(self, path: str, verb: str) -> list[tuple[str, str]]:
        headers = []
        if self.maybe(0.8) and not path.startswith(WITHOUT_TOKEN):
            headers.append(("Authorization", "Bearer " + self.pick(self.tokens)))
        elif self.maybe(0.5):
            headers.append(("Authorization", self.pick(TOKENS)))
        if self.maybe(0.05):
            headers.append(("X-Request-Id", self.pick(["abc", "a" * 128, "a" * 129, "a b", "é".encode().decode("latin-1"), "", "x_y-z.1:2", "{}"])))
        if self.maybe(0.05):
            headers.append(("Origin", self.pick(["https://a.example", "https://b.example", "null", "https://a.example:443", "", "HTTPS://A.EXAMPLE"])))
            if self.maybe(0.5):
                headers.append(("Access-Control-Request-Method", self.pick(["GET", "DELETE", "x"])))
        if self.maybe(0.03):
            headers.append(("Accept-Encoding", self.pick(["gzip", "gzip;q=0", "identity", "*", "br"])))
        if self.maybe(0.03):
            headers.append((self.pick(["X-Forwarded-For", "X-Forwarded-Proto", "X-Collector-Id", "X-Service-Authorization", "X-Service-Secret", "Grpc-Timeout", "Te",
                                       "X-Http-Code", "X-Envoy-Original-Path", "X-Http-Method-Override", "Cookie", "Grpc-Status-Details-Bin", "Forwarded", "Accept"]),
                            self.pick(["1.2.3.4", "https", "x", "Bearer x", "1S", "DELETE", "pganalytics_session=x", "a=b; pganalytics_session=y; c=d", "*/*", ""])))
        if self.maybe(0.01):
            headers.append(("X-Session", "cookie"))
        return headers

    def body(self, operation: dict, path: str) -> bytes:
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if schema is None or self.maybe(0.3):
            return self.pick(JSON)
        value = self.object(schema, 0, any(left in path for left in LEAVES))
        text = json.dumps(value, ensure_ascii=self.maybe(0.5), indent=self.pick([None, None, 1])).replace("\\u0001", SIDE)
        if self.maybe(0.04):
            cut = self.random.randrange(len(text) + 1)
            text = text[:cut] + self.pick(["", "x", "}", "]", '"', "\x00", ","]) + text[cut + self.random.randrange(2):]
        return text.encode("utf-8", "surrogatepass")

    def object(self, schema: dict, depth: int, leaves: bool):
        if "$ref" in schema:
            schema = self.schemas.get(schema["$ref"].rsplit("/", 1)[-1], {})
        properties = schema.get("properties", {})
        if not leaves and self.maybe(0.3):
            return {name: SOUND.get(name, self.member(name, inner, 9)) for name, inner in properties.items()
                    if name in SOUND or name in ("username", "name", "email")}
        out = {}
        for name, inner in properties.items():
            if self.maybe(0.25):
                continue
            if self.maybe(0.05):
                words = name.split("_")
                name = words[0] + "".join(word.title() for word in words[1:])
            out[name] = self.member(name, inner, depth)
        if self.maybe(0.05) or not out:
            out[self.pick(["unknown", "", "__proto__", "a.b"])] = self.pick(VALUES)
        if leaves and out:
            # Never whole: one member has a form that no field takes.
            out[self.pick(list(properties) or list(out))] = [[{}]]
        return out

    def member(self, name: str, schema: dict, depth: int):
        if "$ref" in schema:
            schema = self.schemas.get(schema["$ref"].rsplit("/", 1)[-1], {})
        if depth < 9 and self.maybe(0.2):
            return self.pick(VALUES)
        if name in ("username", "name", "title"):
            return f"n{SIDE}{self.seed}x{self.made}"
        if name == "email":
            return f"n{SIDE}{self.seed}x{self.made}@example.org"
        if name == "password":
            return self.pick(["a-good-Password-1", "short", ""])
        kind = schema.get("type")
        if "properties" in schema and depth < 3:
            return self.object(schema, depth + 1, False)
        if kind == "array":
            return [self.member("", schema.get("items", {}), depth + 1) for _ in range(self.random.randrange(3))]
        text = self.value(schema) if not self.maybe(0.2) else self.pick(TEXTS)
        if kind in ("integer", "number") and self.maybe(0.7):
            try:
                number = float(text)
                return int(number) if number.is_integer() and self.maybe(0.8) else number
            except (ValueError, OverflowError):
                return text
        if kind == "boolean" and text in ("true", "false"):
            return text == "true"
        return text
