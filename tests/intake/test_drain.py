"""The drain: in order, in bounded pieces, exactly once, behind the requests."""

import asyncio
import sqlite3
from contextlib import closing as closed
from pathlib import Path

import pytest

from gateway.erasure import erase
from gateway.record import Outcome, key_of
from gateway.store import Selection
from gateway.stores import open_store
from gateway.stores.spool import open_spool
from tests.intake.draining import drained, draining
from tests.records import closing, eventually, locked, make_record, stored

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


async def test_what_moves_to_the_store_is_erased_there(path, store, monkeypatch):
    append, given = store.append, asyncio.Event()

    async def slow(records):
        given.set()
        await asyncio.sleep(0.3)
        return await append(records)

    monkeypatch.setattr(store, "append", slow)
    async with closing(await open_spool(path, 10)) as spool:
        await spool.append([make_record("a", subject="Ada"), make_record("b")])
        async with draining(spool, store):
            await given.wait()

            told = await erase(store, spool, Selection(subject="Ada"), lambda *_: None, settled=0)

            assert (1, 0) == (told.stored, told.spooled)
            await eventually(lambda: not spool.depth)
        assert ["user-1"] == [one.subject for one in await stored(store)]


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


async def test_the_spool_drains_when_the_store_is_back(path, tmp_path, store):
    async with closing(await open_spool(path, 100)) as spool:
        with locked(tmp_path / "events.db"):
            async with draining(spool, store):
                await spool.append([make_record("a"), make_record()])
                await asyncio.sleep(1.5)
                assert 2 == spool.depth

        assert [STORED, STORED] == await drained(spool, store)
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
            async with draining(spool, store):
                await eventually(lambda: stored(store))
                await asyncio.sleep(0.6)
            connection.execute("DROP TRIGGER stuck")
        await drained(spool, store)

    assert [one.data for one in records] == [one.data for one in await stored(store)]


async def test_closing_while_the_spool_drains_loses_nothing(path, store):
    records = [make_record(f"{n}") for n in range(5000)]
    async with closing(await open_spool(path, 10_000)) as spool:
        await spool.append(records)
        async with draining(spool, store):
            await eventually(lambda: spool.depth < 5000)

    async with closing(await open_spool(path, 10_000)) as spool:
        assert spool.depth < 5000
        await drained(spool, store)
    assert records == await stored(store)


async def test_records_can_be_spooled_while_the_spool_drains(path, store):
    async with closing(await open_spool(path, 100_000)) as spool:
        async with draining(spool, store) as (outcomes, _):
            for n in range(300):
                await spool.append([make_record(f"{n}"), make_record()])
            await eventually(lambda: not spool.depth)

        assert [STORED] * 600 == outcomes
        assert 0 == rows(path)
        assert set() == spool.known([key_of(f"{n}") for n in range(300)])
    assert 600 == len(await stored(store))


async def test_large_records_are_moved_a_few_at_a_time(path, store):
    large = [make_record(data='"' + "x" * 400_000 + '"') for _ in range(9)]
    async with closing(await open_spool(path, 100)) as spool:
        await spool.append([*large, make_record()])

        assert [2, 2, 2, 2, 2] == await pieces(spool, store)
    assert 10 == len(await stored(store))


async def pieces(spool, store):
    """How many records each group commit took from the spool."""
    sizes = []
    async with draining(spool, store, observe=lambda events, _: sizes.append(events)):
        await eventually(lambda: not spool.depth)
    return sizes


async def test_a_record_larger_than_a_piece_is_moved_alone(path, store):
    larger = make_record(data='"' + "x" * 3_000_000 + '"')
    async with closing(await open_spool(path, 100)) as spool:
        await spool.append([larger, make_record(), make_record()])

        assert [1, 2] == await pieces(spool, store)


async def test_draining_takes_nothing_from_the_bounds_of_requests(path, store):
    async with closing(await open_spool(path, 10_000)) as spool:
        await spool.append([make_record() for _ in range(3000)])
        async with draining(spool, store, max_events=2, max_bytes=10_000) as (_, committer):
            while spool.depth:
                assert [STORED, STORED] == await committer.append([make_record(), make_record()])

    assert 0 == rows(path)


async def test_a_drain_goes_on_when_records_are_gone_although_their_deletion_failed(path, store):
    async with closing(await open_spool(path, 100)) as spool:
        await spool.append([make_record()])
        with closed(sqlite3.connect(path)) as other:
            other.execute("DELETE FROM spooled")
            other.commit()

        assert [] == await drained(spool, store)
        assert not spool.filled.is_set()
