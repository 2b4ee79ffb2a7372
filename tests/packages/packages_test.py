#!/usr/bin/env python3
"""The Debian packages of a build tree, looked at without installing them: packages_test.py BUILD-TREE
Files, owners and modes, control fields, conffiles, units, scripts, and lintian where it is installed. What install, upgrade,
removal and purge do, and that two runs give the same bytes, is tests/packages/bare_root.sh."""
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "tools/deploy/systemd"
PROGRAMS = {
    "pganalytics": {"pganalytics-api", "pga-auth", "pga-registry", "pga-ingest", "pga-query", "pga-compactor", "pga-ruler", "pga-gateway"},
    "pganalytics-collector": {"pganalytics-collector"},
    "pgactl": {"pgactl"},
}
CONFFILES = {
    "pganalytics": {"/etc/pganalytics/pganalytics.env", "/etc/logrotate.d/pganalytics"},
    "pganalytics-collector": {"/etc/pganalytics/collector.env"},
    "pgactl": set(),
}
checks = 0


def check(condition: bool, what: str) -> None:
    global checks
    checks += 1
    if not condition:
        sys.exit(f"FAILED: {what}")


def run(*args: str, **environment: str) -> str:
    done = subprocess.run(args, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    check(done.returncode == 0, f"{' '.join(args)}: {done.stdout}{done.stderr}")
    return done.stdout


def make(tree: str, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    made = run(str(ROOT / "tools/packages.sh"), tree, str(folder), PGA_PACKAGE_COMPRESSION="gzip").split()
    return {pathlib.Path(path).name.partition("_")[0]: pathlib.Path(path) for path in made}


def check_control(package: str, deb: pathlib.Path) -> None:
    fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", run("dpkg-deb", "-f", str(deb)), re.M))
    check(fields["Package"] == package and fields["Architecture"] != "any", f"{package}: {fields}")
    version = re.search(r"^project\(pganalytics VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text(), re.M)[1]
    check(fields["Version"] == version, f"{package}: version {fields['Version']}")
    depends = fields["Depends"]
    check("$" not in depends and re.search(r"libc6 \(>= [\d.]+\)", depends) is not None, f"{package}: {depends}")
    for library in {"pganalytics": ("libgrpc++1.51", "libpq5", "libcurl4"), "pganalytics-collector": ("libgrpc++1.51", "libpq5"),
                    "pgactl": ("libssl3", "ca-certificates")}[package]:
        check(library in depends, f"{package}: {library} is not among {depends}")
    check((f"pgactl (= {version})" in depends) == (package == "pganalytics"), f"{package}: the backup's unit runs pgactl")
    check(int(fields["Installed-Size"]) > 1000, f"{package}: size")


def check_files(package: str, root: pathlib.Path, listed: str) -> None:
    check(not re.search(r"^\S+ (?!root/root)", listed, re.M), f"{package}: all files are root's")
    programs = {p.name for p in (root / "usr/bin").iterdir()}
    check(programs == PROGRAMS[package], f"{package}: programs {programs}")
    for program in programs:
        check("not stripped" not in run("readelf", "-S", str(root / "usr/bin" / program)) and
              ".debug_info" not in run("readelf", "-S", str(root / "usr/bin" / program)), f"{program} is not stripped")
        check(run(str(root / "usr/bin" / program), "--version").strip() != "", f"{program} --version")
    license_text = (ROOT / "LICENSE").read_text().split()
    shown = (root / "usr/share/doc" / package / "copyright").read_text()
    check(license_text[-20:] == [word for word in shown.split() if word != "."][-20:], f"{package}: the licence is whole")
    for path in root.rglob("*"):
        mode = path.lstat().st_mode & 0o777
        secret = path.suffix == ".env"
        check(mode == (0o600 if secret else mode) and not mode & 0o022, f"{path}: mode {mode:o}")
        check(not str(path.relative_to(root)).startswith(("opt", "usr/local", "var", "run")), f"{path}: not a package's place")


def check_units(package: str, root: pathlib.Path) -> None:
    for unit in (root / "lib/systemd/system").glob("*"):
        text, source = unit.read_text(), (SYSTEMD / unit.name).read_text()
        check("/opt/" not in text, f"{unit.name}: {[line for line in text.splitlines() if '/opt/' in line]}")
        same = [(a, b) for a, b in zip(text.splitlines(), source.splitlines(), strict=True) if a != b]
        check(all(a.startswith(("EnvironmentFile=/etc/pganalytics/", "ExecStart=/usr/bin/", "WorkingDirectory=/var/lib/"))
                  for a, _ in same), f"{unit.name}: differs by {same}")
        for program in re.findall(r"^ExecStart=/usr/bin/(\S+)", text, re.M):
            check(program in PROGRAMS[package] | PROGRAMS["pgactl"], f"{unit.name}: {program} is not there")
        for path in re.findall(r"^EnvironmentFile=(\S+)", text, re.M):
            check(path in CONFFILES[package], f"{unit.name}: {path} is no conffile")
        for user in re.findall(r"^User=(\S+)", text, re.M):
            made = "".join(p.read_text() for p in (root / "usr/lib/sysusers.d").iterdir())
            check(re.search(rf"^u {user} ", made, re.M) is not None, f"{unit.name}: nobody makes user {user}")
    settings = [p.read_text() for p in (root / "etc/pganalytics").glob("*.env")]
    for text in settings:
        check(not re.search(r"^[A-Z_]*(SECRET|PASSWORD|KEY|URL)=\S", text, re.M), "a password in a file that everybody has")


def check_scripts(package: str, control: pathlib.Path) -> None:
    conffiles = (control / "conffiles").read_text().split() if (control / "conffiles").exists() else []
    check(set(conffiles) == CONFFILES[package], f"{package}: conffiles {conffiles}")
    for script in ("postinst", "prerm", "postrm"):
        path = control / script
        check(path.exists() == (package != "pgactl"), f"{package}: {script}")
        if path.exists():
            run("sh", "-n", str(path))
            check("set -e" in path.read_text() and path.stat().st_mode & 0o777 == 0o755, f"{package}: {script}")
    if package == "pganalytics":
        check("rm -rf /var/lib/pganalytics-backup" not in (control / "postrm").read_text(), "a purge must not remove backups")


def main() -> int:
    tree = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        debs = make(tree, folder / "made")
        check(set(debs) == set(PROGRAMS), f"packages {set(debs)}")
        for package, deb in debs.items():
            root, control = folder / package, folder / package / "DEBIAN"
            run("dpkg-deb", "-R", str(deb), str(root))
            listed = run("dpkg-deb", "-c", str(deb))
            check_control(package, deb)
            check_scripts(package, control)
            sums = dict(reversed(line.split("  ")) for line in (control / "md5sums").read_text().splitlines())
            shutil.rmtree(control)
            there = {str(p.relative_to(root)): hashlib.md5(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}
            check(sums == there, f"{package}: md5sums")
            check_files(package, root, listed)
            check_units(package, root)
        if shutil.which("lintian"):
            found = subprocess.run(["lintian", "--fail-on", "error", "--suppress-tags", "no-manual-page", "--allow-root",
                                    *map(str, debs.values())], capture_output=True, text=True, check=False)
            check(found.returncode == 0, f"lintian: {found.stdout}{found.stderr}")
        else:
            print("lintian is not installed here: its rules were not asked")
    print(f"packages: {checks} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
