"""While the store cannot be written, events wait in the spool, and clients hear the truth."""

import asyncio
import json
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from tests.conftest import Process
from tests.system.wire import (
    Request,
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


@pytest.fixture
def started(process: Process) -> Process:
    return process.start()


def requests() -> list[tuple[Request, int]]:
    """A request of each sort, and its success while the store is away."""
    return [
        (one_call(), 201),
        (some_calls(transaction=False), 201),
        (agent_events(), 202),
        (one_device_event(), 202),
        (one_device_event("Q"), 202),
    ]


async def test_every_dialect_succeeds_and_the_events_reach_the_store_once(started):
    sent = requests()
    device = sent[3][0]
    with locked(started.folder / "events.db"):
        answers = await asyncio.gather(*(ask(started.url, request) for request, _ in sent))
        assert [status for _, status in sent] == [answer.status for answer in answers]
        assert ["1", "5", "5", "1", "1"] == [a.headers["gateway-queued"] for a in answers]
        assert 409 == (await ask(started.url, device)).status
        assert 201 == (await ask(started.url, sent[0][0])).status
        assert 202 == (await ask(started.url, sent[2][0])).status
        assert [] == started.export()
        assert 13 == metric(started.ops_url, "gateway_spool_depth")

    eventually(lambda: metric(started.ops_url, "gateway_spool_depth") == 0)
    expected = {name: event for request, _ in sent for name, event in request.events.items()}
    exported = started.export()
    assert sorted(expected) == sorted(map(name_of, exported))
    assert expected == {name_of(event): event["data"] for event in exported}
    assert 409 == (await ask(started.url, device)).status


async def test_the_store_is_used_again_when_it_is_back(started):
    with locked(started.folder / "events.db"):
        assert 202 == (await ask(started.url, one_device_event())).status
    eventually(lambda: metric(started.ops_url, "gateway_spool_depth") == 0)

    # The first one found the spool draining, or the store still avoided; a later one does not.
    async with asyncio.timeout(10):
        while True:
            answer = await ask(started.url, one_device_event())
            if answer.status == 201:
                break
            assert 202 == answer.status
            await asyncio.sleep(0.05)


async def test_a_stop_while_the_store_is_unavailable_keeps_the_spool_for_the_next_start(started):
    request = some_calls(transaction=False)
    with locked(started.folder / "events.db"):
        assert 201 == (await ask(started.url, request)).status
        assert 0 == started.stop()
    assert [] == started.export()

    started.start()
    eventually(lambda: metric(started.ops_url, "gateway_spool_depth") == 0)
    assert sorted(request.events) == sorted(map(name_of, started.export()))


async def test_without_a_spool_too_every_request_gets_503(started):
    sent = requests()
    with ExitStack() as locks:
        for name in ("events.db", "spool.db"):
            locks.enter_context(locked(started.folder / name))
        answers = await asyncio.gather(*(ask(started.url, request) for request, _ in sent))
        assert [503] * 5 == [answer.status for answer in answers]
        assert ["1"] * 5 == [answer.headers["retry-after"] for answer in answers]
        one, many, agent, device, queued = (answer.json for answer in answers)
        assert [503, 503] == [one["status"], many["status"]]
        assert "EVENT_STORAGE_FAILED" == agent["type"]
        assert [-1, -1] == [device["error"], queued["error"]]
        with pytest.raises(urllib.error.HTTPError) as unready:
            await asyncio.to_thread(urllib.request.urlopen, f"{started.ops_url}/readyz")
        assert 503 == unready.value.code
        assert "not ready" == json.load(unready.value)["status"]
        unready.value.close()

    assert [] == started.export()
    for request, _ in sent:
        answer = await ask(started.url, request)
        assert answer.status < 300
    eventually(lambda: metric(started.ops_url, "gateway_spool_depth") == 0)
    assert sorted(name for request, _ in sent for name in request.events) == sorted(
        map(name_of, started.export())
    )


async def test_a_stored_event_is_a_duplicate_while_the_store_is_unavailable(started):
    request = one_device_event()
    assert 201 == (await ask(started.url, request)).status
    with locked(started.folder / "events.db"):
        # Who holds the write lock does not stop a reader: the store can be asked.
        assert 409 == (await ask(started.url, request)).status

    assert 1 == len(started.export())
