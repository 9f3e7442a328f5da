"""Clients that disconnect, overload, and a shutdown under load."""

import asyncio
import json
import signal
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import Process
from tests.system.wire import (
    LOGSPACE,
    Client,
    Request,
    accepted,
    agent_event,
    agent_events,
    ask,
    eventually,
    locked,
    metric,
    name_of,
    one_call,
    one_device_event,
    some_calls,
)


def configured(process: Process, text: str) -> Process:
    process.config.write_text(f"{process.config.read_text()}\n{text}\n")
    return process.start()


async def opened(process: Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = process.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def begun(
    process: Process, request: Request
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """A connection on which the server waits for the body of *request*, and that body."""
    waiting = replace(request, headers={**request.headers, "Expect": "100-continue"})
    head, _, body = waiting.written().partition(b"\r\n\r\n")
    reader, writer = await opened(process)
    writer.write(head + b"\r\n\r\n")
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await reader.readuntil(b"\r\n\r\n")
    return reader, writer, body


def held(process: Process) -> float:
    """Events that were taken and are not in the store yet."""
    return sum(
        metric(process.ops_url, f"gateway_{name}") for name in ("waiting_events", "spool_depth")
    )


def lines(process: Process) -> list[dict[str, Any]]:
    """The lines of the log, those that are written whole."""
    text = process.log.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


async def test_a_client_that_disconnects_within_its_body_stores_nothing(process):
    process.start()
    for share in (0.1, 0.5, 0.99):
        raw = agent_events(50).written()
        _, writer = await opened(process)
        writer.write(raw[: int(len(raw) * share)])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    assert 202 == (await ask(process.url, agent_events(1))).status
    assert 1 == len(process.export())
    log = process.log.read_text()
    assert "request_failed" not in log
    assert "Traceback" not in log


async def test_the_events_of_a_client_that_disconnects_before_its_answer_are_stored_once(process):
    process.start()
    requests = [some_calls(), agent_events(), one_device_event()]
    taken = 0
    with locked(process.folder / "events.db"):
        for request in requests:
            _, writer = await opened(process)
            writer.write(request.written())
            taken += len(request.events)
            eventually(lambda taken=taken: held(process) == taken)
            writer.transport.abort()
    expected = sorted(name for request in requests for name in request.events)

    eventually(lambda: expected == sorted(map(name_of, process.export())))
    # They come again, as real ones do, and hear that all is well.
    assert [201, 202, 409] == [(await ask(process.url, request)).status for request in requests]
    assert expected == sorted(map(name_of, process.export()))
    assert "Traceback" not in process.log.read_text()


async def test_overload_is_refused_and_accepted_events_are_stored(process):
    configured(process, "[ingest]\nmax_waiting_events = 10")
    requests = [make() for make in (one_call, agent_events, one_device_event) for _ in range(20)]
    with locked(process.folder / "events.db"), locked(process.folder / "spool.db"):
        # Nothing can be written for half a minute: all that comes has to wait or to go.
        answers = await asyncio.gather(*(ask(process.url, request) for request in requests))
    assert {503} == {answer.status for answer in answers}
    assert {"1"} == {answer.headers["retry-after"] for answer in answers}
    # A line of the log is written once the answer is on its way.
    eventually(
        lambda: {"overloaded", "unavailable"} <= {line.get("reason") for line in lines(process)}
    )

    sent = set()
    for request in requests:
        # It takes the gateway a moment to find out that both are back.
        assert (await accepted(process.url, request)).status in (201, 202, 409)
        sent |= request.events.keys()
    eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0)
    assert dict.fromkeys(sent, 1) == Counter(map(name_of, process.export()))


async def test_under_overload_every_success_is_kept_once_and_every_refusal_not_at_all(process):
    configured(process, "[ingest]\nmax_waiting_events = 8")
    requests = [some_calls(transaction=False) for _ in range(200)]
    answers = await asyncio.gather(*(ask(process.url, request) for request in requests))
    statuses = Counter(answer.status for answer in answers)
    assert {201, 503} >= statuses.keys()
    kept = [
        name
        for request, answer in zip(requests, answers, strict=True)
        if answer.status == 201
        for name in request.events
    ]

    assert sorted(kept) == sorted(map(name_of, process.export()))
    assert 201 == (await ask(process.url, one_call())).status


async def test_a_full_spool_refuses_and_recovers(process):
    configured(process, "[spool]\nmax_events = 5")
    requests = [one_device_event() for _ in range(8)]
    with locked(process.folder / "events.db"):
        answers = [await ask(process.url, request) for request in requests]
        assert [202] * 5 + [503] * 3 == [answer.status for answer in answers]
        assert 409 == (await ask(process.url, requests[0])).status
    eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0)

    again = [(await ask(process.url, request)).status for request in requests]
    assert [409] * 5 == again[:5]
    assert {201, 202} >= set(again[5:])
    eventually(lambda: len(process.export()) == 8)


async def test_a_stop_answers_waiting_requests_and_accepts_no_new_ones(process):
    process.start()
    requests = [agent_events() for _ in range(20)]
    idle = Client(process.url)
    assert 201 == (await idle.send(one_call())).status
    with locked(process.folder / "events.db"):
        waiting = [asyncio.create_task(ask(process.url, request)) for request in requests]
        await asyncio.to_thread(
            eventually, lambda: metric(process.ops_url, "gateway_waiting_events") > 0
        )
        process.process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*waiting)
    assert [202] * 20 == [answer.status for answer in answers]
    assert {"close"} == {answer.headers["connection"] for answer in answers}
    assert 0 == await asyncio.to_thread(process.process.wait, 40)
    assert await idle.send(one_call()) is None
    idle.close()

    process.start()
    eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0)
    assert 1 + 20 * 5 == len(process.export())


async def test_a_stop_waits_for_a_body_that_is_arriving(process):
    process.start()
    reader, writer, body = await begun(process, agent_events(20))
    writer.write(body[: len(body) // 2])
    process.process.send_signal(signal.SIGTERM)
    eventually(lambda: "gateway_stopping" in [line["event"] for line in lines(process)])
    writer.write(body[len(body) // 2 :])
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert answer.startswith(b"HTTP/1.1 202 ")
    assert 0 == await asyncio.to_thread(process.process.wait, 40)
    assert 20 == len(process.export())


async def test_a_stop_waits_for_a_body_no_longer_than_shutdown_timeout(process):
    text = process.config.read_text()
    process.config.write_text(text.replace("[server]", "[server]\nshutdown_timeout = 1"))
    process.start()
    _, writer, body = await begun(process, agent_events(20))
    writer.write(body[: len(body) // 2])
    await writer.drain()

    assert 0 == await asyncio.to_thread(process.stop)
    writer.close()
    assert [] == process.export()


async def test_a_second_gateway_on_the_same_store_does_not_start(process):
    process.start()
    with pytest.raises(RuntimeError, match="in use by another process"):
        Process(process.folder, process.config.read_text()).start()

    assert 201 == (await ask(process.url, one_device_event())).status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_without_clients_is_clean(process, number):
    process.start()

    assert 0 == process.signal(number)
    assert ["gateway_started", "gateway_stopping", "gateway_stopped"] == [
        line["event"] for line in lines(process)
    ]


async def test_several_requests_written_at_once_are_each_answered_in_order(process):
    process.start()
    batches = [
        Request("PUT", "/events", LOGSPACE, [agent_event(f"{n}"), *([{}] * (n % 2))])
        for n in range(20)
    ]
    reader, writer = await opened(process)
    writer.write(b"".join(batch.written() for batch in batches))
    for n in range(20):
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 202 ")
        assert (b"gateway-rejected: 1" in head.lower()) == (n % 2 == 1)
    writer.close()

    stored = [event for event in process.export() if event["kind"] == "event"]
    assert [f"{n}" for n in range(20)] == [name_of(event) for event in stored]
