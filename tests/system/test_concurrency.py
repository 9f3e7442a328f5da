"""Concurrent copies of one event are stored once."""

import asyncio
import signal
from collections import Counter
from dataclasses import replace

from tests import records
from tests.conftest import Running
from tests.system.wire import (
    MOESIF,
    Request,
    agent_events,
    ask,
    call,
    eventually,
    locked,
    name_of,
    one_device_event,
)


async def drained(gateway: Running, events: int) -> None:
    """Wait until the store has so many events."""

    async def has_them() -> bool:
        return len(await gateway.events()) == events

    await records.eventually(has_them)


async def statuses(url: str, requests: list[Request]) -> Counter[int]:
    answers = await asyncio.gather(*(ask(url, request) for request in requests))
    return Counter(answer.status if answer else 0 for answer in answers)


async def test_fifty_copies_of_a_device_event_are_one_201_and_forty_nine_409(gateway):
    assert {201: 1, 409: 49} == await statuses(gateway.url, [one_device_event()] * 50)
    assert 1 == len(await gateway.events())


async def test_fifty_copies_of_a_queued_event_are_one_202_and_forty_nine_409(queueing, tmp_path):
    with locked(tmp_path / "events.db"):
        assert {202: 1, 409: 49} == await statuses(queueing.url, [one_device_event("Q")] * 50)

    await drained(queueing, 1)


async def test_a_transaction_id_in_two_batches_is_stored_once(gateway):
    a, b, c, d = (call(f"shared-{name}", transaction=True) for name in "abcd")
    batches = [
        Request("POST", "/v1/events/batch", MOESIF, [a, b]),
        Request("POST", "/v1/events/batch", MOESIF, [c]),
        Request("POST", "/v1/events/batch", MOESIF, [a, c, d, a]),
    ]
    assert [201, 201, 201] == [(await ask(gateway.url, one)).status for one in batches]
    assert {201: 12} == await statuses(gateway.url, batches * 4)

    assert ["shared-a", "shared-b", "shared-c", "shared-d"] == sorted(
        map(name_of, await gateway.events())
    )


async def test_a_batch_that_an_agent_repeats_is_stored_once(gateway):
    request = agent_events(20)

    assert {202: 30} == await statuses(gateway.url, [request] * 30)
    assert sorted(request.events) == sorted(map(name_of, await gateway.events()))


async def test_a_queued_event_survives_a_kill_and_reaches_the_store_once(process):
    process.start()
    request = one_device_event("Q")
    with locked(process.folder / "events.db"):
        # The store is unavailable, so that nothing but the spool can have it.
        first, repeat = await ask(process.url, request), await ask(process.url, request)
        assert [202, 409] == [first.status, repeat.status]
        assert -signal.SIGKILL == process.signal(signal.SIGKILL)
    assert [] == process.export()

    process.start()
    eventually(process.export)
    assert [request.document] == [event["data"] for event in process.export()]
    assert 409 == (await ask(process.url, request)).status
    assert 0 == process.stop()
    assert 1 == len(process.export())


async def test_a_queued_event_is_a_duplicate_while_it_waits_and_when_it_is_stored(queueing):
    queued = one_device_event("Q")
    asked = one_device_event("T1", Prefer="respond-async")
    for request in (queued, asked):
        assert 202 == (await ask(queueing.url, request)).status
        assert 409 == (await ask(queueing.url, request)).status
    await drained(queueing, 2)

    plain = replace(asked, headers={k: v for k, v in asked.headers.items() if k != "Prefer"})
    for request in (queued, asked, plain):
        assert 409 == (await ask(queueing.url, request)).status
    assert 2 == len(await queueing.events())
