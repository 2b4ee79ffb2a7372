#!/usr/bin/env python3
"""Sends odd requests to the built-in gateway and to Envoy in front of the same services, and compares the answers:
compare.py GATEWAY_URL ENVOY_URL TOKENS REQUESTS [SEED]   (TOKENS: access tokens with commas between)

Statuses, effects and bodies of 2xx are the same, always. Any other difference is one of PREDICATES; what none explains is printed
and fails the run. Tells how many differences each predicate explained."""
import collections
import json
import re
import socket
import sys
import urllib.parse

from requests import Maker, Request

MAX_SHOWN = 30
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MADE = re.compile(r"\bn[ge](\d+x\d+)\b")
# Members that tell when the answer was made, how often it was asked for, or hold what is made for one caller.
OF_THE_MOMENT = {"timestamp", "uptime", "start", "end", "token", "refresh_token", "expires_at", "created_at", "updated_at", "last_used", "last_used_at", "last_login",
                 "evaluated_at", "generated_at", "secret", "secret_value", "now", "at", "until", "starts_at", "ends_at", "job_id",
                 "hits", "misses", "hit_rate", "total_cache_hits", "total_cache_misses", "overall_hit_rate"}
COMPARED = ("content-type", "content-encoding", "content-disposition", "location", "x-frame-options", "x-content-type-options", "x-xss-protection", "referrer-policy",
            "content-security-policy", "permissions-policy", "cache-control", "strict-transport-security", "vary", "www-authenticate", "retry-after", "allow",
            "x-config-version", "access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers", "access-control-allow-methods",
            "access-control-allow-headers", "access-control-max-age", "set-cookie", "etag", "x-request-id", "content-length", "transfer-encoding", "connection", "server",
            "grpc-status", "grpc-message", "x-http-code", "x-content-encoding", "x-envoy-upstream-service-time")


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Side:
    """One way in, over one connection for as long as it holds."""

    def __init__(self, letter: str, url: str):
        where = urllib.parse.urlsplit(url)
        self.letter, self.address, self.host = letter, (where.hostname, where.port), "api.example.org"
        self.socket: socket.socket | None = None
        self.buffer = b""

    def ask(self, request: Request) -> Answer:
        sent = request.bytes_of(self.letter, self.host)
        for attempt in (1, 2):
            fresh = self.socket is None
            if fresh:
                self.socket = socket.create_connection(self.address, 30)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.buffer = b""
            try:
                self.socket.sendall(sent)
                answer = self.read(request.verb == "HEAD")
                if answer.headers.get("connection", "").lower() == "close":
                    self.close()
                return answer
            except ConnectionError:
                self.close()
                if attempt == 2:
                    return Answer(-1, {}, b"")
        raise AssertionError

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def more(self) -> None:
        got = self.socket.recv(262144)
        if not got:
            raise ConnectionError("ended")
        self.buffer += got

    def take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.more()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self.more()
        taken, self.buffer = self.buffer.split(mark, 1)
        return taken

    def read(self, bodiless: bool) -> Answer:
        head = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        headers: dict[str, str] = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        if bodiless or status in (204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.until(b"\r\n"), 16):
                body += self.take(size)
                self.take(2)
            self.until(b"\r\n")
            return Answer(status, headers, body)
        return Answer(status, headers, self.take(int(headers.get("content-length", "0"))))


def settled(value, key=""):
    """The value without what differs from moment to moment and from side to side."""
    if key in OF_THE_MOMENT:
        return "…"
    if isinstance(value, dict):
        return {name: settled(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [settled(inner, key) for inner in value]
    if isinstance(value, str):
        return MADE.sub(r"n\1", ID.sub("ID", TIME.sub("TIME", value)))
    if key == "id" and isinstance(value, int):
        return "ID"
    return value


def body_of(answer: Answer):
    if answer.headers.get("content-encoding") == "gzip":
        import gzip
        answer.body = gzip.decompress(answer.body)
        answer.headers["content-encoding"] = "gzip, read"
    if answer.headers.get("content-type", "").startswith("application/json"):
        value = answer.json()
        return ("json", settled(value)) if value is not None or answer.body == b"null" else ("broken", answer.body)
    return "text", settled(answer.body.decode("latin-1"))


# ---- What may differ. Each names one difference and says when it is that one; `what` is the header, or "body". ----
def is_error(gateway, envoy):
    return gateway.status >= 400 and envoy.status == gateway.status


def member(answer, name):
    value = answer.json()
    return value.get(name) if isinstance(value, dict) else None


PREDICATES = {
    "the wording of a refusal": lambda what, request, g, e: what == "body.message" and is_error(g, e) and bool(member(e, "message")),
    "a refusal of Envoy's own has no reason": lambda what, request, g, e: what == "body.reason" and is_error(g, e) and member(e, "reason") is None,
    "the reason of a refusal by role or by credential is auth's": lambda what, request, g, e: what == "body.reason" and g.status in (401, 403),
    "a refusal by auth has no request id in its body": lambda what, request, g, e: what == "body.request_id" and g.status in (401, 403, 503),
    "a refusal of Envoy's own has no details": lambda what, request, g, e: what == "body.details" and is_error(g, e) and member(e, "details") is None,
    "a made request id": lambda what, request, g, e: what in ("x-request-id", "body.request_id") and bool(e.headers.get("x-request-id")) and not any(
        name == "X-Request-Id" and re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", value) for name, value in request.headers),
    "a request that Envoy does not take for HTTP has no id": lambda what, request, g, e: what in ("x-request-id", "body.request_id") and g.status == 400
        and member(e, "request_id") is None,
    "Envoy keeps a connection after a refusal": lambda what, request, g, e: what == "connection" and g.headers.get("connection") == "close",
    "Envoy ends the connection after a refusal": lambda what, request, g, e: what == "connection" and e.headers.get("connection") == "close" and g.status >= 400,
    "the length of a body that differs": lambda what, request, g, e: what in ("content-length", "transfer-encoding") and (g.body != e.body or request.verb == "HEAD"),
    "a length, or chunks": lambda what, request, g, e: what in ("content-length", "transfer-encoding") and g.body == e.body,
    "WWW-Authenticate names the error": lambda what, request, g, e: what == "www-authenticate" and g.status == 401 and "Bearer" in e.headers.get(what, ""),
    "Vary names Accept-Encoding where nothing could be packed": lambda what, request, g, e: what == "vary",
    "small answers are not packed by both": lambda what, request, g, e: what == "content-encoding" and g.status < 400,
    "Allow of a path that several methods share": lambda what, request, g, e: what == "allow" and bool(e.headers.get("allow")),
    "no content type of an empty answer": lambda what, request, g, e: what == "content-type" and g.body == b"" and e.body == b"",
    "the console's entity tag of a page that is asked for packed": lambda what, request, g, e: what == "etag" and "/api/" not in request.path,
}
assert len(PREDICATES) <= 25


def differences(request: Request, gateway: Answer, envoy: Answer):
    """Yields what differs; "status" and "2xx" are never explained."""
    if gateway.status != envoy.status:
        yield "status"
        return
    ours, theirs = body_of(gateway), body_of(envoy)
    if ours != theirs:
        if gateway.status < 400:
            yield "2xx"
        elif ours[0] == theirs[0] == "json" and isinstance(ours[1], dict) and isinstance(theirs[1], dict):
            for name in sorted(ours[1].keys() | theirs[1].keys()):
                if ours[1].get(name) != theirs[1].get(name):
                    yield f"body.{name}"
        else:
            yield "body"
    for name in COMPARED:
        if settled(gateway.headers.get(name)) != settled(envoy.headers.get(name)):
            yield name


class Run:
    def __init__(self, gateway: str, envoy: str):
        self.gateway, self.envoy = Side("g", gateway), Side("e", envoy)
        self.explained = collections.Counter()
        self.statuses = collections.Counter()
        self.unexplained: list[str] = []

    def compare(self, request: Request) -> None:
        tries = 3 if request.verb in ("GET", "HEAD") else 1
        for attempt in range(tries):
            ours, theirs = self.gateway.ask(request), self.envoy.ask(request)
            found = list(differences(request, ours, theirs))
            # What was read between two moments is read again.
            if "2xx" not in found or attempt + 1 == tries:
                break
        self.statuses[ours.status] += 1
        for what in found:
            name = None
            if what not in ("status", "2xx"):
                name = next((name for name, holds in PREDICATES.items() if holds(what, request, ours, theirs)), None)
            if name is not None:
                self.explained[name] += 1
                continue
            self.unexplained.append(f"{what}: {request}\n    gateway {ours.status} {shown(what, ours)}\n    envoy   {theirs.status} {shown(what, theirs)}")

    def compare_effects(self, token: str) -> None:
        """What each side's requests have made."""
        for path in ("/api/v1/users", "/api/v1/registration-secrets", "/api/v1/tokens", "/api/v1/silences", "/api/v1/snapshots"):
            answer = self.gateway.ask(Request("GET", path, [("Authorization", "Bearer " + token)], None))
            made = {"g": [], "e": []}

            def collect(value):
                if isinstance(value, dict):
                    letter = re.search(r"\bn([ge])\d+x\d+\b", json.dumps(value))
                    if letter and "id" in value:
                        made[letter.group(1)].append(json.dumps(settled(value), sort_keys=True))
                        return
                for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
                    collect(inner)

            collect(answer.json())
            if sorted(made["g"]) != sorted(made["e"]):
                odd = set(made["g"]) ^ set(made["e"])
                self.unexplained.append(f"effect: {path}: {len(made['g'])} by the gateway, {len(made['e'])} by Envoy; differ: {sorted(odd)[:3]}")
            else:
                self.explained[f"(same effect: {path})"] += len(made["g"])


def shown(what: str, answer: Answer) -> str:
    return str(answer.headers.get(what)) if what in COMPARED else repr(answer.body[:300])


def main() -> int:
    gateway, envoy, tokens, count = sys.argv[1], sys.argv[2], sys.argv[3].split(","), int(sys.argv[4])
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    run = Run(gateway, envoy)
    document = run.gateway.ask(Request("GET", "/api/v1/openapi.json", [], None)).json()
    maker = Maker(document, tokens, seed)
    for _ in range(count):
        run.compare(maker.make())
    run.compare_effects(tokens[0])
    print(f"{count} requests, seed {seed}:", ", ".join(f"{n} x {status}" for status, n in sorted(run.statuses.items())))
    for name, n in run.explained.most_common():
        print(f"  {n:7} {name}")
    for line in run.unexplained[:MAX_SHOWN]:
        print("UNEXPLAINED", line)
    print(f"{len(run.unexplained)} differences unexplained, {len(PREDICATES)} predicates")
    return 1 if run.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
