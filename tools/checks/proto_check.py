#!/usr/bin/env python3
"""Fails when a proto breaks the house's rules: package = folder; every service, method, message, field, enum and enum
value has a comment, which is its description in the API's OpenAPI document; every method names who may call it; no
unsigned integers."""
import pathlib
import re
import sys

from services import services

ROOT = pathlib.Path(__file__).resolve().parents[2] / "protos"
SERVICES = {row.name for row in services()}
PACKAGES = tuple(row.package for row in services() if row.package)
DECLARATION = re.compile(r"\s*(service|message|enum)\s+(\w+)\s*\{")
# A field, or a value of an enum, which has no type.
MEMBER = re.compile(r"\s*(?:(?:repeated |optional )?(?:map<[^>]*>|[\w.]+)\s+)?(\w+)\s*=\s*-?\d+\s*[;\[]")


def uncommented(lines: list[str]) -> list[tuple[int, str]]:
    """Elements that neither the line above nor the end of their own line describes: what stands further away does not
    belong to them."""
    found = []
    above = ""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        element = DECLARATION.match(line) or MEMBER.match(line)
        if element and not text.startswith(("//", "option ")) and not above.startswith("//") and "//" not in text:
            found.append((number, element.groups()[-1]))
        above = text
    return found


def problems_of(path: pathlib.Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    rel = path.relative_to(ROOT).as_posix()
    found = []
    package = re.search(r"^package ([\w.]+);", text, re.M)
    expected = ".".join(path.relative_to(ROOT).parts[:-1])
    if not package or package.group(1) != expected:
        found.append(f"{rel}: package must be {expected}")
    if not text.startswith("//"):
        found.append(f"{rel}: begins without a comment that says what it is")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        rpc = re.match(r"\s*rpc (\w+)\(", line)
        if not rpc:
            continue
        if not lines[number - 2].strip().startswith("//"):
            found.append(f"{rel}:{number}: method {rpc.group(1)} has no comment")
        body = "\n".join(lines[number - 1:number + 6]).split("\n  }")[0]
        named = re.search(r"services: \[([^\]]*)\]", body)
        unknown = set(re.findall(r'"([^"]*)"', named.group(1))) - SERVICES if named else set()
        if unknown:
            found.append(f"{rel}:{number}: {unknown} are no services of libs/token/services.h")
        if not expected.startswith(PACKAGES):
            found.append(f"{rel}:{number}: no row of libs/token/services.h serves package {expected}")
        if "access)" not in body:
            found.append(f"{rel}:{number}: method {rpc.group(1)} does not say who may call it (common.v1.access)")
    missing = uncommented(lines)
    found += [f"{rel}:{number}: {name} has no comment" for number, name in missing]
    if re.search(r"\buint(32|64)\b", text):
        found.append(f"{rel}: unsigned integers are not used (AIP-141)")
    return found


def main() -> int:
    files = sorted((ROOT / "pganalytics").rglob("*.proto"))
    problems = [p for f in files for p in problems_of(f)]
    for problem in problems:
        print(problem)
    print(f"protos: {len(files)} files, {len(problems)} problems")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
