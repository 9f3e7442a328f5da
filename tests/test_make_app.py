"""The whole gateway as one aiohttp application, asked by pytest-aiohttp's client."""

import gzip

import pytest
from aiohttp import web
from yarl import URL

from gateway.app import GATEWAY, make_app
from gateway.checks import dialects
from gateway.config import resolve
from gateway.errors import StoreError
from gateway.ops.listener import ops_app
from gateway.store import Selection
from tests.conftest import CONFIG, merged
from tests.dialects import CONTRACTS, REGISTERED

EVERY_DIALECT = pytest.mark.parametrize("dialect", REGISTERED)


@pytest.fixture
def app(tmp_path):
    store = {"store": {"url": f"sqlite:///{tmp_path}/events.db"}}
    return make_app(resolve(merged(CONFIG, store), dialects()))


async def stored(app):
    records = app[GATEWAY]._store.read(Selection())
    return [(record.dialect, record.tenant) async for _, record in records]


async def send(client, dialect, body=None, **headers):
    contract = CONTRACTS[dialect]
    data = contract.body.encode() if body is None else body
    sent = {**contract.sent, **headers}
    return await client.request(contract.method, contract.path, data=data, headers=sent)


@EVERY_DIALECT
async def test_the_application_stores_events_of_each_dialect(aiohttp_client, app, dialect):
    client = await aiohttp_client(app)
    answer = await send(client, dialect)

    assert CONTRACTS[dialect].success == answer.status
    assert ("gateway", True) == (answer.headers["Server"], bool(answer.headers["X-Request-Id"]))
    assert [(dialect, CONTRACTS[dialect].tenant)] == await stored(app)


@EVERY_DIALECT
async def test_the_application_refuses_in_the_words_of_the_dialect(aiohttp_client, app, dialect):
    client = await aiohttp_client(app)
    [credential] = CONTRACTS[dialect].credential
    answer = await send(client, dialect, **{credential: "unknown"})

    assert CONTRACTS[dialect].unauthorized == answer.status
    assert CONTRACTS[dialect].error <= set(await answer.json(content_type=None))
    assert [] == await stored(app)


async def test_the_application_decompresses_bodies_itself(aiohttp_client, app):
    client = await aiohttp_client(app)
    body = gzip.compress(CONTRACTS["logspace"].body.encode())

    assert 202 == (await send(client, "logspace", body, **{"Content-Encoding": "gzip"})).status
    assert 400 == (await send(client, "logspace", body[:-9], **{"Content-Encoding": "gzip"})).status


async def test_the_application_answers_expectations_after_the_head_is_checked(aiohttp_client, app):
    client = await aiohttp_client(app)
    contract = CONTRACTS["logspace"]
    known, unknown = contract.sent, {**contract.sent, "logspace.space-token": "unknown"}
    for headers, status in ((known, 202), (unknown, 403)):
        answer = await client.put("/events", data=contract.body, headers=headers, expect100=True)
        assert status == answer.status


@pytest.mark.parametrize("path", ["/nowhere", "/events%2F", "/", "/metrics"])
async def test_the_application_has_nothing_but_the_dialects(aiohttp_client, app, path):
    client = await aiohttp_client(app)

    assert 404 == (await client.get(URL(path, encoded=True))).status


async def test_an_embedding_application_adds_what_operators_need(aiohttp_client, app):
    parent = web.Application(handler_args={"auto_decompress": False})
    gateway = app[GATEWAY]
    parent.add_domain("ops.internal", ops_app(gateway.metrics, gateway.probe, ["ops.internal"]))
    parent.add_domain("127.0.0.1", app)
    client = await aiohttp_client(parent)
    ops = {"Host": "ops.internal"}

    assert 202 == (await send(client, "logspace")).status
    assert 200 == (await client.get("/readyz", headers=ops)).status
    metrics = await (await client.get("/metrics", headers=ops)).text()
    assert 'gateway_accepted_total{dialect="logspace"' in metrics


async def test_the_files_are_closed_with_the_application(aiohttp_client, app):
    client = await aiohttp_client(app)
    await send(client, "logspace")
    await client.close()

    with pytest.raises(StoreError):
        await app[GATEWAY].probe()
