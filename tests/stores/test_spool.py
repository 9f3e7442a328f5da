"""The spool: durable, drained in order, exactly once."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing as closed
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.intake.commit import GroupCommitter
from gateway.record import EventRecord, Outcome, key_of
from gateway.store import Store
from gateway.stores import open_store
from gateway.stores.spool import Spool, open_spool
from tests.records import closing, eventually, full_disk, locked, make_record, stored

STORED, DUPLICATE, QUEUED = Outcome.STORED, Outcome.DUPLICATE, Outcome.QUEUED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
async def store(tmp_path: Path):
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as opened:
        yield opened


def rows(path: Path) -> int:
    with closed(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM spooled").fetchone()[0]


async def drained(spool: Spool, store: Store) -> list[Outcome]:
    """Drain *spool* into *store*; return what became of each record."""
    heard: list[Outcome] = []
    spool.start(store, heard.extend)
    await eventually(lambda: not spool.depth)
    return heard


async def test_spooled_records_reach_the_store_in_order(path, store):
    records = [make_record(f"{n}") for n in range(1203)]
    async with closing(await open_spool(path, 10_000)) as spool:
        assert [QUEUED] * 1203 == list(await spool.append(records))
        assert 1203 == spool.depth

        assert [STORED] * 1203 == await drained(spool, store)
        assert records == await stored(store)
        assert 0 == rows(path)


async def test_spooled_records_survive_reopening(path, store):
    record = make_record("a", data='{"text":"\x00 🎉 \\ud800","n":1208925819614629174706176}')
    async with closing(await open_spool(path, 10)) as spool:
        await spool.append([record])

    async with closing(await open_spool(path, 10)) as spool:
        assert 1 == spool.depth
        assert {key_of("a")} == spool.known([key_of("a"), key_of("b")])
        assert [DUPLICATE] == list(await spool.append([make_record("a")]))
        await drained(spool, store)

    assert [record] == await stored(store)


async def test_a_spooled_key_is_known_until_the_store_has_it(path, store):
    async with closing(await open_spool(path, 10)) as spool:
        await spool.append([make_record("a"), make_record()])
        assert {key_of("a")} == spool.known([key_of("a"), key_of("b")])

        await drained(spool, store)
        assert set() == spool.known([key_of("a")])
        assert {key_of("a")} == await store.known([key_of("a")])


async def test_a_duplicate_is_found_within_a_call_and_across_calls(path):
    async with closing(await open_spool(path, 10)) as spool:
        assert [QUEUED, DUPLICATE] == list(await spool.append([make_record("a"), make_record("a")]))
        assert [DUPLICATE, QUEUED] == list(await spool.append([make_record("a"), make_record("b")]))
        assert 2 == spool.depth


async def test_a_record_without_key_is_never_a_duplicate(path, store):
    async with closing(await open_spool(path, 10)) as spool:
        for _ in range(2):
            assert [QUEUED, QUEUED] == list(await spool.append([make_record(), make_record()]))
        await drained(spool, store)

    assert 4 == len(await stored(store))


async def test_a_duplicate_found_while_draining_is_dropped_and_counted(path, store):
    await store.append([make_record("a")])
    async with closing(await open_spool(path, 10)) as spool:
        await spool.append([make_record("a"), make_record("b")])

        assert [DUPLICATE, STORED] == await drained(spool, store)
    assert 2 == len(await stored(store))


async def test_a_full_spool_refuses_a_request_as_a_whole(path):
    async with closing(await open_spool(path, 3)) as spool:
        await spool.append([make_record("a"), make_record("b")])
        with pytest.raises(StoreError, match="full"):
            await spool.append([make_record("c"), make_record("d")])
        await spool.probe()
        assert set() == spool.known([key_of("c"), key_of("d")])

        assert [QUEUED] == list(await spool.append([make_record("c")]))
        with pytest.raises(StoreError, match="full"):
            await spool.probe()


async def test_a_spool_that_cannot_be_written_is_not_ready_and_keeps_nothing(path):
    async with closing(await open_spool(path, 10)) as spool:
        with locked(path):
            with pytest.raises(StoreError, match="locked"):
                await spool.probe()
            with pytest.raises(StoreError, match="locked"):
                await spool.append([make_record("a")])
            assert 0 == spool.depth
            assert set() == spool.known([key_of("a")])

        await spool.probe()
        assert [QUEUED] == list(await spool.append([make_record("a")]))


async def test_an_empty_spool_on_a_full_disk_is_not_ready(path):
    async with closing(await open_spool(path, 10)) as spool:
        await spool.probe()
        with full_disk():
            with pytest.raises(StoreError):
                await spool.probe()
            with pytest.raises(StoreError):
                await spool.append([make_record("a")])

        await spool.probe()
        assert [QUEUED] == list(await spool.append([make_record("a")]))


async def test_the_spool_drains_when_the_store_is_back(path, tmp_path, store):
    committer = GroupCommitter(store, max_events=10_000, max_bytes=1 << 20)
    committer.start()
    async with closing(await open_spool(path, 100)) as spool, closing(committer):
        with locked(tmp_path / "events.db"):
            spool.start(committer, lambda _: None)
            await spool.append([make_record("a"), make_record()])
            await asyncio.sleep(1.5)
            assert 2 == spool.depth

        await eventually(lambda: not spool.depth)
    assert 2 == len(await stored(store))


async def test_a_record_that_the_spool_could_not_delete_is_not_stored_twice(path, store):
    records = [make_record("a"), make_record(), make_record()]
    async with closing(await open_spool(path, 10)) as spool:
        await spool.append(records)
        with closed(sqlite3.connect(path)) as connection:
            connection.execute(
                "CREATE TRIGGER stuck BEFORE DELETE ON spooled"
                " BEGIN SELECT RAISE(ABORT, 'stuck'); END"
            )
            spool.start(store, lambda _: None)
            await eventually(lambda: stored(store))
            await asyncio.sleep(0.6)
            connection.execute("DROP TRIGGER stuck")
        await eventually(lambda: not spool.depth)

    assert [one.data for one in records] == [one.data for one in await stored(store)]


async def test_closing_while_the_spool_drains_loses_nothing(path, store):
    records = [make_record(f"{n}") for n in range(5000)]
    async with closing(await open_spool(path, 10_000)) as spool:
        await spool.append(records)
        spool.start(store, lambda _: None)
        await eventually(lambda: spool.depth < 5000)

    async with closing(await open_spool(path, 10_000)) as spool:
        assert spool.depth < 5000
        await drained(spool, store)
    assert records == await stored(store)


class Slow:
    """A store whose every append takes a turn of the loop or ten."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        for _ in range(10):
            await asyncio.sleep(0)
        return await self._store.append(records)


async def test_records_can_be_spooled_while_the_spool_drains(path, store):
    async with closing(await open_spool(path, 100_000)) as spool:
        heard: list[Outcome] = []
        spool.start(Slow(store), heard.extend)
        for n in range(300):
            await spool.append([make_record(f"{n}"), make_record()])
        await eventually(lambda: not spool.depth)

        assert [STORED] * 600 == heard
        assert 0 == rows(path)
        assert set() == spool.known([key_of(f"{n}") for n in range(300)])
    assert 600 == len(await stored(store))


async def test_a_file_that_is_not_a_database_is_refused(path):
    path.write_text("notes " * 1000)

    with pytest.raises(StoreError, match="not a database"):
        await open_spool(path, 10)
