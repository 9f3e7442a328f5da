"""Clients that disconnect, and overload."""

import asyncio

from structlog.testing import capture_logs

from tests.conftest import Running
from tests.records import eventually, locked
from tests.system.wire import (
    LOGSPACE,
    Request,
    accepted,
    agent_event,
    agent_events,
    ask,
    name_of,
    one_call,
    one_device_event,
    some_calls,
)


async def opened(gateway: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*gateway.gateway.address)


async def drained(gateway: Running) -> None:
    async def empty() -> bool:
        return await gateway.metric("gateway_spool_depth") == 0

    await eventually(empty)


async def names(gateway: Running) -> list[str]:
    return sorted(map(name_of, await gateway.events()))


async def test_a_client_that_disconnects_within_its_body_stores_nothing(gateway, caplog):
    with capture_logs() as logs:
        for share in (0.1, 0.5, 0.99):
            raw = agent_events(50).written()
            _, writer = await opened(gateway)
            writer.write(raw[: int(len(raw) * share)])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
        assert 202 == (await ask(gateway.url, agent_events(1))).status

    assert 1 == len(await gateway.events())
    assert ["request_answered"] == [line["event"] for line in logs]
    assert [] == caplog.records


async def test_the_events_of_a_client_that_disconnects_before_its_answer_are_stored_once(
    gateway, tmp_path, caplog
):
    requests = [some_calls(), agent_events(), one_device_event()]
    taken = 0

    async def held() -> bool:
        """Whether all events were taken that are not in the store yet."""
        counts = [await gateway.metric(f"gateway_{n}") for n in ("waiting_events", "spool_depth")]
        return sum(counts) == taken

    with locked(tmp_path / "events.db"):
        for request in requests:
            _, writer = await opened(gateway)
            writer.write(request.written())
            taken += len(request.events)
            await eventually(held)
            writer.transport.abort()
    expected = sorted(name for request in requests for name in request.events)

    async def stored() -> bool:
        return expected == await names(gateway)

    await eventually(stored)
    # They come again, as real ones do, and hear that all is well.
    assert [201, 202, 409] == [(await ask(gateway.url, request)).status for request in requests]
    assert expected == await names(gateway)
    assert [] == caplog.records


async def test_overload_is_refused_and_accepted_events_are_stored(running, tmp_path):
    requests = [make() for make in (one_call, agent_events, one_device_event) for _ in range(20)]
    async with running({"ingest": {"max_waiting_events": 10}}) as gateway:
        with capture_logs() as logs, locked(tmp_path / "events.db"), locked(tmp_path / "spool.db"):
            # Nothing can be written: all that comes has to wait or to go.
            answers = await asyncio.gather(*(ask(gateway.url, request) for request in requests))
        assert {503} == {answer.status for answer in answers}
        assert {"1"} == {answer.headers["retry-after"] for answer in answers}
        assert {"overloaded", "unavailable"} == {
            line["reason"] for line in logs if line["event"] == "request_refused"
        }

        for request in requests:
            # It takes the gateway a moment to find out that both are back.
            assert (await accepted(gateway.url, request)).status in (201, 202, 409)
        await drained(gateway)
        assert sorted(name for one in requests for name in one.events) == await names(gateway)


async def test_under_overload_every_success_is_kept_once_and_every_refusal_not_at_all(running):
    requests = [some_calls(transaction=False) for _ in range(200)]
    async with running({"ingest": {"max_waiting_events": 8}}) as gateway:
        answers = await asyncio.gather(*(ask(gateway.url, request) for request in requests))
        assert {201, 503} == {answer.status for answer in answers}
        kept = [
            name
            for request, answer in zip(requests, answers, strict=True)
            if answer.status == 201
            for name in request.events
        ]

        assert sorted(kept) == await names(gateway)
        assert 201 == (await ask(gateway.url, one_call())).status


async def test_a_full_spool_refuses_and_recovers(running, tmp_path):
    requests = [one_device_event() for _ in range(8)]
    async with running({"spool": {"max_events": 5}}) as gateway:
        with locked(tmp_path / "events.db"):
            answers = [await ask(gateway.url, request) for request in requests]
            assert [202] * 5 + [503] * 3 == [answer.status for answer in answers]
            assert 409 == (await ask(gateway.url, requests[0])).status
        await drained(gateway)

        again = [(await ask(gateway.url, request)).status for request in requests]
        assert [409] * 5 == again[:5]
        assert {201, 202} >= set(again[5:])
        await drained(gateway)
        assert 8 == len(await gateway.events())


async def test_several_requests_written_at_once_are_each_answered_in_order(gateway):
    batches = [
        Request("PUT", "/events", LOGSPACE, [agent_event(f"{n}"), *([{}] * (n % 2))])
        for n in range(20)
    ]
    reader, writer = await opened(gateway)
    writer.write(b"".join(batch.written() for batch in batches))
    for n in range(20):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 202 ")
        assert (b"gateway-rejected: 1" in head.lower()) == (n % 2 == 1)
    writer.close()

    stored = await gateway.events(kind="event")
    assert [f"{n}" for n in range(20)] == [name_of(event) for event in stored]
