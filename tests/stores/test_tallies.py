"""Counts in an SQLite file: compact, and as durable as events."""

import sqlite3
from contextlib import closing as closed
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.store import ALL_TIME, Count, CountSelection, Sighting
from gateway.stores.sqlite import open_store
from gateway.stores.tallies import MINUTES_KEPT
from tests.records import NOW, closing, locked, make_record, make_rejected

MINUTE = 60_000_000
HOUR = 60 * MINUTE
START = NOW // HOUR * HOUR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def counts_of(series: int, first: int, minutes: int) -> list[Count]:
    """One count a minute of each series."""
    return [
        Count(START + (first + n) * MINUTE, "moesif", f"tenant {one}", "api_call", "stored", 1000)
        for n in range(minutes)
        for one in range(series)
    ]


async def test_old_minutes_are_forgotten_hours_and_days_are_not(path):
    async with closing(await open_store(f"sqlite:///{path}", 1)) as store:
        await store.add_counts(counts_of(2, 30, 120))
        # An hour goes with each call, and no more than is old enough.
        for _ in range(5):
            await store.add_counts(counts_of(2, 125 + MINUTES_KEPT, 1))

        async def found(**wanted):
            counts = await store.counts(CountSelection(tenant="tenant 0", **wanted))
            return [((one.time - START) // MINUTE, one.count) for one in counts]

        last = 125 + MINUTES_KEPT
        assert [*[(n, 1000) for n in range(120, 150)], (last, 5000)] == await found()
        hours = [(0, 30_000), (60, 60_000), (120, 30_000), (last // 60 * 60, 5000)]
        assert hours == await found(step=60)
        assert [125_000] == [count for _, count in await found(step=ALL_TIME)]
    with closed(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT hour, count FROM tally WHERE tenant = 'tenant 1' LIMIT 2")
        assert [("2023-11-14T22:00Z", 30_000), ("2023-11-14T23:00Z", 60_000)] == rows.fetchall()


async def test_counts_of_a_series_take_little_space(path):
    async with closing(await open_store(f"sqlite:///{path}", 1)) as store:
        await store.add_counts(counts_of(1, 0, 1))
    empty = path.stat().st_size
    async with closing(await open_store(f"sqlite:///{path}", 1)) as store:
        for at in range(1, MINUTES_KEPT, 10_000):
            await store.add_counts(counts_of(1, at, min(10_000, MINUTES_KEPT - at)))
    month = path.stat().st_size - empty
    with closed(sqlite3.connect(path, isolation_level=None)) as db:
        hours = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8760)"
        db.execute(f"{hours} INSERT INTO hour_count SELECT 480000 + i, 1, 60000 FROM n")
    year = path.stat().st_size - empty - month

    assert 400_000 < month < 800_000
    assert 50_000 < year < 160_000


async def test_counts_that_could_not_be_written_can_be_added_again(path):
    async with closing(await open_store(f"sqlite:///{path}", 5)) as store:
        await store.append([make_rejected("a"), make_rejected("a")])
        with locked(path), pytest.raises(StoreError, match="locked") as raised:
            await store.add_counts(counts_of(1, 0, 1))
        assert raised.value.nothing_kept
        await store.add_counts(counts_of(1, 0, 1))

        assert counts_of(1, 0, 1) == list(await store.counts(CountSelection()))
        assert {1: Sighting(2, NOW, NOW)} == await store.sightings([1])


async def test_a_repeat_of_a_quarantined_record_writes_nothing_by_itself(path):
    async with closing(await open_store(f"sqlite:///{path}", 5)) as store:
        await store.append([make_rejected("a")])
        with locked(path):
            for _ in range(3):
                await store.append([make_rejected("a")])
        await store.append([make_record("b")])
        await store.add_counts([])
        assert {1: Sighting(4, NOW, NOW)} == await store.sightings([1])


async def test_counts_and_sightings_outlive_the_process(path):
    async with closing(await open_store(f"sqlite:///{path}", 5)) as store:
        await store.append([make_rejected("a"), make_rejected("a")])
        await store.add_counts(counts_of(3, 0, 1))
    for _ in range(2):
        async with closing(await open_store(f"sqlite:///{path}", 5)) as store:
            await store.add_counts(counts_of(3, 0, 1))
    async with closing(await open_store(f"sqlite:///{path}", 5)) as store:
        assert [3000] * 3 == [one.count for one in await store.counts(CountSelection())]
        assert {1: Sighting(2, NOW, NOW)} == await store.sightings([1])
