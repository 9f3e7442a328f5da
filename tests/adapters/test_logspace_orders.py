"""Orders, from an operator's files or composed from capabilities, without a gateway."""

import json
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from gateway.adapter import Head, Inbound, Reply, Tenant
from gateway.adapters import ADAPTERS
from gateway.adapters.logspace_orders import FILES, Orders
from gateway.checks import dialects
from gateway.config import resolve
from gateway.stores.documents import FolderDocuments
from gateway.stores.memory import MemoryStore
from tests.conftest import CONFIG, merged

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
CPU = {"id": "os/cpu", "trigger-types": ["Off", "Scheduler"]}
JOURNAL = {"id": "journal", "trigger-types": ["Off", "Application"]}
QUIET = {"id": "quiet", "trigger-types": ["Off"]}


class Headquarters:
    """The part of the adapter that an agent asks for orders, and its documents."""

    def __init__(self, folder: Path | None = None, **options: Any) -> None:
        changes = {"logspace": {"default_orders": True, **options}}
        if folder is not None:
            changes["logspace"]["orders_directory"] = str(folder)
        settings = resolve(merged(CONFIG, changes), dialects(ADAPTERS))
        self.orders = Orders("logspace", settings.dialects["logspace"])
        folders = {} if folder is None else {("logspace", FILES): folder}
        self.documents = FolderDocuments(MemoryStore(1), folders)
        self.now = NOW

    def _inbound(self, method: str, controller: str, body: bytes, since: str) -> Inbound[Tenant]:
        headers = {"If-Modified-Since": since}
        head = Head(method, "/", {"controller": controller}, headers.get, lambda _: ())
        return Inbound(head, Tenant("development"), body, self.now, "127.0.0.1")

    async def tell(self, *agents: dict[str, Any], controller: str = "c", id: str = "c") -> Reply:
        body = json.dumps({"id": id, "agent-capabilities": agents}).encode()
        inbound = self._inbound("PUT", controller, body, "")
        return await self.orders.take_capabilities(inbound, self.documents)

    async def ask(self, controller: str = "c", since: str = "") -> Reply:
        inbound = self._inbound("GET", controller, b"", since)
        return await self.orders.give_order(inbound, self.documents)


@pytest.fixture
def hq() -> Headquarters:
    return Headquarters()


async def test_without_capabilities_there_is_no_order(hq):
    reply = await hq.ask()

    assert (404, "ORDER_NOT_FOUND") == (reply.status, json.loads(reply.body)["type"])
    assert {"controller-id": "c"} == json.loads(reply.body)["parameters"]


async def test_orders_are_composed_from_what_each_agent_can_do():
    hq = Headquarters(default_cron="0/10 * * * * ? *", commit_max_seconds=7)
    assert 200 == (await hq.tell(CPU, JOURNAL, QUIET)).status
    reply = await hq.ask()

    assert {
        "agent-orders": [
            {
                "id": "os/cpu",
                "trigger-type": "SCHEDULER",
                "trigger-parameter": "0/10 * * * * ? *",
            },
            {"id": "journal", "trigger-type": "APPLICATION"},
            {"id": "quiet", "trigger-type": "OFF"},
        ],
        "commit-max-seconds": 7,
    } == json.loads(reply.body)
    assert formatdate(NOW // SECOND, usegmt=True) == reply.headers["Last-Modified"]


async def test_capabilities_of_another_controller_are_refused(hq):
    reply = await hq.tell(CPU, controller="c", id="d")

    assert (400, "INVALID_CONTROLLER_ID") == (reply.status, json.loads(reply.body)["type"])
    assert [404, 404] == [(await hq.ask(name)).status for name in "cd"]


async def test_an_order_keeps_its_date_until_its_content_changes(hq):
    await hq.tell(CPU)
    first = await hq.ask()
    hq.now += 100 * SECOND
    await hq.tell(CPU)
    again = await hq.ask(since=first.headers["Last-Modified"])
    assert (304, b"") == (again.status, again.body)

    await hq.tell(JOURNAL)
    changed = await hq.ask(since=first.headers["Last-Modified"])
    assert 200 == changed.status
    assert formatdate(hq.now // SECOND, usegmt=True) == changed.headers["Last-Modified"]


async def test_two_orders_of_the_same_second_have_different_dates(hq):
    dates = []
    for agent in (CPU, JOURNAL, QUIET):
        await hq.tell(agent)
        dates.append((await hq.ask()).headers["Last-Modified"])

    assert [formatdate(NOW // SECOND + n, usegmt=True) for n in range(3)] == dates


@pytest.mark.parametrize("since", ["", " ", "yesterday", formatdate(2_000_000_000, usegmt=True)])
async def test_any_other_date_gets_the_order(hq, since):
    await hq.tell(CPU)

    assert 200 == (await hq.ask(since=since)).status


async def test_a_file_is_preferred_to_a_composed_order(tmp_path):
    hq = Headquarters(tmp_path)
    await hq.tell(CPU)
    (tmp_path / "c.json").write_text('{ "agent-orders": [] }')

    assert b'{ "agent-orders": [] }' == (await hq.ask()).body
    assert 404 == (await hq.ask("d")).status


async def test_nothing_is_composed_where_the_operator_does_not_want_it():
    hq = Headquarters(default_orders=False)
    await hq.tell(CPU)

    assert 404 == (await hq.ask()).status
