"""The rows of libs/token/services.h, for checks and tests in Python."""
import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r'\{\.name = "(\w+)", \.package = "([\w.]*)", \.port = (\d+), \.calls = "([\w ]*)",\s*'
                 r"\.names_clients = (\w+), \.speaks_for_collectors = (\w+)\}")


@dataclasses.dataclass(frozen=True)
class Service:
    name: str
    package: str
    port: int
    calls: tuple[str, ...]


def services() -> list[Service]:
    text = (ROOT / "libs/token/services.h").read_text(encoding="utf-8")
    rows = [Service(name, package, int(port), tuple(calls.split())) for name, package, port, calls, _, _ in ROW.findall(text)]
    if not rows or len(rows) != text.count("{.name ="):
        raise SystemExit("tools/checks/services.py: the rows of libs/token/services.h cannot be read")
    return rows
