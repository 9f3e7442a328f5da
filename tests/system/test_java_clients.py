"""Conversations of the real Java agents and SDKs, played again to the real process."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.scripted import Request, Scripted, recorded
from tests.conftest import Process
from tests.dialects import GOLDEN

ORDERS = 'default_orders = true\ndefault_cron = "0/4 * * * * ? *"\ncommit_max_seconds = 2'
ORDER = {
    "agent-orders": [
        {"id": "os/cpu", "trigger-type": "SCHEDULER", "trigger-parameter": "0/3 * * * * ? *"},
        {"id": "my-journal", "trigger-type": "APPLICATION"},
    ],
    "commit-max-seconds": 2,
}
AGENTS = sorted((GOLDEN / "java").glob("agent_*.json"))
SDKS = sorted((GOLDEN / "moesif").glob("java_*.json"))


def name(path: Any) -> str:
    return path.stem


@pytest.fixture
def client(process: Process) -> Iterator[Callable[[str], Scripted]]:
    """Start the gateway with *options* of `[logspace]`; give a client for it."""
    made: list[Scripted] = []

    def start(options: str = ORDERS) -> Scripted:
        config = process.config.read_text()
        table = f"[logspace]\n{options}\n[[logspace.spaces]]"
        process.config.write_text(config.replace("[[logspace.spaces]]", table, 1))
        made.append(Scripted(process.start().url))
        return made[-1]

    yield start
    for one in made:
        one.close()


def expected(requests: list[Request]) -> list[int | None]:
    return [request.status for request in requests]


def ids(requests: list[Request]) -> list[str]:
    """The ids of all events of *requests*, each once."""
    found = [event["id"] for one in requests if one.carries_events for event in one.events]
    return sorted(set(found))


def kept(process: Process) -> list[str]:
    return sorted(record["data"]["id"] for record in process.export("--kind", "event"))


@pytest.mark.parametrize(
    "path", [path for path in AGENTS if "order_file" not in path.name], ids=name
)
def test_an_agent_gets_the_recorded_answers_and_every_event_is_stored_once(client, process, path):
    requests = recorded(path)

    assert expected(requests) == client().play(requests)
    assert ids(requests) == kept(process)
    assert [] == process.export("--kind", "rejected")


def test_an_agent_gets_404_the_file_304_and_the_changed_file(client, process):
    requests = recorded(GOLDEN / "java" / "agent_0.3.2_order_file.json")
    folder = process.folder / "orders"
    folder.mkdir()
    agent = client('orders_directory = "orders"')
    first, second = (
        at
        for at, one in enumerate(requests)
        if one.path.startswith("/orders") and one.status == 200
    )
    file = folder / "monitor.json"

    answers = agent.play(requests[:first])
    file.write_text(json.dumps(ORDER))
    answers += agent.play(requests[first:second])
    file.write_text(json.dumps({**ORDER, "agent-orders": ORDER["agent-orders"][1:]}))
    os.utime(file, (file.stat().st_mtime + 5,) * 2)
    answers += agent.play(requests[second:])

    assert expected(requests) == answers
    assert ids(requests) == kept(process)


@pytest.mark.parametrize("path", SDKS, ids=name)
def test_an_sdk_gets_the_recorded_answers_and_every_document_is_stored_once(client, process, path):
    requests = recorded(path)
    sent = []
    for request in requests:
        for document in request.events if request.carries_events else ():
            again = document.get("transactionId") or document.get("transaction_id")
            if not again or document not in sent:
                sent.append(document)

    assert expected(requests) == client().play(requests)
    records = process.export("--dialect", "moesif")
    assert sent == [record["data"] for record in records if record["kind"] != "rejected"]
    assert len(sent) == len(records)


def test_a_rule_blocked_ten_of_the_hundred_requests_of_the_servlet(client, process):
    client().play(recorded(GOLDEN / "moesif" / "java_moesif-servlet_1.8.5.json"))

    events = [record["data"] for record in process.export("--dialect", "moesif")]
    blocked = [event for event in events if event.get("blocked_by") == "rule-1"]
    assert (100, 10) == (len(events), len(blocked))
    assert {429} == {event["response"]["status"] for event in blocked}
