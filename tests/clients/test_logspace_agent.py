"""The imitated agent in normal operation and in trouble: no event is lost or stored twice."""

import http.client
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.agent import TIMEOUT, Agent, Committing
from tests.clients.conftest import eventually, keep_port, locked, requests, stored
from tests.clients.logspace_events import SORTS, event, events, poison
from tests.conftest import Process


@pytest.fixture
def gateway(process: Process) -> Process:
    return keep_port(process).start()


@pytest.fixture
def agent(gateway: Process) -> Iterator[Agent]:
    made = Agent(gateway.url, "development")
    yield made
    made.close()


def restart(gateway: Process, change: Callable[[str], str] = str, by: int = signal.SIGTERM) -> None:
    gateway.signal(by)
    gateway.config.write_text(change(gateway.config.read_text()))
    gateway.start()


def ids(documents: list[dict[str, Any]]) -> list[str]:
    return sorted(document["id"] for document in documents)


def kept(gateway: Process) -> list[str]:
    """The ids in the store, one for each record."""
    return ids([record["data"] for record in gateway.export("--kind", "event")])


def rejected(gateway: Process) -> list[dict[str, Any]]:
    return gateway.export("--kind", "rejected")


def test_each_type_of_event_is_stored_as_the_agent_wrote_it(gateway: Process, agent: Agent):
    sent = [event(sort) for sort in SORTS]
    agent.send(*sent)

    assert agent.commit()
    assert [202] == agent.answers
    # What JSON cannot hold was sent bare and is kept as a string.
    sent[-1]["double-properties"] = {"average_request_time": ["NaN"]}
    sent[-1]["float-properties"] = {"filter_cache_hit_ratio": [0.5], "worst": ["-Infinity"]}
    records = gateway.export()
    assert sent == [record["data"] for record in records]
    assert list(SORTS) == [record["type"] for record in records]
    assert {("development", "event", "vm/my-journal")} == {
        (record["tenant"], record["kind"], record["subject"]) for record in records
    }


def test_a_long_queue_is_sent_in_batches_of_a_thousand_in_order(gateway: Process, agent: Agent):
    sent = events(2500)
    agent.send(*sent)

    assert not agent.commit()
    assert agent.commit()
    assert [202, 202, 202] == agent.answers
    records = gateway.export()
    assert [one["id"] for one in sent] == [record["data"]["id"] for record in records]


def test_a_batch_whose_answer_was_lost_is_stored_once(gateway: Process, agent: Agent, monkeypatch):
    sent = events(1000)
    agent.send(*sent)

    def silence(*_: Any) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(http.client.HTTPConnection, "getresponse", silence)
        agent.commit()
        agent.commit()
    assert ids(sent) == ids([record["data"] for record in stored(gateway, len(sent))])

    assert agent.commit()
    assert ["TimeoutError", "TimeoutError", 202] == agent.answers
    assert ids(sent) == kept(gateway)


def test_an_agent_loses_nothing_while_another_process_locks_the_store(
    gateway: Process, agent: Agent
):
    first = events(5)
    agent.send(*first)
    assert agent.commit()
    sent = list(first)
    with locked(gateway):
        # Longer than an agent waits for an answer.
        until = time.monotonic() + TIMEOUT + 1
        while time.monotonic() < until:
            some = events(300)
            agent.send(*some)
            agent.commit()
            sent += some
            time.sleep(0.2)
        assert ids(first) == kept(gateway)
    with Committing(agent):
        assert 0 == eventually(lambda: len(agent), lambda left: left == 0)

    assert ids(sent) == eventually(lambda: kept(gateway), lambda there: len(there) >= len(sent))


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_restarts_of_the_gateway_lose_and_duplicate_nothing(gateway: Process, agent: Agent, by):
    sent = []
    with Committing(agent, every=0.01):
        for _ in range(3):
            for _ in range(40):
                some = events(7)
                agent.send(*some)
                sent += some
            eventually(lambda: 202 in agent.answers[-3:], bool)
            restart(gateway, by=by)
        assert 0 == eventually(lambda: len(agent), lambda left: left == 0)

    assert ids(sent) == kept(gateway)


def test_an_agent_keeps_its_queue_while_the_gateway_is_down(gateway: Process, agent: Agent):
    gateway.stop()
    sent = events(3)
    agent.send(*sent)
    assert not agent.commit()
    gateway.start()

    assert agent.commit()
    assert ["ConnectionRefusedError", 202] == agent.answers
    assert ids(sent) == kept(gateway)


def test_tokens_are_rotated_without_losing_an_event(gateway: Process, agent: Agent):
    tokens = gateway.folder / "spaces" / "production.space"
    tokens.parent.mkdir()
    tokens.write_text("# until spring\nfirst\n")
    directory = '[logspace]\nspaces_directory = "spaces"\n[[logspace.spaces]]'
    restart(gateway, lambda config: config.replace("[[logspace.spaces]]", directory, 1))
    agent.token = "first"
    sent = events(4)
    agent.send(sent[0])
    assert agent.commit()

    tokens.write_text("# until spring\nfirst\n\n  second  \n")
    restart(gateway)
    agent.send(sent[1])
    assert agent.commit()

    tokens.write_text("second\n")
    restart(gateway)
    agent.send(sent[2])
    assert not agent.commit()
    agent.token = "second"
    agent.send(sent[3])
    assert agent.commit()

    assert [202, 202, 403, 202] == agent.answers
    assert ids(sent) == kept(gateway)
    assert {"production"} == {record["tenant"] for record in gateway.export()}


def test_an_invalid_event_among_valid_ones_does_not_block_the_queue(gateway: Process, agent: Agent):
    good, bad = events(20), poison()
    agent.send(*good[:10], bad, *good[10:])

    assert agent.commit()
    assert [202] == agent.answers
    assert ids(good) == kept(gateway)
    (record,) = rejected(gateway)
    assert bad["id"] in record["data"]["raw"]
    assert ["timestamp"] == [problem["path"] for problem in record["data"]["problems"]]


def test_an_invalid_event_alone_is_repeated_but_quarantined_once(gateway: Process, agent: Agent):
    bad = poison()
    agent.send(bad)
    for _ in range(3):
        assert not agent.commit()
    assert [400, 400, 400] == agent.answers
    assert 1 == len(rejected(gateway))

    good = event()
    agent.send(good)
    assert agent.commit()
    assert [good["id"]] == kept(gateway)
    assert 1 == len(rejected(gateway))


def test_an_invalid_event_alone_leaves_the_queue_if_accepted(gateway: Process, agent: Agent):
    agent.send(poison())
    assert not agent.commit()

    accept = '[logspace]\non_invalid = "accept"\n[[logspace.spaces]]'
    restart(gateway, lambda config: config.replace("[[logspace.spaces]]", accept, 1))
    assert agent.commit()
    assert [400, 202] == agent.answers
    assert 1 == len(rejected(gateway))
    assert [] == kept(gateway)


def test_an_agent_sends_all_its_requests_on_one_connection(
    gateway: Process, agent: Agent, monkeypatch
):
    connected = []
    connect = http.client.HTTPConnection.connect
    monkeypatch.setattr(
        http.client.HTTPConnection, "connect", lambda self: connected.append(connect(self))
    )
    for one in events(5):
        agent.poll()
        agent.send(one)
        assert agent.commit()

    assert 1 == len(connected)
    assert [202] * 5 == [line["status"] for line in requests(gateway, "PUT", "/events", 5)]
