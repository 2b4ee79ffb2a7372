#!/usr/bin/env python3
"""Writes an SPDX 2.3 document of Debian packages: spdx.py NAME REVISION SECONDS <lines of package, version, architecture, source, its version."""
import datetime
import json
import re
import sys

name, revision, seconds = sys.argv[1:]
created = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
packages = []
for line in sorted(sys.stdin):
    package, version, architecture, source, source_version = line.rstrip("\n").split("\t")
    packages.append({
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{package}-{architecture}"), "name": package, "versionInfo": version,
        "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION",
        "sourceInfo": f"built from {source} {source_version}",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                          "referenceLocator": f"pkg:deb/debian/{package}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}"}]})
json.dump({
    "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
    "documentNamespace": f"https://pganalytics.example.com/spdx/{name}-{revision}", "documentDescribes": [p["SPDXID"] for p in packages],
    "creationInfo": {"created": created, "creators": ["Tool: tools/images.sh"]}, "packages": packages}, sys.stdout, indent=1)
print()
