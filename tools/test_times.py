#!/usr/bin/env python3
"""Where the time of the tests went: tools/test_times.py <build folder> <JUnit file of ctest> ... prints seconds by label
and the slowest tests. A test with several labels counts under each; seconds are of the clock, and tests run beside each
other."""
import collections
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

SLOWEST = 10


def labels_of_tests(build):
    """Labels by test; CMake 3.25 does not write them into JUnit files."""
    shown = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], capture_output=True, check=True)
    return {test["name"]: value
            for test in json.loads(shown.stdout)["tests"]
            for entry in test.get("properties", []) if entry["name"] == "LABELS"
            for value in [entry["value"]]}


def main(build, paths):
    labels_of = labels_of_tests(build)
    seconds, count, cases = collections.Counter(), collections.Counter(), []
    for path in paths:
        if not os.path.exists(path):
            continue  # a run that did not come to it
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            took, labels = float(case.get("time", 0)), labels_of.get(case.get("name"), [])
            cases.append((took, case.get("name"), labels))
            for label in labels or ["(none)"]:
                seconds[label] += took
                count[label] += 1
    if not cases:
        return
    print("tests: by label, in seconds")
    for label, took in seconds.most_common():
        print(f"  {label:<14}{took:9.1f}  {count[label]:4d} tests")
    print(f"tests: the {min(SLOWEST, len(cases))} slowest, in seconds")
    for took, name, labels in sorted(cases, key=lambda case: (-case[0], case[1]))[:SLOWEST]:
        print(f"  {name:<38}{took:9.1f}  {' '.join(labels)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
