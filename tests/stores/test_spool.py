"""The spool: durable, drained in order, exactly once."""

import asyncio
import sqlite3
from contextlib import closing as closed
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from gateway.errors import StoreError
from gateway.record import Outcome, key_of
from gateway.stores import open_store
from gateway.stores.spool import open_spool
from tests.records import closing, full_disk, locked, make_record

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


async def test_a_duplicate_is_found_within_a_call_and_across_calls(path):
    async with closing(await open_spool(path, 10)) as spool:
        assert [QUEUED, DUPLICATE] == list(await spool.append([make_record("a"), make_record("a")]))
        assert [DUPLICATE, QUEUED] == list(await spool.append([make_record("a"), make_record("b")]))
        assert 2 == spool.depth


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


async def test_a_file_that_is_no_database_is_refused(path):
    path.write_text("notes " * 1000)

    with pytest.raises(StoreError, match="not a database"):
        await open_spool(path, 10)


async def test_records_without_a_key_are_told_apart_by_their_ids(path):
    record = make_record()
    async with closing(await open_spool(path, 10)) as spool:
        assert [QUEUED, QUEUED] == list(await spool.append([record, make_record()]))
        assert {record.id} == spool.known([record.id, make_record().id])


@pytest.mark.parametrize("key", [None, "a"])
async def test_an_earlier_attempt_of_the_same_record_is_no_duplicate(path, key):
    record = make_record(key)
    async with closing(await open_spool(path, 10)) as spool:
        await spool.append([record])

        assert [QUEUED] == list(await spool.append([record]))
        assert 1 == spool.depth


async def test_the_oldest_are_given_within_bounds_and_stay_until_they_are_dropped(path):
    records = [make_record(data='"' + "x" * 1000 + '"') for _ in range(6)]
    async with closing(await open_spool(path, 10)) as spool:
        await spool.append(records)

        assert 3 == len((await spool.peek(3, 1 << 20)).records)
        assert 1 == len((await spool.peek(3, 1)).records)
        two = await spool.peek(9, 3000)
        assert [one.data for one in records[:2]] == [one.data for one in two.records]
        await spool.drop(two)
        assert 4 == spool.depth
        assert records[2].data == (await spool.peek(1, 1)).records[0].data


async def test_what_is_added_while_a_piece_is_dropped_is_counted(path):
    async with closing(await open_spool(path, 10)) as spool:
        await spool.append([make_record("a")])
        piece = await spool.peek(10, 1 << 20)
        await asyncio.gather(spool.append([make_record("b")]), spool.drop(piece))

        assert (1, True) == (spool.depth, spool.filled.is_set())


async def test_reconciling_finds_what_an_append_of_unknown_outcome_has_kept(path):
    record = make_record()
    async with closing(await open_spool(path, 10)) as spool:
        with closed(sqlite3.connect(path)) as other:
            other.execute("INSERT INTO spooled (key, record) VALUES (?, '')", (record.id,))
            other.commit()
        await spool.reconcile([record.id])

        assert 1 == spool.depth
        assert spool.filled.is_set()
        assert {record.id} == spool.known([record.id])


async def test_records_that_an_earlier_version_spooled_have_no_sender(path):
    async with closing(await open_spool(path, 10)) as spool:
        await spool.append([record := make_record("a")])
    former = {name: getattr(record, name) for name in record.__struct_fields__ if name != "sender"}
    with closed(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE spooled SET record = ?", (msgspec.msgpack.encode(former),))

    async with closing(await open_spool(path, 10)) as spool:
        assert [replace(record, sender=None)] == (await spool.peek(10, 1 << 20)).records
