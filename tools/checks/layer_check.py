#!/usr/bin/env python3
"""Fails when an #include crosses the house's layers.

protos <- libs <- services <- tests, tools. Libraries form levels (LIB_LEVELS): one may include only those before it.
No service includes another service; services/api composes them all. gRPC, libpqxx and libpq stay in their folders.
"""
import pathlib
import re
import sys

from services import services

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIB_LEVELS = ["text", "status", "clock", "door", "net", "log", "config", "exec", "retry", "metrics", "catalog", "openapi", "columns", "frame", "token", "rpc",
              "pg", "storage", "backup", "testing"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')

# Files that may see gRPC: libs/rpc, and the edges of a service.
GRPC_FILE = re.compile(
    r"(^libs/(rpc|testing)/)|((_service|_client|_reactor|server|composition|relay|channel\w*|upstream\w*)"
    r"(_\w+)?\.(cc|h)$)|(^tools/)|(^tests/)|(_test\.cc$)|(_testing\.(cc|h)$)|(_fuzzer\.cc$)|(_benchmark\.cc$)")
PQXX_FILE = re.compile(r"^libs/(pg|testing)/")


def problems_of(path: pathlib.Path) -> list[str]:
    rel = path.relative_to(ROOT).as_posix()
    area, folder = rel.split("/")[:2]
    is_test = path.name.endswith("_test.cc") or path.name.endswith("_fuzzer.cc") or path.name.endswith("_benchmark.cc") \
        or "testing" in path.name
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        name = match.group(2)
        where = f"{rel}:{number}: includes {name}: "
        target = name.split("/")
        if target[0] == "services" and area == "libs":
            found.append(where + "a library may not include a service")
        if target[0] == "services" and area == "services" and target[1] != folder and folder != "api" and not is_test:
            found.append(where + "a service may not include another service")
        if target[0] in ("tests",) and area in ("libs", "services"):
            found.append(where + "product code may not include tests")
        if target[0] == "libs" and target[1] == "testing" and not is_test and area != "tests" and folder != "testing":
            found.append(where + "only tests may use libs/testing")
        if target[0] == "libs" and area == "libs" and target[1] != folder and not is_test:
            if target[1] not in LIB_LEVELS or folder not in LIB_LEVELS:
                found.append(where + "library is not in LIB_LEVELS of tools/checks/layer_check.py")
            elif LIB_LEVELS.index(target[1]) > LIB_LEVELS.index(folder):
                found.append(where + f"libs/{folder} is below libs/{target[1]}")
        if (name.startswith("grpcpp/") or name.startswith("grpc/") or name.endswith(".grpc.pb.h")) \
                and not GRPC_FILE.search(rel) and path.name != "main.cc":
            found.append(where + "gRPC belongs to libs/rpc and to *_service.*, *_client.*, *_reactor.*, server.*")
        if (name.startswith("pqxx/") or name == "libpq-fe.h") and not PQXX_FILE.search(rel):
            found.append(where + "only libs/pg sees libpqxx and libpq")
        if match.group(1) == '"' and "/" not in name:
            found.append(where + "include by full path from the root")
    return found


def main() -> int:
    problems = []
    count = 0
    # The collector is a program of its own, api composes the services, and the gateway serves the console.
    folders = {path.name for path in (ROOT / "services").iterdir() if path.is_dir()} - {"api", "collector", "console"}
    if folders != {row.name for row in services()}:
        problems.append(f"services/ has {sorted(folders)}, libs/token/services.h other rows")
    for area in ("libs", "services", "tools", "tests"):
        for path in sorted((ROOT / area).rglob("*")):
            if path.suffix in (".h", ".cc") and len(path.relative_to(ROOT).parts) > 2:
                count += 1
                problems += problems_of(path)
    for problem in problems:
        print(problem)
    print(f"layers: {count} files, {len(problems)} problems")
    return 1 if problems or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
