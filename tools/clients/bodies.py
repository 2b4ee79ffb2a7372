#!/usr/bin/env python3
"""The document with a schema for every body: bodies.py DOCUMENT

In OpenAPI 3.1 bytes need none; the generator of the Python client leaves out a route whose body has none.
"""
import json
import sys

document = json.load(open(sys.argv[1], encoding="utf-8"))
for item in document["paths"].values():
    for operation in item.values():
        content = operation.get("requestBody", {}).get("content", {})
        for kind in [kind for kind, media in content.items() if "schema" not in media]:
            media = content.pop(kind)
            # Any media type: as bytes.
            content["application/octet-stream" if kind == "*/*" else kind] = media
            media["schema"] = {} if kind == "application/json" else {"type": "string", "format": "binary"}
json.dump(document, sys.stdout)
