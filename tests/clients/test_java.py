"""Conversations of the real Java clients at their own pace, and with the gateway killed.

The clients themselves were run by hand; see docs/dialects/conformance.md.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.clients.conftest import keep_port
from tests.clients.scripted import Request, Scripted, recorded
from tests.conftest import Process
from tests.dialects import GOLDEN
from tests.system.test_java_clients import AGENTS, expected, ids, kept

RETRY_SECONDS = 2.0
"""What the recorded orders say in ``commit-max-seconds``."""


@pytest.fixture
def client(process: Process) -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def start(**options: float) -> Scripted:
        process.config.write_text(
            process.config.read_text().replace(
                "[[logspace.spaces]]", "[logspace]\ndefault_orders = true\n[[logspace.spaces]]", 1
            )
        )
        made.append(Scripted(keep_port(process).start().url, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.parametrize("name", ["agent_0.3.2", "agent_0.2.0", "agent_0.3.2_late_answers"])
def test_an_agent_at_its_own_pace_loses_and_doubles_nothing(client, process, name):
    requests = recorded(GOLDEN / "java" / f"{name}.json")

    assert expected(requests) == client(pace=1.0).play(requests)
    assert ids(requests) == kept(process)


@pytest.mark.parametrize("version", ["0.3.2", "0.2.0"])
def test_an_agent_loses_and_doubles_nothing_though_the_gateway_is_killed_five_times(
    client, process, version
):
    requests = [
        request
        for path in AGENTS
        if version in path.name and "wrong" not in path.name
        for request in recorded(path)
        if request.carries_events and request.given_up is None
    ]
    agent = client(retry_after=RETRY_SECONDS)
    chance = random.Random(5)
    doomed = set(chance.sample(range(len(requests)), 5))
    killed = []

    def kill(request: Request) -> None:
        if len(killed) < 5 and requests.index(request) in doomed:
            killed.append(request)
            # The bytes are on their way: the gateway may have read, stored or answered them.
            time.sleep(chance.uniform(0, 0.02))
            process.signal(signal.SIGKILL)
            process.start()

    assert [202] * len(requests) == agent.play(requests, on_sent=kill)
    assert 5 == len(killed)
    assert ids(requests) == kept(process)


def test_what_a_servlet_was_told_is_stored_once_though_the_gateway_is_killed(client, process):
    requests = recorded(GOLDEN / "moesif" / "java_moesif-servlet_1.8.5.json")
    batches = [at for at, one in enumerate(requests) if one.carries_events]
    doomed = requests[batches[len(batches) // 2]]

    def kill(request: Request) -> None:
        if request is doomed:
            process.signal(signal.SIGKILL)
            process.start()

    answers = client().play(requests, on_sent=kill)

    told = [
        event["transaction_id"]
        for request, status in zip(requests, answers, strict=True)
        if request.carries_events and status == 201
        for event in request.events
    ]
    stored = [record["data"]["transaction_id"] for record in process.export("--kind", "api_call")]
    assert len(stored) == len(set(stored))
    assert set(told) <= set(stored)
    assert {201, None} >= {answers[at] for at in batches}
