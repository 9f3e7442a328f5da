"""The end of a process: what has begun is answered, and nothing else holds it up."""

import asyncio
import json
import signal
from typing import Any

import pytest

from tests.conftest import Process
from tests.system.wire import (
    Client,
    agent_events,
    ask,
    eventually,
    locked,
    metric,
    one_call,
    one_device_event,
)


def lines(process: Process) -> list[dict[str, Any]]:
    """The lines of the log, those that are written whole."""
    text = process.log.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


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


async def test_a_second_gateway_on_the_same_store_does_not_start(process):
    process.start()
    with pytest.raises(RuntimeError, match="in use by another process"):
        Process(process.folder, process.config.read_text()).start()

    assert 201 == (await ask(process.url, one_device_event())).status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_without_clients_is_clean(process, number):
    process.start()

    assert 0 == process.signal(number)
    events = [line["event"] for line in lines(process)]
    # The configuration of the tests has credentials of the example.
    assert ["gateway_started", "gateway_stopping", "gateway_stopped"] == [
        event for event in events if event != "config_doubtful"
    ]
