#!/usr/bin/env python3
"""Shows for each fault of tests/reproduced/faults.tsv that its test fails when the fault is put back, with the recorded
text, and that it passes on the code as it stands.

  tools/checks/fault_proofs.py              every fault (the first run compiles each faulty file, later ones are cached)
  tools/checks/fault_proofs.py NAME...      these; a subject ("trust") stands for all of its faults
  tools/checks/fault_proofs.py --check      builds nothing: each patch applies, each test is there, each row is complete
  tools/checks/fault_proofs.py --list       the table

A scratch work tree of HEAD lies in build/fault-proofs. Rows, patches and HEAD are those of this checkout; a test that
was not committed is not seen. NICE and JOBS (default 10 and the number of processors) bound what a build takes.
"""
import argparse
import collections
import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "reproduced"
PATCHES = FOLDER / "patches"
TREE = ROOT / "build" / "fault-proofs" / "tree"
BUILD = TREE / "build" / "dev"
COLUMNS = ["name", "fault", "test", "filter", "shows", "repaired"]
SUBJECTS = ["waiting", "trust", "collector", "redaction", "reads", "deployment", "door", "storage"]
RUN_LIMIT = 300  # seconds one test may take

Row = collections.namedtuple("Row", COLUMNS)


def read_rows():
    with open(FOLDER / "faults.tsv", encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if next(reader) != COLUMNS:
            sys.exit(f"fault_proofs: the first line of faults.tsv is not: {' '.join(COLUMNS)}")
        rows = []
        for number, fields in enumerate(reader, start=2):
            if len(fields) != len(COLUMNS) or not all(field.strip() for field in fields):
                sys.exit(f"fault_proofs: line {number} of faults.tsv has not {len(COLUMNS)} full fields")
            rows.append(Row(*fields))
    return rows


def run(command, cwd, limit=None, env=None):
    """Exit status and output of a command. A limit that was passed ends it and is a status of its own."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, timeout=limit, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as late:
        return "time limit", (late.stdout or b"").decode("utf-8", "replace")


def plain(text):
    return " ".join(text.split())


def tests_of_filter(wanted):
    """Suite and name of each test that a filter names: Prefix/Suite.Name/row is Suite, Name."""
    for part in wanted.split("-")[0].split(":"):
        suite, _, name = part.partition(".")
        yield suite.split("/")[-1] if not re.fullmatch(r"\d+", suite.split("/")[-1]) else suite.split("/")[-2], \
            name.split("/")[0]


def check(rows):
    """Faults of the table, without a build."""
    problems = []
    sources = "\n".join(path.read_text(encoding="utf-8") for folder in ("libs", "services", "tests", "tools")
                        for path in (ROOT / folder).rglob("*_test.cc"))
    lists = "\n".join(path.read_text(encoding="utf-8") for folder in ("libs", "services", "tests", "tools")
                      for path in (ROOT / folder).rglob("CMakeLists.txt"))
    history = run(["git", "rev-parse", "--is-shallow-repository"], ROOT)[1].strip() == "false"
    for name, times in collections.Counter(row.name for row in rows).items():
        if times > 1:
            problems.append(f"{name}: two rows of this name")
    for row in rows:
        if not re.fullmatch(rf"({'|'.join(SUBJECTS)})(-[a-z0-9]+)+", row.name):
            problems.append(f"{row.name}: a name is a subject ({', '.join(SUBJECTS)}) and words, joined by -")
        if not row.fault.endswith("."):
            problems.append(f"{row.name}: the fault is not a sentence")
        if not re.search(rf"NAME {re.escape(row.test)}\b", lists):
            problems.append(f"{row.name}: no test program {row.test}")
        if row.filter != "-":
            for suite, name in tests_of_filter(row.filter):
                if not re.search(rf"TEST(?:_F|_P)?\(\s*{re.escape(suite)},\s*{re.escape(name).replace(chr(92) + '*', '.*')}\s*\)",
                                 sources):
                    problems.append(f"{row.name}: no test {suite}.{name}")
        if not re.fullmatch(r"[0-9a-f]{7,40}", row.repaired):
            problems.append(f"{row.name}: {row.repaired} is no commit")
        elif history and run(["git", "cat-file", "-e", row.repaired + "^{commit}"], ROOT)[0] != 0:
            problems.append(f"{row.name}: commit {row.repaired} is not in the history")
        patch = PATCHES / f"{row.name}.patch"
        if not patch.exists():
            problems.append(f"{row.name}: no patch {patch.relative_to(ROOT)}")
            continue
        touched = re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(encoding="utf-8"), re.M)
        if any(path.endswith("_test.cc") for path in touched):
            problems.append(f"{row.name}: its patch changes a test")
        status, said = run(["git", "apply", "--check", str(patch)], ROOT)
        if status != 0:
            problems.append(f"{row.name}: its patch does not apply: {plain(said)}")
    names = {row.name for row in rows}
    problems += [f"{patch.stem}: a patch without a row" for patch in sorted(PATCHES.glob("*.patch"))
                 if patch.stem not in names]
    return problems


def prepare():
    """The scratch work tree at HEAD, configured."""
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
    if not (TREE / ".git").exists():
        TREE.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(TREE), head], cwd=ROOT, check=True)
    subprocess.run(["git", "checkout", "--quiet", "--force", "--detach", head], cwd=TREE, check=True)
    servers = ROOT / "build" / "postgres"
    (TREE / "build").mkdir(exist_ok=True)
    if servers.exists() and not (TREE / "build" / "postgres").exists():
        (TREE / "build" / "postgres").symlink_to(servers)
    status, said = run(["cmake", "--preset", "dev"], TREE)
    if status != 0:
        sys.exit(f"fault_proofs: cmake:\n{said}")
    listed = json.loads(subprocess.check_output(["ctest", "--show-only=json-v1"], cwd=BUILD))
    tests = {}
    for test in listed["tests"]:
        properties = {entry["name"]: entry["value"] for entry in test.get("properties", [])}
        environment = dict(entry.partition("=")[::2] for entry in properties.get("ENVIRONMENT", []))
        tests[test["name"]] = (test.get("command", []), environment)
    return head, tests


def built_by(name):
    """The targets a test needs: its own program, for scripts those of their CMakeLists.txt are taken as built."""
    lists = [path.read_text(encoding="utf-8") for folder in ("libs", "services", "tests", "tools")
             for path in (TREE / folder).rglob("CMakeLists.txt")]
    return [name] if any(re.search(rf"pga_test\(\s*NAME {re.escape(name)}\b", text) for text in lists) else []


def build(targets):
    if not targets:
        return 0, ""
    environment = dict(os.environ, CCACHE_MAXSIZE=os.environ.get("CCACHE_MAXSIZE", "5G"))
    jobs = os.environ.get("JOBS", str(os.cpu_count()))
    return run(["nice", "-n", os.environ.get("NICE", "10"), "cmake", "--build", str(BUILD), "-j", jobs, "--target"] +
               sorted(targets), TREE, env=environment)


def run_test(tests, name, wanted):
    command, environment = tests[name]
    if wanted != "-":
        # ctest tells no command of a program that is not built.
        command = [str(BUILD / "bin" / name), f"--gtest_filter={wanted}"]
    status, said = run(command, BUILD, RUN_LIMIT, dict(os.environ, **environment))
    if wanted != "-" and not re.search(r"Running [1-9]\d* tests? from", said):
        return "no such test", said
    return status, said


def reset():
    subprocess.run(["git", "checkout", "--quiet", "--force", "HEAD", "--", "."], cwd=TREE, check=True)
    subprocess.run(["git", "clean", "--quiet", "-fd", "--exclude=build"], cwd=TREE, check=True)


def show_failing(row, tests):
    """None when the test fails as recorded, else what happened."""
    reset()
    status, said = run(["git", "apply", str(PATCHES / f"{row.name}.patch")], TREE)
    if status != 0:
        return f"the patch does not apply: {plain(said)}"
    if row.test not in tests:
        return f"no test program {row.test}"
    status, said = build(built_by(row.test))
    if status != 0:
        return "the faulty code does not build:\n" + said[-3000:]
    status, said = run_test(tests, row.test, row.filter)
    if status == "no such test":
        return f"no test {row.filter}"
    if status == 0:
        return "the test passes with the fault"
    if plain(row.shows) not in plain(said):
        return f"the test fails ({status}) without the recorded text; it printed:\n" + said[-4000:]
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true", help="build nothing")
    parser.add_argument("--list", action="store_true", help="print the table")
    options = parser.parse_args()
    rows = read_rows()
    unknown = [name for name in options.names if not any(name in (row.name, row.name.split("-")[0]) for row in rows)]
    if unknown:
        sys.exit(f"fault_proofs: no fault or subject named {', '.join(unknown)}")
    if options.names:
        rows = [row for row in rows if row.name in options.names or row.name.split("-")[0] in options.names]
    if options.list:
        for row in rows:
            print(f"{row.name}\n  {row.fault}\n  {row.test} {row.filter}\n  repaired by {row.repaired}")
        return 0
    problems = check(read_rows())
    for problem in problems:
        print(f"fault_proofs: {problem}", file=sys.stderr)
    if options.check or problems:
        print(f"fault_proofs: {len(rows)} faults, {len(problems)} problems of the table")
        return 1 if problems else 0

    head, tests = prepare()
    print(f"fault_proofs: {len(rows)} faults put back into {head[:12]}", flush=True)
    failing, open_rows = 0, []
    for row in sorted(rows, key=lambda row: row.test):
        start = time.monotonic()
        trouble = show_failing(row, tests)
        seconds = time.monotonic() - start
        if trouble is None:
            failing += 1
            print(f"  {row.name:<44} fails {seconds:5.0f} s  {row.test} {row.filter}  repaired by {row.repaired}", flush=True)
        else:
            open_rows.append(row.name)
            print(f"  {row.name:<44} OPEN  {seconds:5.0f} s  {row.test} {row.filter}\n{trouble}", flush=True)

    reset()
    passing = 0
    status, said = build({target for row in rows for target in built_by(row.test)})
    if status != 0:
        print(said[-3000:])
        sys.exit("fault_proofs: the code as it stands does not build")
    results = {}
    for test, wanted in sorted({(row.test, row.filter) for row in rows}):
        results[test, wanted] = run_test(tests, test, wanted)
    for row in rows:
        status, said = results[row.test, row.filter]
        if status == 0:
            passing += 1
        else:
            if row.name not in open_rows:
                open_rows.append(row.name)
            print(f"  {row.name}: {row.test} {row.filter} fails on the code as it stands ({status}):\n{said[-3000:]}")
    print(f"{len(rows)} faults, {failing} shown failing, {passing} passing now, {len(open_rows)} open")
    return 1 if open_rows else 0


if __name__ == "__main__":
    sys.exit(main())
