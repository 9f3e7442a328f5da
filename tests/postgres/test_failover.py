"""A primary that dies or hangs under load, and a synchronous standby that takes its place."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.stores import open_store
from tests.conftest import Running, serving
from tests.postgres.servers import Server, folder
from tests.records import closing, make_record, stored

GATEWAYS = 3
CLIENTS = 32
BEFORE, AFTER = 2.0, 5.0
"""Seconds of load before the fault and after the promotion."""

DEADLINE = 2.0


class Cluster:
    """A primary, its synchronous standby, and a second one that follows the first."""

    def __init__(self, place: Path) -> None:
        self.primary = Server(place / "primary")
        self.primary.initialise("synchronous_standby_names = 'standby'")
        # Until it is there, nothing could be committed.
        self.primary.configure("synchronous_commit = on")
        self.primary.start()
        self.standby = self.primary.copy_to(place / "standby", "standby")
        self.standby.configure("synchronous_standby_names = 'second'")
        self.standby.start()
        # Once the first is promoted, the second is its synchronous standby.
        self.second = self.standby.copy_to(place / "second", "second")
        self.second.configure("synchronous_standby_names = ''")
        self.second.start()

    def url(self) -> str:
        hosts = f"{self.primary.host},{self.standby.host}"
        return f"postgresql://gateway@{hosts}/postgres"

    def stop(self) -> None:
        for server in (self.primary, self.standby, self.second):
            server.stop()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with folder() as place:
        made = Cluster(place)
        try:
            yield made
        finally:
            made.stop()


class Load:
    """Clients that send device events, each until it is acknowledged."""

    def __init__(self, gateways: list[Running]) -> None:
        self._gateways = gateways
        self._next = 0
        self.acknowledged: set[int] = set()
        self.statuses: Counter[int] = Counter()
        self.longest = 0.0
        self.stored_at: list[float] = []
        self.stopping = False

    async def client(self, number: int) -> None:
        while not self.stopping:
            self._next += 1
            mine = self._next
            event = {"typeId": "0045", "description": "d", "appId": "a", "severity": 3}
            while not self.stopping:
                gateway = self._gateways[number % len(self._gateways)]
                began = time.monotonic()
                answer = await gateway.device({**event, "data": {}, "timestamp": mine})
                self.longest = max(self.longest, time.monotonic() - began)
                self.statuses[answer.status] += 1
                if answer.status == 201:
                    self.stored_at.append(time.monotonic())
                if answer.status in (201, 202, 409):
                    self.acknowledged.add(mine)
                    break
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_what_was_acknowledged_survives_the_primary(cluster, tmp_path, fault):
    url = cluster.url() + "?require_standby=on"
    async with closing(await open_store(url, 10)):
        pass
    async with AsyncExitStack() as stack:
        gateways = []
        for n in range(GATEWAYS):
            place = tmp_path / f"{n}"
            place.mkdir()
            changes = {
                "store": {"url": url, "deadline": int(DEADLINE)},
                "spool": {"path": str(place / "spool.db")},
            }
            gateways.append(await stack.enter_async_context(serving(place, changes)))
        load = Load(gateways)
        clients = [asyncio.create_task(load.client(n)) for n in range(CLIENTS)]
        await asyncio.sleep(BEFORE)
        getattr(cluster.primary, fault)()
        await asyncio.to_thread(cluster.standby.promote)
        promoted = time.monotonic()
        await asyncio.sleep(AFTER)
        load.stopping = True
        await asyncio.gather(*clients)
        await eventually_drained(gateways)

        found = await gateways[0].events()
        times = Counter(one["data"]["timestamp"] for one in found)
        assert load.acknowledged <= times.keys()
        assert {1} == set(times.values())
        assert load.longest <= DEADLINE + 0.5
        gap = min(at for at in load.stored_at if at > promoted) - promoted
        assert gap <= 1.0
        assert load.statuses.keys() <= {201, 202, 409, 503}

        # The old primary comes back, as the first of the hosts: nobody writes to it.
        if fault == "kill":
            cluster.primary.start()
        else:
            cluster.primary.thaw()
        for n in range(10):
            event = {"typeId": "0045", "description": "d", "appId": "a", "severity": 3, "data": {}}
            answer = await gateways[n % 3].device({**event, "timestamp": 10_000_000 + n})
            assert 201 == answer.status
        later = "SELECT count(*) FROM event WHERE convert_from(data, 'UTF8') LIKE '%1000000%'"
        assert [(0,)] == [tuple(row) for row in await cluster.primary.query(later)]


async def eventually_drained(gateways: list[Running]) -> None:
    for _ in range(200):
        if not any(one.gateway._spool.depth for one in gateways):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the spools do not drain")


async def test_a_former_primary_is_not_trusted_again(cluster):
    async with closing(await open_store(cluster.url(), 10)) as store:
        await store.append([make_record("a")])
        cluster.primary.kill()
        await asyncio.to_thread(cluster.standby.promote)
        await store.append([make_record("b")])
        cluster.primary.start()
        cluster.standby.kill()

        with pytest.raises(StoreError, match="former primary"):
            await store.append([make_record("c")])


async def test_without_its_synchronous_standby_a_primary_is_unfit_where_one_is_required(cluster):
    url = cluster.url() + "?require_standby=on"
    async with closing(await open_store(url, 10)):
        pass
    cluster.standby.kill()

    with pytest.raises(StoreError, match="no synchronous standby is connected"):
        await open_store(url, 10)


async def test_a_cancelled_wait_for_the_standby_is_not_taken_for_a_commit(cluster):
    url = cluster.url()
    async with closing(await open_store(url, 10)) as store:
        await store.append([make_record("a")])
        cluster.standby.freeze()
        record = make_record("b")
        waiting = asyncio.create_task(store.append([record]))
        await asyncio.sleep(0.3)
        cancel = """
        SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'
        """
        await cluster.primary.query(cancel)
        await asyncio.sleep(0.2)
        assert not waiting.done() or waiting.exception() is not None
        cluster.standby.thaw()
        await asyncio.wait([waiting])
        await store.append([record])
        assert 2 == len(await stored(store))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("fsync = off", "fsync and full_page_writes have to be on"),
        ("full_page_writes = off", "fsync and full_page_writes have to be on"),
        ("synchronous_commit = off", "synchronous_commit is off"),
    ],
)
async def test_a_server_that_may_lose_commits_is_unfit(setting, told):
    with folder() as place:
        server = Server(place / "primary")
        server.initialise(setting)
        server.start()
        try:
            with pytest.raises(StoreError, match=told):
                await open_store(server.url(), 10)
        finally:
            server.stop()
