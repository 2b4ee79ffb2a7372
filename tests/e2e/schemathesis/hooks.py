"""What schemathesis cannot know of this suite: values that stand for something, requests that are whole, and what must stay."""
import atexit
import collections
import datetime
import itertools
import json
import os
import pathlib
import threading
import zlib

import schemathesis

KNOWN = json.loads(pathlib.Path(os.environ["KNOWN"]).read_text(encoding="utf-8"))
PROTECTED = set(os.environ["PROTECTED"].split())
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def ago(**span):
    return (NOW - datetime.timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


# Requests that a route takes, where single values make none. A # is a number that was not there before.
WHOLE = {
    "GET /api/v1/series": {"metric": "database", "column": "xact_commit", "rate": True, "hours": 1},
    "GET /api/v1/rows": {"metric": "database", "hours": 1},
    "GET /api/v1/state": {"metric": "table_stats"},
    "GET /api/v1/forecast": {"metric": "database_size", "column": "size_bytes", "limit_value": 1e12},
    "GET /api/v1/queries/comparison": {"at": ago(minutes=5), "minutes": 60},
    "GET /api/v1/queries/{query_hash}/comparison": {"at": ago(minutes=5), "minutes": 60},
    "POST /api/v1/users": {"username": "made-#", "email": "made-#@example.org", "password": "made-Password-1", "role": "viewer"},
    "PUT /api/v1/users/{id}": {"role": "user"},
    "POST /api/v1/tokens": {"name": "made-#", "role": "viewer"},
    "POST /api/v1/registration-secrets": {"name": "made-#", "description": "made"},
    "PUT /api/v1/registration-secrets/{id}": {"name": "changed-#", "description": "", "active": True},
    "POST /api/v1/snapshots": {"name": "made-#", "snapshot_type": "pre_deploy"},
    "POST /api/v1/silences": {"matchers": [{"name": "rule_id", "value": "made"}], "duration_seconds": 60, "comment": "made"},
    "PATCH /api/v1/sources/{id}": {"group": "made"},
    "POST /api/v1/collectors/register": {"name": "made-#", "hostname": "made-#"},
    "POST /api/v1/auth/login": {"username": "api-viewer", "password": "api-test-Password-1"},
    "POST /api/v1/ml/predict": {"query_hash": KNOWN["query_hash"][0]},
    "POST /api/v1/ml/validate": {"query_hash": KNOWN["query_hash"][0]},
    "POST /api/v1/internal/explain-plans": {"query_hash": KNOWN["query_hash"][0]},
    "POST /api/v1/metrics/push": {"collector_id": "made", "metrics": [{"type": "pg_stats", "database": "app", "transactions_committed": 5}]},
    "PUT /api/v1/config/{collector_id}": "[collector]\ninterval = 30\n",
    # Snappy of an empty message.
    "POST /api/v1/prometheus/read": b"\0",
}
numbers = itertools.count(1)
answers = collections.defaultdict(collections.Counter)
lock = threading.Lock()


@schemathesis.serializer("application/x-protobuf")
def any_bytes(ctx, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def known(path, name, value, chance):
    """In three of four requests a value that is known, so that there is something to answer with."""
    values = KNOWN.get(f"{path} {name}", KNOWN.get(name))
    # Times leave the span to what is asked for besides.
    if name in ("start", "end", "at") and chance % 4:
        return None
    if not values or chance % 4 == 0:
        return value
    found = values[chance // 4 % len(values)]
    return [found] if isinstance(value, list) else found


def with_known(path, parts, chance):
    for place, name in enumerate(sorted(parts)):
        value = known(path, name, parts[name], chance + 7919 * place)
        if value is None and parts[name] is not None:
            del parts[name]
        else:
            parts[name] = value


def numbered(value):
    if isinstance(value, str):
        return value.replace("#", str(next(numbers)))
    return {name: numbered(part) for name, part in value.items()} if isinstance(value, dict) else value


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.meta.generation.mode.is_positive:
        chance = zlib.crc32(repr((case.path, case.method, case.query, case.path_parameters, case.body)).encode())
        whole = WHOLE.get(f"{case.method} {case.path}") if chance % 5 else None
        if case.query:
            with_known(case.path, case.query, chance)
        if case.path_parameters:
            with_known(case.path, case.path_parameters, chance >> 8)
        if isinstance(case.body, dict):
            with_known(case.path, case.body, chance >> 16)
        if whole is not None and case.method == "GET":
            case.query = dict(whole)
        elif whole is not None:
            case.body = numbered(whole)
    # The callers of this test and the data that is asked for would be gone.
    if case.method == "DELETE" or "/users/" in case.path:
        for name, value in (case.path_parameters or {}).items():
            if str(value) in PROTECTED:
                case.path_parameters[name] = 987654321 if isinstance(value, int) else "gone-already"


@schemathesis.hook
def filter_failure(context, failure, case, response):
    # What is never done here says so with 501; where that is not described, another check finds it.
    return not (type(failure).__name__ == "ServerError" and response.status_code == 501)


@schemathesis.hook
def after_call(context, case, response):
    with lock:
        answers[f"{case.method} {case.path}"][str(response.status_code)] += 1


@atexit.register
def write():
    pathlib.Path(os.environ["ANSWERS"]).write_text(json.dumps(answers), encoding="utf-8")
