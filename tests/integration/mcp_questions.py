#!/usr/bin/env python3
"""Asks a suite by MCP what mcp_test.cc has made data for: mcp_questions.py URL TOKEN TOKEN-OF-SALES AT BEFORE AFTER STATEMENT"""
import asyncio
import datetime
import json
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

url, token, of_sales, at, before, after, statement = sys.argv[1:]


def check(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def later(text, minutes):
    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) + datetime.timedelta(minutes=minutes)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


async def ask(credential, tool, arguments):
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {credential}"}, timeout=60) as http:
        async with Client(streamable_http_client(url + "/mcp", http_client=http)) as client:
            result = await client.call_tool(tool, arguments)
    check(not result.is_error, f"{tool} {arguments}: {result.content[0].text}")
    return json.loads(result.content[0].text)


async def main():
    # Who blocked whom at 10:03?
    waits = await ask(token, "get_activity", {"at": at})
    edges = waits["answer"]["blocking"]
    check(len(edges) == 1, f"one wait: {edges}")
    blocked, blocking = edges[0]["blocked"], edges[0]["blocking"]
    check((blocked["pid"], blocked["user"]) == (200, "app") and (blocking["pid"], blocking["user"]) == (100, "batch"), f"{edges[0]}")
    check(blocking["state"] == "idle in transaction", f"the classic: {edges[0]}")
    completeness = {one["source"]: one for one in waits["completeness"]["sources"]}
    check(waits["completeness"]["known"] and set(completeness) == {"alpha"}, f"whose readings there are: {waits['completeness']}")
    # Statements were not read then, waits were.
    check("blocking" not in completeness["alpha"]["incomplete"] and completeness["alpha"]["incomplete"].get("statements", 1) == 0,
          f"what is whole and what is not: {completeness}")

    # What got slower since yesterday?
    windows = {"before_from": before, "before_to": later(before, 60), "after_from": after, "after_to": later(after, 59)}
    compared = await ask(token, "compare_queries", windows)
    slower = [one for one in compared["answer"]["comparisons"] if one["improvement_status"] == "degraded"]
    check([one["query_hash"] for one in slower] == [statement], f"the statement that was slowed: {json.dumps(compared)[:3000]}")
    check((slower[0]["before_mean_time"], slower[0]["after_mean_time"]) == (10, 60), f"how much: {slower[0]}")
    check(compared["completeness"]["known"], f"{compared['completeness']}")
    print("mcp: 10:03:", f"{blocked['user']} {blocked['pid']} waited for {blocking['user']} {blocking['pid']};",
          "slower:", f"statement {statement}, {slower[0]['before_mean_time']} ms to {slower[0]['after_mean_time']} ms a call")

    # Another group's server is not there for who may not see it.
    hidden = await ask(of_sales, "get_activity", {"at": at})
    check(hidden["answer"]["blocking"] == [] and not hidden["completeness"]["known"], f"another group's: {hidden}")
    names = await ask(of_sales, "list_sources", {})
    check("alpha" not in json.dumps(names), f"another group's name: {names}")


asyncio.run(main())
