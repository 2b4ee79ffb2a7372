#!/usr/bin/env python3
"""Copies of the built-in rules with shorter times: rules.py FROM TO.

Holds, intervals and thresholds that are times are divided by 60, windows of counters are a minute and those of changes
five, so that an hour of a rule is a minute here. Thresholds of bytes in BYTES are divided by 64, since what is written
here is small. Rules that need hours of history cannot be played and are left out; their tests are in their files. Those
that compare with earlier weeks stay as they are: they have to say that there are none.
"""
import pathlib
import re
import sys

BYTES = {"slot_holds_wal", "slot_inactive", "temp_files_written"}
HISTORY = ("slope: true", "offset:")
SHORTER = {"h": "m", "m": "s"}
# A collector is heard with every batch, and on a busy machine one may be late.
AGES = {"collector_silent": ("5m", "25s"), "data_stale": ("5m", "150s")}


def shorter(match):
    if match.group(4) == "d":
        return f"{match.group(1)}{match.group(2)}{int(match.group(3)) * 24}m{match.group(5)}"
    return f"{match.group(1)}{match.group(2)}{match.group(3)}{SHORTER[match.group(4)]}{match.group(5)}"


def compress(name, text):
    text = text[: text.index("\ntests:") + 1]
    if any(word in text for word in HISTORY):
        return None
    if "usual(" in text:
        return text.replace("interval: 5m", "interval: 5s")
    text = re.sub(r"^together: .*\n", "", text, flags=re.M)
    if name in AGES:
        text = text.replace(f"above: {AGES[name][0]}", f"above: {AGES[name][1]}")
        text = re.sub(r"^resolve: .*\n", "", text, flags=re.M)
        text = re.sub(r"^(for: )()(\d+)([mhd])()$", shorter, text, flags=re.M)
    else:
        text = re.sub(r"^((?:for|interval|above|below|resolve): )(\"?)(\d+)([mhd])(\"?)$", shorter, text, flags=re.M)
    text = "\n".join(re.sub(r"window: \d+[mhd]", "window: 5m" if "changes:" in line else "window: 1m", line)
                     for line in text.split("\n"))
    if name in BYTES:
        text = re.sub(r"(\d+)GiB", lambda m: f"{int(m.group(1)) * 16}MiB", text)
        text = re.sub(r"(\d+)MiB(?=\n)", lambda m: f"{max(1, int(m.group(1)) // 64)}MiB" if int(m.group(1)) < 128
                      else m.group(0), text)
        text = text.replace("1073741824", str(1073741824 // 64))
    return text


def main():
    source, target = map(pathlib.Path, sys.argv[1:3])
    for path in sorted(source.glob("*.yaml")):
        text = compress(path.stem, path.read_text())
        if text is not None:
            (target / path.name).write_text(text)


if __name__ == "__main__":
    main()
