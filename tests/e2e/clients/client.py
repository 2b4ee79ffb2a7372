"""Uses the generated client in Python against the suite at URL; prints a line for each thing that was seen."""
import asyncio
import os
from http import HTTPStatus

from pganalytics_client import AuthenticatedClient, Client
from pganalytics_client.api.auth_service import auth_service_login as login
from pganalytics_client.api.query_service import query_service_query_series as series
from pganalytics_client.api.query_service import query_service_top_queries as top
from pganalytics_client.api.registry_service import registry_service_get_config as get_config
from pganalytics_client.api.registry_service import registry_service_list_collectors as collectors
from pganalytics_client.api.registry_service import registry_service_list_sources as sources
from pganalytics_client.api.registry_service import registry_service_put_config as put_config
from pganalytics_client.models import AuthV1LoginRequest, AuthV1LoginResponse, Error
from pganalytics_client.types import File

url = os.environ["URL"]
anybody = Client(base_url=url)
refused = login.sync(client=anybody, body=AuthV1LoginRequest(username="admin", password="not the password"))
assert isinstance(refused, Error) and refused.code == 401, refused
session = login.sync(client=anybody, body=AuthV1LoginRequest(username="admin", password=os.environ["ADMIN_PASSWORD"]))
assert isinstance(session, AuthV1LoginResponse) and session.user.username == "admin", session
print("signed in as", session.user.username)

with AuthenticatedClient(base_url=url, token=session.token) as client:
    listed = sources.sync(client=client)
    names = [source.name for source in listed.sources]
    assert names and listed.count == len(names), listed
    print("sources:", ", ".join(names))

    found = series.sync(client=client, metric="database", column="xact_commit", rate=True, hours=1, source=names[:1])
    assert isinstance(found, list) and found and found[0].source_name == names[0], found
    print(len(found), "series,", sum(len(one.points) for one in found), "points")

    statements = top.sync(client=client, hours=1, order_by="calls", limit=3)
    assert 0 < len(statements.queries) <= 3, statements
    calls = [query.calls for query in statements.queries]
    assert calls == sorted(calls, reverse=True) and calls[-1] > 0, calls
    print("top statements:", calls)

    pages, seen = 0, []
    while True:
        page = collectors.sync(client=client, page=pages + 1, page_size=1)
        pages += 1
        seen += [collector.id for collector in page.data]
        if pages >= page.total_pages:
            break
    assert pages == 2 and sorted(seen) == ["clients-1", "clients-2"], (pages, seen)
    print(pages, "pages of collectors")

    # A refusal has a type of its own, and the status with it.
    answer = top.sync_detailed(client=client, order_by="nothing")
    assert answer.status_code == HTTPStatus.BAD_REQUEST and isinstance(answer.parsed, Error), answer
    assert "order_by" in answer.parsed.message and answer.parsed.request_id, answer.parsed
    print("refused:", answer.parsed.message)

    # A body that is a text, there and back.
    text = b"[collector]\ninterval = 30\n"
    written = put_config.sync(client=client, collector_id="clients-1", body=File(payload=text))
    assert written.collector_id == "clients-1" and written.status == "success", written
    kept = get_config.sync_detailed(client=client, collector_id="clients-1")
    assert kept.status_code == HTTPStatus.OK and kept.content == text, kept
    print("configuration written and read")


async def together():
    async with AuthenticatedClient(base_url=url, token=session.token) as client:
        both = await asyncio.gather(sources.asyncio(client=client), collectors.asyncio(client=client))
    return both


first, second = asyncio.run(together())
assert first.count == len(names) and second.total == 2
print("asked without waiting")
