"""Filters of keys that are kept in the file, so that a start need not read the keys."""

import sqlite3
import zlib
from contextlib import closing as closed
from pathlib import Path

import pytest

from gateway.policy import RetentionRule
from gateway.record import Outcome
from gateway.store import Selection
from gateway.stores import keys, lanes
from gateway.stores.care.store import SqliteCare
from gateway.stores.sqlite import SqliteStore
from tests.records import NOW, closing, eventually, make_record
from tests.stores.test_keys import RUN_KEYS, opened, small
from tests.stores.test_retention import expire, keep

__all__ = ["small"]

HOUR = 3_600_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


async def fill(store: SqliteStore, first: int, runs: int) -> None:
    """Store so many runs of keys, and wait until what is whole is in the file."""
    for at in range(first, first + runs * RUN_KEYS, 50):
        when = NOW + at * 1_000_000
        await store.append([make_record(f"{n}", received_at=when) for n in range(at, at + 50)])
    await warmed(store)


async def warmed(store: SqliteStore) -> None:
    await eventually(store._warming.done)


def saved(path: Path) -> dict[int, int]:
    """How many runs are in each lane."""
    with closed(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT lane, count(bit) FROM sealed_run GROUP BY lane"))


async def outcomes_of(store: SqliteStore, names: range) -> set[Outcome]:
    return set(await store.append([make_record(f"{n}") for n in names]))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs whose keys are read to fill filters."""
    found: list[int] = []
    keys_of = keys.runs.keys_of

    def noting(db: sqlite3.Connection, run: int, bucket: int) -> bytes:
        found.append(run)
        return keys_of(db, run, bucket)

    monkeypatch.setattr(keys.runs, "keys_of", noting)
    return found


async def test_a_start_reads_the_keys_of_few_runs_however_many_there_are(path, read):
    count = 20 * RUN_KEYS
    async with closing(await opened(path)) as store:
        await fill(store, 0, 20)
        assert {0: 8, 1: 8} == {lane: n for lane, n in saved(path).items() if lane is not None}
    read.clear()
    async with closing(await opened(path)) as store:
        await warmed(store)
        assert len(set(read)) <= lanes.RUNS
        assert {Outcome.DUPLICATE} == await outcomes_of(store, range(count))
        assert {Outcome.STORED} == await outcomes_of(store, range(count, 2 * count))


async def test_a_lane_that_was_changed_is_not_believed_and_made_again(path, read):
    async with closing(await opened(path)) as store:
        await fill(store, 0, 10)
    with closed(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE key_filter SET slots = zeroblob(length(slots))")
    async with closing(await opened(path)) as store:
        await warmed(store)
        assert len(set(read)) >= lanes.RUNS
        assert {Outcome.DUPLICATE} == await outcomes_of(store, range(10 * RUN_KEYS))
    read.clear()
    async with closing(await opened(path)) as store:
        await warmed(store)
        assert len(set(read)) < lanes.RUNS


async def test_verify_finds_keys_that_are_not_in_their_filter(path):
    async with closing(await opened(path)) as store:
        await fill(store, 0, 10)
    care = SqliteCare(path)
    assert {"ok", "note"} == {one.verdict for one in care.verify(lambda *_: None)}
    with closed(sqlite3.connect(path)) as db, db:
        [(slots,)] = db.execute("SELECT slots FROM key_filter").fetchall()
        wrong = bytes(len(slots))
        db.execute("UPDATE key_filter SET slots = ?, checksum = ?", (wrong, zlib.crc32(wrong)))

    found = [one.message for one in care.verify(lambda *_: None) if one.verdict == "bad"]

    assert [f"{8 * RUN_KEYS} keys are not in their filter: run gateway rebuild-keys"] == found
    care.rebuild_keys(lambda *_: None)
    assert {"ok", "note"} == {one.verdict for one in care.verify(lambda *_: None)}


async def test_lanes_follow_the_runs_that_retention_lets_go(path):
    policy = keep(RetentionRule(max_age=10 * RUN_KEYS * 1_000_000))
    first = 0
    for _ in range(6):
        async with closing(await opened(path)) as store:
            await fill(store, first, 7)
            first += 7 * RUN_KEYS
            await expire(store, policy, NOW + first * 1_000_000)
            await warmed(store)
            kept = range(first - 9 * RUN_KEYS if first > 900 else 0, first)
            assert {Outcome.DUPLICATE} == await outcomes_of(store, kept)
    async with closing(await opened(path)) as store:
        assert {Outcome.DUPLICATE} == await outcomes_of(store, kept)
        await expire(store, keep(RetentionRule(max_age=1)), NOW + first * 2_000_000)
        assert [] == [one async for one in store.read(Selection())]
    with closed(sqlite3.connect(path)) as db:
        assert [(0,)] == db.execute("SELECT count(*) FROM key_filter").fetchall()
