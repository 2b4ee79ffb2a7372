"""Names of the settings that a program reads, out of its sources."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/checks"))
from services import services  # noqa: E402 (beside tools, not a package)

REGISTERED = re.compile(r"loader\.\w+\(\s*&?[\w>.-]+,\s*\"([A-Z0-9_|]+)\"")


def settings_of(service: str) -> set[str]:
    """Of services/<service>, with those that every service has; secrets also as NAME_FILE."""
    sources = [*(ROOT / "services" / service).glob("*.cc"), ROOT / "libs/rpc/service_host.cc"]
    names = {name for path in sources for group in REGISTERED.findall(path.read_text(encoding="utf-8"))
             for name in group.split("|")}
    for row in services():
        if row.name == service:
            names |= {f"{callee.upper()}_SERVICE_ADDR" for callee in row.calls}
    return names | {name + "_FILE" for name in names}
