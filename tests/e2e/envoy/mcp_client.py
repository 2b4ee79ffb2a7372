#!/usr/bin/env python3
"""An MCP client of the registry's against a running suite: mcp_client.py URL TOKEN

Lists every tool and calls each, with what its schema needs: each answers or says what is wrong, and says how complete its answer
is. What a reader may not ask for, wrong arguments and answers that are too large are errors that can be read. Without a good token
nothing is answered."""
import asyncio
import json
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

NEEDED = {"job_id": "1", "metric": "database", "column": "xact_commit", "query_hash": "1", "fingerprint_hash": "0123456789abcdef", "id": "1", "database_name": "postgres",
          "before_from": "2026-11-28T00:00:00Z", "before_to": "2026-11-28T01:00:00Z", "after_from": "2026-11-28T02:00:00Z", "after_to": "2026-11-28T03:00:00Z"}
# Of an empty suite: what each says that cannot answer.
REFUSED = {"get_alert": "alert", "get_collector": "collector", "get_server": "server", "get_managed_instance": "managed instance", "forecast": "counter", "list_fingerprint_queries": "fingerprint", "compare_query": "statement",
           "explain_query": "plan", "list_query_plans": "plan", "query_timeline": "statement", "list_rewrites": "statement",
           "list_parameters": "statement", "get_features": "statement", "get_server_metrics": "source", "list_slow_queries": "collector",
           "list_frequent_queries": "collector", "get_training": "training"}
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        sys.exit(f"FAILED: {what}")


def answer_of(result):
    check(len(result.content) == 1 and result.content[0].type == "text", f"one text: {result}")
    return json.loads(result.content[0].text)


async def everything(client):
    tools = (await client.list_tools()).tools
    names = {tool.name for tool in tools}
    check(len(tools) >= 30 and len(names) == len(tools), f"{len(tools)} tools")
    check({"get_activity", "compare_queries", "top_queries", "query_series", "list_sources", "get_freshness"} <= names, f"tools: {names}")
    check("get_catalog" not in names, "none whose answer is always too large")
    check(not names & {"list_users", "list_api_tokens", "get_config", "create_snapshot", "push_metrics"}, "none that writes or is an administrator's")
    answered, odd = 0, []
    for tool in tools:
        check(tool.annotations.read_only_hint and tool.description, f"{tool.name}: described as reading")
        properties = tool.input_schema["properties"]
        arguments = {name: NEEDED[name] for name in properties if name in NEEDED and (name != "id" or tool.name in REFUSED)}
        if tool.name == "get_state":
            arguments = {"metric": "settings"}
        result = await client.call_tool(tool.name, arguments)
        if result.is_error:
            text = result.content[0].text
            if REFUSED.get(tool.name, "\0") not in text:
                odd.append(f"{tool.name} {arguments}: {text}")
            continue
        value = answer_of(result)
        answered += 1
        check(set(value) == {"answer", "completeness"} and "known" in value["completeness"], f"{tool.name}: {value}")
        check(value == result.structured_content, f"{tool.name}: text and structure differ")
    check(not odd, "\n".join(odd))
    check(answered >= 24, f"{answered} tools answered")
    wrong = await client.call_tool("top_queries", {"hours": "many"})
    check(wrong.is_error and "hours" in wrong.content[0].text, f"a wrong argument: {wrong}")
    unknown = await client.call_tool("top_queries", {"colour": "red"})
    check(unknown.is_error and "colour" in unknown.content[0].text, f"an argument that is none: {unknown}")
    missing = await client.call_tool("query_timeline", {})
    check(missing.is_error and "query_hash" in missing.content[0].text, f"an argument that is missing: {missing}")
    large = await client.call_tool("list_rules", {})
    check(not large.is_error or "bytes" in large.content[0].text, f"the rules: {large.content[0].text[:200]}")
    try:
        await client.call_tool("drop_database", {})
        check(False, "a tool that is none")
    except MCPError as error:
        check("drop_database" in str(error), f"a tool that is none: {error}")
    return answered, len(tools)


async def refused(url):
    async with httpx2.AsyncClient() as http:
        hello = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for headers, status in (({}, 401), ({"Authorization": "Bearer x"}, 401), ({"Origin": "https://evil.example"}, 403)):
            answer = await http.post(url, json=hello, headers=headers)
            check(answer.status_code == status, f"{headers}: {answer.status_code}")
        check((await http.get(url)).status_code == 405 and (await http.delete(url)).status_code == 405, "POST alone")


async def ids(http, url):
    """An answer has the id of its request, exactly; what can be none is refused."""
    for good in (0, -7, 1234567, 9007199254740992, "", "a\\\"b", "9007199254740993"):
        answer = (await http.post(url, json={"jsonrpc": "2.0", "id": good, "method": "ping"})).json()
        check(answer["id"] == good and type(answer["id"]) is type(good), f"id {good!r}: {answer}")
    for bad in (1234567.5, 9007199254740994, 1e300, None, True, {}, [1]):
        answer = await http.post(url, json={"jsonrpc": "2.0", "id": bad, "method": "ping"})
        check(answer.status_code == 400 and answer.json()["error"]["code"] == -32600, f"id {bad!r}: {answer.status_code} {answer.text}")


async def main():
    url, token = sys.argv[1] + "/mcp", sys.argv[2]
    await refused(url)
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        await ids(http, url)
        async with Client(streamable_http_client(url, http_client=http)) as client:
            answered, tools = await everything(client)
    print(f"mcp: {checks} checks passed; {answered} of {tools} tools answered plainly")


asyncio.run(main())
