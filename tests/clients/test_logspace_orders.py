"""Capabilities and orders, with the agent's own strict parser."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.agent import Agent, Unparsable, parse_order
from tests.clients.conftest import keep_port, requests
from tests.conftest import Process

CAPABILITIES = {
    "my-journal": ("Off", "Application"),
    "os/cpu": ("Off", "Scheduler"),
    "quiet": ("Off",),
}


@pytest.fixture
def started(process: Process) -> Iterator[Callable[..., Agent]]:
    """Start the gateway with *options* of `[logspace]`; give an agent for it."""
    agents = []

    def start(options: str, **agent: Any) -> Agent:
        config = process.config.read_text()
        table = f"[logspace]\n{options}\n[[logspace.spaces]]"
        process.config.write_text(config.replace("[[logspace.spaces]]", table, 1))
        process.start()
        agents.append(Agent(process.url, "development", **agent))
        return agents[-1]

    yield start
    for one in agents:
        one.close()


def test_an_agent_without_orders_gets_404(started):
    agent = started("default_orders = false", capabilities=CAPABILITIES)

    assert 404 == agent.poll()
    assert {} == agent.triggers


def test_orders_are_composed_from_what_the_agent_can_do(started):
    options = 'default_orders = true\ndefault_cron = "0/10 * * * * ? *"\ncommit_max_seconds = 7'
    agent = started(options, capabilities=CAPABILITIES)

    assert 200 == agent.poll()
    assert 7 == agent.commit_seconds
    expected = {
        "my-journal": ("APPLICATION", None),
        "os/cpu": ("SCHEDULER", "0/10 * * * * ? *"),
        "quiet": ("OFF", None),
    }
    assert expected == agent.triggers


def test_orders_that_have_not_changed_are_not_applied_again(started, process: Process):
    keep_port(process)
    agent = started("default_orders = true", capabilities=CAPABILITIES)
    assert [200, 304, 304] == [agent.poll() for _ in range(3)]
    process.stop()
    process.start()

    # The uploaded capabilities outlived the restart: an agent does not tell them again.
    assert 304 == agent.poll()
    assert 1 == agent.orders_applied
    assert 1 == len(requests(process, "PUT", "/capabilities/monitor"))


def test_an_agent_with_new_capabilities_gets_new_orders(started):
    agent = started("default_orders = true", capabilities=CAPABILITIES)
    agent.poll()
    agent.capabilities["os/disk"] = ("Off", "Scheduler")

    assert 200 == agent.poll()
    assert "SCHEDULER" == agent.triggers["os/disk"][0]
    assert 304 == agent.poll()


def test_an_order_file_reaches_the_agent_unchanged(started, process: Process):
    folder = process.folder / "orders"
    folder.mkdir()
    order = {
        "agent-orders": [
            {"id": "os/cpu", "trigger-type": "SCHEDULER", "trigger-parameter": "0 0 * * * ?"},
            {"id": "my-journal", "trigger-type": "application"},
        ],
        "commit-max-seconds": 30,
    }
    (folder / "monitor.json").write_text(json.dumps(order, indent=1))
    agent = started('orders_directory = "orders"', capabilities=CAPABILITIES)

    assert [200, 304] == [agent.poll(), agent.poll()]
    expected = {"os/cpu": ("SCHEDULER", "0 0 * * * ?"), "my-journal": ("APPLICATION", None)}
    assert (expected, 30) == (agent.triggers, agent.commit_seconds)
    order["commit-max-seconds"] = 10
    written = folder / "monitor.json"
    written.write_text(json.dumps(order))
    os.utime(written, (written.stat().st_mtime + 5,) * 2)
    assert (200, 10) == (agent.poll(), agent.commit_seconds)
    agent.name = "another"
    assert 404 == agent.poll()


def test_capabilities_are_documents_not_events(started, process: Process):
    started("default_orders = true", capabilities=CAPABILITIES).poll()

    assert [] == process.export()


@pytest.mark.parametrize(
    "order",
    [
        "{}",
        '{"agent-orders":[]}',
        '{"commit-max-seconds":5,"agent-orders":[]}',
        '{"agent-orders":[],"commit-max-seconds":"5"}',
        '{"agent-orders":[{"trigger-type":"OFF","id":"x"}],"commit-max-seconds":5}',
        '{"agent-orders":[{"id":"x","trigger-type":"SCHEDULER"}],"commit-max-seconds":5}',
        '{"agent-orders":[{"id":"x","trigger-type":"OFF","why":""}],"commit-max-seconds":5}',
    ],
)
def test_the_test_agents_parser_is_as_strict_as_the_real_one(order):
    with pytest.raises(Unparsable):
        parse_order(order.encode())
