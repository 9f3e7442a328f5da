"""Retention of the SQLite store: keys, space, crashes; with small runs of keys."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing as closed
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.policy import RetentionPolicy, RetentionRule
from gateway.record import EventRecord, Kind, Outcome, key_of
from gateway.stores import bloom, filters, keys, room, runs
from gateway.stores.memory import MemoryStore
from gateway.stores.shares import Bound
from gateway.stores.sqlite import SqliteStore, open_store
from tests.care.conftest import spoil
from tests.records import NOW, closing, make_record, make_rejected, sequences, stored
from tests.stores.test_retention import HOUR, expire, keep

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE

RUN_KEYS = 100
DAY = keep(RetentionRule(max_age=24 * HOUR))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(keys, "RUN_KEYS", RUN_KEYS)
    monkeypatch.setattr(filters, "_CLEAR_AT", 2)
    monkeypatch.setattr(runs, "_SAMPLE", 256)
    for name, value in {"SLOTS": 1 << 11, "_MASK": (1 << 11) - 1, "RUNS": 8}.items():
        monkeypatch.setattr(bloom, name, value)
    yield


def opened(path: Path):
    return open_store(f"sqlite:///{path}", 20)


def rows(path: Path, sql: str) -> list[tuple]:
    with closed(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def hourly(hour: int, count: int = 50, **changes) -> list:
    """Events that were received in that hour, the first one being 0."""
    return [
        make_record(f"{hour}-{n}", received_at=NOW + hour * HOUR, **changes) for n in range(count)
    ]


async def test_a_run_of_keys_goes_with_its_events_and_later_a_retry_is_stored_as_new(tmp_path):
    path = tmp_path / "events.db"
    async with closing(await opened(path)) as store:
        for hour in range(20):
            await store.append(hourly(hour))
        await expire(store, DAY, NOW + (24 + 16) * HOUR)

        # Of hours 0 to 16 the events are gone, and the runs of 0 to 15 with them.
        assert {DUPLICATE} == {*await store.append(hourly(16)), *await store.append(hourly(18))}
        assert {STORED} == set(await store.append(hourly(3)))
        assert {DUPLICATE} == set(await store.append(hourly(3)))
    [(count,)] = rows(path, "SELECT count(*) FROM sealed_run")
    assert count <= 3
    [(orphans,)] = rows(
        path, "SELECT count(*) FROM key_run WHERE run NOT IN (SELECT run FROM sealed_run)"
    )
    assert orphans < 256


async def test_the_memory_for_keys_does_not_grow_however_many_events_come_and_go(tmp_path):
    async with closing(await opened(tmp_path / "events.db")) as store:
        for hour in range(150):
            await store.append(hourly(hour))
            await expire(store, DAY, NOW + hour * HOUR)
        # 24 hours of 50 events make 12 runs, which is 4 filters of 3 runs, and one is written.
        assert store._writer.keys.filters.count <= 5
        assert {DUPLICATE} == set(await store.append(hourly(140)))


def test_several_runs_leave_a_filter_at_once_and_the_others_stay():
    one, held = bloom.BloomFilter(), [[key_of(f"{run} {n}") for n in range(60)] for run in range(3)]
    for run in range(3):
        one.add(run, held[run])

    for part in range(bloom.PARTS):
        one.remove([0, 2], part)

    assert {0b010} == set(one.candidate_runs(held[1]))
    assert {0, 0b010} >= set(one.candidate_runs(held[0] + held[2]))


async def test_keys_of_events_that_stay_for_ever_do_not_hold_those_of_the_others(tmp_path):
    path = tmp_path / "events.db"
    policy = keep(RetentionRule(kind="user"), RetentionRule(max_age=24 * HOUR))
    users = [make_record(f"user {n}", kind="user", received_at=NOW) for n in range(200)]
    for first in range(0, 200, 50):
        async with closing(await opened(path)) as store:
            for hour in range(first, first + 50):
                await store.append([users[hour], *hourly(hour)])
                await expire(store, policy, NOW + hour * HOUR)
            assert {DUPLICATE} == set(await store.append(users[: first + 50]))
            # Without, there were 100 runs.
            assert store._writer.keys.filters.count * bloom.RUNS <= 45
    async with closing(await opened(path)) as store:
        assert {DUPLICATE} == set(await store.append(users))
        assert {STORED} == set(await store.append(hourly(30)))
        assert 200 == len(await stored(store, kind="user"))
    [(held,)] = rows(path, "SELECT sum(length(keys)) / 16 FROM key_run NATURAL JOIN sealed_run")
    [(events,)] = rows(path, "SELECT count(*) FROM event")
    assert held <= 2 * events + 3 * RUN_KEYS


async def test_an_expired_key_that_no_run_had_is_known_after_a_restart_and_a_crash(tmp_path):
    path, copy = tmp_path / "events.db", tmp_path / "copy.db"
    async with closing(await opened(path)) as store:
        await store.append(hourly(0, 10))
        await expire(store, DAY, NOW + 30 * HOUR)
        assert [] == await sequences(store)
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    for one in (path, copy):
        async with closing(await opened(one)) as store:
            assert {DUPLICATE} == set(await store.append(hourly(0, 10)))
            for hour in range(40, 50):
                await store.append(hourly(hour))
            assert {DUPLICATE} == set(await store.append(hourly(0, 10)))
            await expire(store, DAY, NOW + 50 * HOUR)
        # Runs have them now.
        assert [(0,)] == rows(one, "SELECT count(*) FROM loose_key")
        async with closing(await opened(one)) as store:
            assert {DUPLICATE} == set(await store.append(hourly(0, 10)))


async def test_runs_that_came_by_a_rotation_go_once_an_event_of_the_new_store_expires(tmp_path):
    async with closing(await opened(tmp_path / "events.db")) as store:
        await store.append(hourly(0))
        await store.rotate(lambda *_: None)
        await store.append(hourly(10))
        await expire(store, DAY, NOW + 33 * HOUR)
        assert {DUPLICATE} == set(await store.append(hourly(0)))

        await expire(store, DAY, NOW + 34 * HOUR)

        assert {STORED} == set(await store.append(hourly(0)))
        assert {DUPLICATE} == set(await store.append(hourly(10)))


class Twins:
    """The SQLite store and the memory store, to which the same happens."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.lives = 0
        self.now = NOW
        self.count = 0
        self.policy = RetentionPolicy(
            (
                RetentionRule(kind="user", max_age=self.random.choice([None, 100 * HOUR])),
                RetentionRule(tenant="short", max_age=3 * HOUR),
                RetentionRule(max_age=20 * HOUR),
            )
        )
        self.model = MemoryStore(Bound(20, 1 << 40))
        self.store: SqliteStore

    @property
    def path(self) -> Path:
        return self.folder / f"{self.lives}.db"

    async def append(self) -> None:
        group = []
        for _ in range(self.random.choice((1, 5, 40))):
            self.count += 1
            # Now and then a record comes out of the spool, hours late.
            late = self.random.choice((0, 0, 0, 5 * HOUR))
            changes = self.random.choice(({}, {}, {"tenant": "short"}, {"kind": "user"}))
            make = make_rejected if self.random.random() < 0.1 else make_record
            if make is make_rejected:
                changes, late = {}, 0
            group.append(make(f"{self.count}", received_at=self.now - late, **changes))
        again = [one for one in await stored(self.model) if one.kind != Kind.REJECTED]
        if again and self.random.random() < 0.3:
            group.append(self.random.choice(again))
        assert list(await self.model.append(group)) == list(await self.store.append(group))

    async def expire(self) -> None:
        self.now += self.random.randrange(2 * HOUR)
        await expire(self.model, self.policy, self.now)
        for _ in range(self.random.choice((1, 3, 10_000))):
            if not (await self.store.expire(self.policy, self.now)).more:
                break

    async def crash(self) -> None:
        before = self.path
        self.lives += 1
        for suffix in ("", "-wal"):
            shutil.copy(f"{before}{suffix}", f"{self.path}{suffix}")
        await self.store.close()
        self.store = await opened(self.path)

    def expired(self, record: EventRecord, spare: int = 0) -> bool:
        max_age = self.policy.max_age_of(record.dialect, record.tenant, record.kind)
        return max_age is not None and self.now - record.received_at >= max_age + spare

    async def compare(self) -> None:
        await expire(self.store, self.policy, self.now)
        kept = await stored(self.store)
        # What came late out of the spool stays as long as what was stored beside it.
        assert not [record for record in kept if self.expired(record, 5 * HOUR)]
        assert await stored(self.model) == [one for one in kept if not self.expired(one)]
        known = {record.key for record in kept}
        assert known == await self.store.known(known)


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(0, 80), *(pytest.param(n, 160, marks=pytest.mark.slow) for n in range(12))],
)
async def test_whatever_happens_what_is_kept_is_as_in_memory_and_its_keys_are_known(
    tmp_path, seed, steps
):
    twins = Twins(tmp_path, seed)
    twins.store = await opened(twins.path)
    try:
        for step in range(steps):
            await twins.append()
            await twins.expire()
            if twins.random.random() < 0.03:
                await twins.crash()
            if step % 40 == 39:
                await twins.compare()
    finally:
        await twins.store.close()


async def test_a_store_at_its_bound_uses_its_space_again(tmp_path):
    path, bound = tmp_path / "events.db", 2_000_000
    policy = keep(max_bytes=bound)
    sizes = []
    async with closing(await opened(path)) as store:
        for n in range(80):
            await store.append(hourly(n, 100, data=f'"{"x" * 400}"'))
            await expire(store, policy)
            sizes.append(path.stat().st_size)
        seen = await sequences(store)
    assert bound * 0.9 < path.stat().st_size < bound * 1.1
    assert max(sizes) < bound * 1.1
    assert list(range(8_001 - len(seen), 8_001)) == seen
    assert len(seen) > 2500


def large(first: int, count: int = 100) -> list[EventRecord]:
    return [make_record(f"{n}", data=f'"{"x" * 400}"') for n in range(first, first + count)]


async def filled(store: SqliteStore, policy: RetentionPolicy) -> int:
    """Append until something is deleted; return how many events there were."""
    count = 0
    while not (await store.expire(policy, NOW)).by_size:
        await store.append(large(count))
        count += 100
    await expire(store, policy)
    return count


async def test_commits_make_room_for_what_they_add_and_leave_a_record_of_it(tmp_path):
    path, policy = tmp_path / "events.db", keep(max_bytes=4_000_000)
    async with closing(await opened(path)) as store:
        count = await filled(store, policy)
        before = len(await sequences(store))
        # No step of retention.
        for first in range(count, count + 3000, 100):
            await store.append(large(first))
        last = count + 3000
        seen = await sequences(store)
        assert list(range(last + 1 - len(seen), last + 1)) == seen
        assert abs(before - len(seen)) < 400
        assert {DUPLICATE} == set(await store.append(large(last - 100)))
        assert (await store.expire(policy, NOW)).by_size > 2500
        [first, *_] = await sequences(store)
    assert [("size", first - 1)] == rows(path, "SELECT cause, events FROM prune")


async def test_the_keys_of_events_that_went_with_commits_go_too(tmp_path):
    path, policy = tmp_path / "events.db", keep(max_bytes=1_000_000)
    async with closing(await opened(path)) as store:
        count = await filled(store, policy)
        for first in range(count, count + 4500, 30):
            await store.append(large(first, 30))
            await store.expire(policy, NOW)
        await expire(store, policy)
        assert {STORED} == set(await store.append(large(0, 30)))
        stored_now = len(await sequences(store))
    [(held,)] = rows(path, "SELECT total(length(keys)) / 16 FROM key_run NATURAL JOIN sealed_run")
    assert held <= 2 * stored_now + 3 * RUN_KEYS


async def test_an_event_is_stored_although_the_oldest_ones_cannot_be_deleted(tmp_path):
    path, policy = tmp_path / "events.db", keep(max_bytes=1_000_000)
    async with closing(await opened(path)) as store:
        count = await filled(store, policy)
    [(page,)] = rows(
        path,
        "SELECT pageno FROM dbstat WHERE name = 'event' AND pagetype = 'leaf' LIMIT 1 OFFSET 6",
    )
    spoil(path, page)
    async with closing(await opened(path)) as store:
        await store.expire(policy, NOW)
        for first in range(count, count + 1000, 100):
            assert {STORED} == set(await store.append(large(first)))
        with pytest.raises(StoreError):
            await expire(store, policy)


async def test_a_commit_that_deletes_for_too_long_stores_its_events_and_deletes_nothing(
    tmp_path, monkeypatch
):
    path, policy = tmp_path / "events.db", keep(max_bytes=4_000_000)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    async with closing(await opened(path)) as store:
        count = await filled(store, policy)
        before = await sequences(store)
        monkeypatch.setattr(room, "remove", lambda db, *_: db.execute(endless).fetchall())
        assert store._writer._expiry is not None
        # What is one row is never interrupted.
        store._writer._expiry._pace.rows = 64
        assert {STORED} == set(await store.append(large(count)))
        assert store._writer._expiry._pace.rows < 64
        assert before == (await sequences(store))[: len(before)]
        monkeypatch.undo()
        assert (await expire(store, policy)).by_size > 0


async def test_each_day_has_one_record_of_what_was_deleted(tmp_path):
    path = tmp_path / "events.db"
    async with closing(await opened(path)) as store:
        for hour in range(48):
            await store.append(hourly(hour, 4))
        for hour in range(24, 48):
            await expire(store, DAY, NOW + hour * HOUR)
        await expire(store, keep(max_bytes=1), NOW + 48 * HOUR)
    records = rows(path, "SELECT cause, events, last_seq, ended > began FROM prune ORDER BY id")
    assert [("age", 4), ("age", 92), ("size", 96)] == [
        ("age", min(records[0][1], 4)),
        ("age", records[0][1] + records[1][1] - 4),
        records[2][:2],
    ]
    assert [96, 192] == [last for _, _, last, _ in records[1:]]


async def test_after_a_step_commits_wait_for_the_disk_as_before(tmp_path):
    async with closing(await opened(tmp_path / "events.db")) as store:
        await store.append(hourly(0))
        await expire(store, DAY, NOW + 30 * HOUR)

        full = await store._database.run(lambda db: db.execute("PRAGMA synchronous").fetchall())

        assert [(2,)] == full


async def test_a_damaged_page_stops_retention_but_no_append(tmp_path):
    path = tmp_path / "events.db"
    async with closing(await opened(path)) as store:
        for hour in range(10):
            await store.append(hourly(hour))
    [(page,)] = rows(
        path, "SELECT min(pageno) FROM dbstat WHERE name = 'event' AND pagetype = 'leaf'"
    )
    spoil(path, page)
    async with closing(await opened(path)) as store:
        with pytest.raises(StoreError):
            await expire(store, DAY, NOW + 30 * HOUR)
        assert {STORED} == set(await store.append(hourly(100)))
        with pytest.raises(StoreError):
            await expire(store, DAY, NOW + 30 * HOUR)
        assert {STORED} == set(await store.append(hourly(101)))


async def test_what_came_while_the_clock_was_wrong_holds_nothing_up(tmp_path):
    async with closing(await opened(tmp_path / "events.db")) as store:
        await store.append([make_record("future", received_at=NOW + 10_000 * HOUR)])
        await store.append(hourly(0))

        await expire(store, DAY, NOW + 30 * HOUR)

        assert [1] == await sequences(store)
