"""While the store cannot be written, events go to the spool and clients get the right answer."""

import asyncio
from contextlib import ExitStack

from tests import records
from tests.conftest import Running
from tests.system.wire import (
    Request,
    accepted,
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


async def drained(gateway: Running) -> None:
    """Wait until nothing is in the spool."""

    async def empty() -> bool:
        return await gateway.metric("gateway_spool_depth") == 0

    await records.eventually(empty)


def requests() -> list[tuple[Request, int]]:
    """A request of each sort, and its success while the store is unavailable."""
    return [
        (one_call(), 201),
        (some_calls(transaction=False), 201),
        (agent_events(), 202),
        (one_device_event(), 202),
        (one_device_event("Q"), 202),
    ]


async def test_every_dialect_succeeds_and_the_events_reach_the_store_once(queueing, tmp_path):
    sent = requests()
    device = sent[3][0]
    with locked(tmp_path / "events.db"):
        answers = await asyncio.gather(*(ask(queueing.url, request) for request, _ in sent))
        assert [status for _, status in sent] == [answer.status for answer in answers]
        assert ["1", "5", "5", "1", "1"] == [a.headers["gateway-queued"] for a in answers]
        assert 409 == (await ask(queueing.url, device)).status
        assert 201 == (await ask(queueing.url, sent[0][0])).status
        assert 202 == (await ask(queueing.url, sent[2][0])).status
        assert [] == await queueing.events()
        assert 13 == await queueing.metric("gateway_spool_depth")

    await drained(queueing)
    expected = {name: event for request, _ in sent for name, event in request.events.items()}
    exported = await queueing.events()
    assert sorted(expected) == sorted(map(name_of, exported))
    assert expected == {name_of(event): event["data"] for event in exported}
    assert 409 == (await ask(queueing.url, device)).status


async def test_the_store_is_used_again_when_it_is_back(queueing, tmp_path):
    with locked(tmp_path / "events.db"):
        assert 202 == (await ask(queueing.url, one_device_event())).status
    await drained(queueing)

    # The first one found the spool draining, or the store still avoided; a later one does not.
    async with asyncio.timeout(10):
        while True:
            answer = await ask(queueing.url, one_device_event())
            if answer.status == 201:
                break
            assert 202 == answer.status
            await asyncio.sleep(0.05)


async def test_a_stop_while_the_store_is_unavailable_keeps_the_spool_for_the_next_start(process):
    process.start()
    request = some_calls(transaction=False)
    with locked(process.folder / "events.db"):
        assert 201 == (await ask(process.url, request)).status
        assert 0 == process.stop()
    assert [] == process.export()

    process.start()
    eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0)
    assert sorted(request.events) == sorted(map(name_of, process.export()))


async def test_without_a_spool_too_every_request_gets_503(queueing, tmp_path):
    sent = requests()
    with ExitStack() as locks:
        for name in ("events.db", "spool.db"):
            locks.enter_context(locked(tmp_path / name))
        answers = await asyncio.gather(*(ask(queueing.url, request) for request, _ in sent))
        assert [503] * 5 == [answer.status for answer in answers]
        assert ["1"] * 5 == [answer.headers["retry-after"] for answer in answers]
        one, many, agent, device, queued = (answer.json for answer in answers)
        assert [503, 503] == [one["status"], many["status"]]
        assert "EVENT_STORAGE_FAILED" == agent["type"]
        assert [-1, -1] == [device["error"], queued["error"]]
        async with queueing.session.get(f"{queueing.ops_url}/readyz") as unready:
            assert 503 == unready.status
            assert "not ready" == (await unready.json())["status"]

    assert [] == await queueing.events()
    for request, _ in sent:
        assert (await accepted(queueing.url, request)).status in (201, 202, 409)
    await drained(queueing)
    assert sorted(name for request, _ in sent for name in request.events) == sorted(
        map(name_of, await queueing.events())
    )


async def test_a_stored_event_is_a_duplicate_while_the_store_is_unavailable(queueing, tmp_path):
    request = one_device_event()
    assert 201 == (await ask(queueing.url, request)).status
    with locked(tmp_path / "events.db"):
        # Who holds the write lock does not stop a reader: the store can be asked.
        assert 409 == (await ask(queueing.url, request)).status

    assert 1 == len(await queueing.events())
