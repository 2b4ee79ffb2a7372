#!/usr/bin/env python3
"""Every YAML example of docs/prometheus.md is a configuration that a real Prometheus takes (promtool check config)."""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"^```yaml\n(.*?)^```$", re.M | re.S)


def main() -> int:
    examples = EXAMPLE.findall((ROOT / "docs/prometheus.md").read_text(encoding="utf-8"))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        token = pathlib.Path(folder) / "token"
        token.write_text("secret", encoding="utf-8")
        for number, example in enumerate(examples):
            config = pathlib.Path(folder) / f"{number}.yml"
            # The file with the token has to be there.
            config.write_text(example.replace("/etc/prometheus/pganalytics.token", str(token)), encoding="utf-8")
            done = subprocess.run(["promtool", "check", "config", str(config)], capture_output=True, text=True,
                                  check=False)
            if done.returncode != 0:
                print(f"docs/prometheus.md: example {number + 1} is refused:\n{done.stdout}{done.stderr}")
                failed += 1
    print(f"prometheus: {len(examples)} examples, {failed} refused")
    return 1 if failed or len(examples) < 4 else 0


if __name__ == "__main__":
    sys.exit(main())
