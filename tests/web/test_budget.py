"""The budget of bytes in flight: what does not fit is refused for now, and nothing stays behind."""

import asyncio
import gzip
import json

import pytest

from gateway.errors import Reason, Refusal
from gateway.web.budget import Budget
from tests.dialects import CONTRACTS, READING, REGISTERED
from tests.web.sockets import chunked, connected, start, upload

BATCH = json.dumps([READING]).encode()
ROOM = 1 << 20
BODIES = {"max_body": ROOM // 2}
LIMITS = {"inflight_bytes": 2 * ROOM, "tenant_inflight_bytes": ROOM}
SPACES = [{"tenant": name, "tokens": [name]} for name in ("development", "other")]
TABLES = dict.fromkeys(REGISTERED, BODIES) | {"logspace": {**BODIES, "spaces": SPACES}}
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture
async def bounded(running):
    async with running({"limits": LIMITS, **TABLES}) as gateway:
        yield gateway
        assert 0 == gateway.gateway._budget.held


def batch_of(size):
    return BATCH + b" " * (size - len(BATCH))


async def sent(gateway, client):
    """The answer to the request of a client of some dialect."""
    return await gateway.send(client.method, client.path, client.body.encode(), client.sent)


async def until(gateway, held):
    """Wait until so many bytes are reserved."""
    async with asyncio.timeout(20):
        while gateway.gateway._budget.held != held:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("dialect", REGISTERED)
async def test_an_announced_body_that_does_not_fit_is_503_before_it_arrives(bounded, dialect):
    length = f"Content-Length: {BODIES['max_body']}"
    json_type = "Content-Type: application/json"
    async with connected(bounded) as slow, connected(bounded) as slower, connected(bounded) as line:
        for other in (slow, slower):
            await other.say(start(length, json_type, dialect=dialect))
        await until(bounded, ROOM)
        await line.say(start(length, json_type, "Expect: 100-continue", dialect=dialect))
        answer = await line.hear()

    assert (503, "1") == (answer.status, answer.headers["retry-after"])
    assert CONTRACTS[dialect].error <= set(answer.json)
    await until(bounded, 0)
    assert CONTRACTS[dialect].success == (await sent(bounded, CONTRACTS[dialect])).status


async def test_a_body_of_chunks_is_503_as_soon_as_it_outgrows_the_budget(bounded):
    async with connected(bounded) as slow, connected(bounded) as slower, connected(bounded) as line:
        await slow.say(start(f"Content-Length: {BODIES['max_body']}"))
        await slower.say(start(f"Content-Length: {BODIES['max_body'] - 100_000}"))
        await until(bounded, ROOM - 100_000)
        await line.say(start(CHUNKED))
        await until(bounded, ROOM - 100_000 + (1 << 16))
        await line.say(b"%x\r\n" % 200_000 + b" " * 200_000)

        assert 503 == (await line.hear()).status
    await until(bounded, 0)


async def test_a_body_is_503_as_soon_as_it_inflates_beyond_the_budget(bounded):
    body = gzip.compress(batch_of(BODIES["max_body"]))
    async with connected(bounded) as slow, connected(bounded) as slower:
        await slow.say(start(f"Content-Length: {BODIES['max_body']}"))
        await slower.say(start("Content-Length: 100000"))
        await until(bounded, ROOM // 2 + 100_000)

        assert 503 == (await bounded.logspace(body, **{"Content-Encoding": "gzip"})).status
        assert ROOM // 2 + 100_000 == bounded.gateway._budget.held
    await until(bounded, 0)
    assert 202 == (await bounded.logspace(body, **{"Content-Encoding": "gzip"})).status


async def test_the_events_of_a_batch_count_too(bounded):
    events = b"[" + b",".join([b"{}"] * 5_000) + b"]"
    async with connected(bounded) as slow:
        await slow.say(start(f"Content-Length: {BODIES['max_body']}"))
        await until(bounded, ROOM // 2)

        assert 503 == (await bounded.logspace(events)).status
    await until(bounded, 0)
    assert 400 == (await bounded.logspace(events)).status


async def test_a_request_that_never_fits_is_413(bounded):
    events = b"[" + b",".join([b"{}"] * 10_000) + b"]"

    assert 413 == (await bounded.logspace(events)).status


async def test_a_tenant_with_many_slow_bodies_leaves_room_to_others(bounded):
    length = f"Content-Length: {BODIES['max_body']}"
    async with connected(bounded) as slow, connected(bounded) as slower:
        for line in (slow, slower):
            await line.say(start(length))
        await until(bounded, ROOM)

        assert 503 == (await bounded.logspace(BATCH)).status
        token = {"logspace.space-token": "other"}
        assert 202 == (await bounded.send("PUT", "/events", BATCH, token)).status
        assert 2 == await bounded.metric(
            'gateway_inflight_bytes{dialect="logspace",tenant="development"}'
        ) / (ROOM // 2)
    await until(bounded, 0)


async def test_all_tenants_together_keep_the_budget(running):
    both = {"inflight_bytes": ROOM, "tenant_inflight_bytes": ROOM}
    async with (
        running({"limits": both, **TABLES}) as gateway,
        connected(gateway) as slow,
        connected(gateway) as slower,
    ):
        for line in (slow, slower):
            await line.say(start(f"Content-Length: {BODIES['max_body']}"))
        await until(gateway, ROOM)

        token = {"logspace.space-token": "other"}
        assert 503 == (await gateway.send("PUT", "/events", BATCH, token)).status


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (BATCH, {}, 202),
        (b"[{}]", {}, 400),
        (b"nonsense", {}, 400),
        (b"nonsense", {"Content-Encoding": "gzip"}, 400),
        (b"nonsense", {"Content-Encoding": "sdch"}, 415),
        (gzip.compress(bytes(ROOM)), {"Content-Encoding": "gzip"}, 413),
    ],
)
async def test_what_is_reserved_is_given_back_with_every_answer(bounded, body, headers, status):
    assert status == (await bounded.logspace(body, **headers)).status
    assert 0 == bounded.gateway._budget.held


async def test_a_client_that_leaves_within_its_body_gives_everything_back(bounded):
    async with connected(bounded) as line:
        await line.say(upload(BATCH)[:-1])
        await until(bounded, len(BATCH))
    await until(bounded, 0)


async def test_a_document_counts_while_it_is_read(bounded):
    head = start("Content-Length: 400000").replace(b"/events", b"/capabilities/c")
    async with connected(bounded) as line:
        await line.say(head)
        await until(bounded, 400_000)
    await until(bounded, 0)


async def test_chunks_that_are_already_there_reserve_what_they_hold(bounded):
    async with connected(bounded) as line:
        await line.say(start(CHUNKED) + chunked(BATCH))

        assert 202 == (await line.hear()).status


def test_a_share_that_cannot_grow_stays_as_it_was():
    budget = Budget(100, 60)
    first, second = budget.reserve(("d", "a"), 50), budget.reserve(("d", "b"), 40)
    with pytest.raises(Refusal) as refused:
        second.grow(20)

    assert refused.value.reason is Reason.OVERLOADED
    assert (90, 40) == (budget.held, second.size)
    first.release()
    second.grow(20)
    assert {("d", "a"): 0, ("d", "b"): 60} == budget.by_tenant()


async def test_an_address_that_needs_no_credential_takes_no_large_body(gateway):
    assert 413 == (await gateway.send("OPTIONS", "/v1/events", b" " * 5000)).status
    assert 204 == (await gateway.send("OPTIONS", "/v1/events")).status


async def test_a_tenant_with_many_requests_in_flight_leaves_room_to_others(running):
    limits = {"limits": {"tenant_inflight_requests": 2}}
    async with (
        running({**TABLES, **limits}) as gateway,
        connected(gateway) as slow,
        connected(gateway) as slower,
    ):
        for line in (slow, slower):
            await line.say(start("Content-Length: 1000"))
        await until(gateway, 2000)
        labels = '{dialect="logspace",tenant="development"}'
        assert 2 == await gateway.metric(f"gateway_inflight_requests{labels}")

        refused = await gateway.logspace(BATCH)
        assert (503, "1") == (refused.status, refused.headers["Retry-After"])
        token = {"logspace.space-token": "other"}
        assert 202 == (await gateway.send("PUT", "/events", BATCH, token)).status
        await slow.say(BATCH + b" " * (1000 - len(BATCH)))
        assert 202 == (await slow.hear()).status
        assert 202 == (await gateway.logspace(BATCH)).status
