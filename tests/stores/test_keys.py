"""The key index of the SQLite store, with small runs so that they are sealed often."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing as closed
from pathlib import Path

import pytest

import gateway.stores.sqlite
from gateway.errors import StoreError
from gateway.record import Outcome, key_of
from gateway.stores import bloom, filters, keys, runs
from gateway.stores.memory import MemoryStore
from gateway.stores.shares import Bound
from gateway.stores.sqlite import SqliteStore, open_store
from tests.records import closing, eventually, make_record, make_rejected, stored

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE

RUN_KEYS = 100
SMALL = {
    keys: {"RUN_KEYS": RUN_KEYS, "_PAGE": 7},
    filters: {"_WARM_BUCKETS": 50},
    runs: {"_SAMPLE": 256},
    # So few slots that some run may contain almost any key.
    bloom: {"SLOTS": 1 << 11, "_MASK": (1 << 11) - 1, "RUNS": 8},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module, values in SMALL.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    yield


def opened(path: Path):
    return open_store(f"sqlite:///{path}", 20)


def sizes_of(path: Path) -> dict[int, int]:
    """The sealed runs of the store at *path*, each with its number of keys."""
    sizes = "SELECT run, sum(length(keys)) / 16 FROM key_run NATURAL JOIN sealed_run GROUP BY run"
    with closed(sqlite3.connect(path)) as connection:
        return dict(connection.execute(sizes))


class Twins:
    """The SQLite store and the memory store, which must agree whatever is done to both."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.names: list[str] = []
        self.lives = 0
        self.model = MemoryStore(Bound(20, 1 << 40))
        self.store: SqliteStore

    @property
    def path(self) -> Path:
        return self.folder / f"{self.lives}.db"

    async def open(self) -> None:
        self.store = await opened(self.path)

    def name(self) -> str:
        if self.names and self.random.random() < 0.2:
            return self.random.choice(self.names)
        self.names.append(f"{len(self.names)}")
        return self.names[-1]

    async def append(self) -> None:
        group = []
        for _ in range(self.random.choice((1, 1, 5, 40))):
            make = make_rejected if self.random.random() < 0.1 else make_record
            # A key holds its kind, so that no two kinds share one.
            group.append(make(f"{make.__name__} {self.name()}"))
        if self.random.random() < 0.1:
            # A lone surrogate cannot be kept: the whole group is rolled back.
            with pytest.raises(StoreError):
                await self.store.append([*group, make_record(data="\ud800")])
        expected = await self.model.append(group)
        assert list(expected) == list(await self.store.append(group))

    async def reopen(self) -> None:
        await self.store.close()
        await self.open()

    async def crash(self) -> None:
        """Go on with a copy of the files as they lie on the disk, as after a kill."""
        before = self.path
        self.lives += 1
        for suffix in ("", "-wal"):
            shutil.copy(f"{before}{suffix}", f"{self.path}{suffix}")
        await self.store.close()
        await self.open()

    async def compare(self) -> None:
        some = {
            key_of(f"{kind} {name}")
            for name in self.random.sample(self.names, min(400, len(self.names)))
            for kind in ("make_record", "make_rejected")
        }
        assert await self.model.known(some) == await self.store.known(some)
        assert await stored(self.model) == await stored(self.store)


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(0, 120), *(pytest.param(n, 400, marks=pytest.mark.slow) for n in (0, 1, 2, 3))],
)
async def test_the_key_index_always_agrees_with_a_set(tmp_path, seed, steps):
    twins = Twins(tmp_path, seed)
    await twins.open()
    try:
        for step in range(steps):
            await twins.append()
            if twins.random.random() < 0.02:
                await twins.reopen()
            if twins.random.random() < 0.02:
                await twins.crash()
            if step % 40 == 39:
                await twins.compare()
        assert len(sizes_of(twins.path)) > 4
    finally:
        await twins.store.close()


async def filled(path: Path) -> set[bytes]:
    """Make a store with many runs; return the keys in it."""
    async with closing(await opened(path)) as store:
        for n in range(30):
            await store.append([make_record(f"{n}-{m}") for m in range(50)])
    return {key_of(f"{n}-{m}") for n in range(30) for m in range(50)}


async def test_a_key_is_found_right_after_opening_before_the_filters_are_filled(tmp_path):
    everything = await filled(tmp_path / "events.db")

    async with closing(await opened(tmp_path / "events.db")) as store:
        assert store._writer.keys.filters.cold
        assert everything == await store.known(everything)
        while store._writer.keys.filters.cold:
            assert {key_of("0-0")} == await store.known([key_of("0-0"), key_of("x")])
        assert everything == await store.known(everything)


async def test_closing_while_the_filter_fills_is_safe(tmp_path):
    everything = await filled(tmp_path / "events.db")
    for _ in range(10):
        async with closing(await opened(tmp_path / "events.db")):
            pass

    async with closing(await opened(tmp_path / "events.db")) as store:
        assert everything == await store.known(everything)


async def test_a_store_that_is_reopened_often_seals_runs_of_the_designed_size(tmp_path):
    path, names = tmp_path / "events.db", [f"{n}" for n in range(40 * 30)]
    for at in range(0, len(names), 30):
        async with closing(await opened(path)) as store:
            await store.append([make_record(name) for name in names[at : at + 30]])

    async with closing(await opened(path)) as store:
        assert set(map(key_of, names)) == await store.known(map(key_of, names))
    sizes = sizes_of(path)
    assert {RUN_KEYS} == set(sizes.values())
    # What is in no run is less than one, and read from the events at start.
    assert sum(sizes.values()) > len(names) - RUN_KEYS


async def test_keys_that_no_run_holds_yet_are_sealed_in_pieces_at_start(tmp_path):
    path, names = tmp_path / "events.db", [f"{n}" for n in range(10 * RUN_KEYS + 5)]
    async with closing(await opened(path)) as store:
        await store.append([make_record(name) for name in names])
    with closed(sqlite3.connect(path)) as connection:
        connection.executescript("DELETE FROM sealed_run; DELETE FROM key_run WHERE run > 0")

    async with closing(await opened(path)) as store:
        assert dict.fromkeys(range(10), RUN_KEYS) == sizes_of(path)
        assert set(map(key_of, names)) == await store.known(map(key_of, names))
        assert [DUPLICATE] * 2 == list(await store.append([make_record("0"), make_record("644")]))


async def test_a_run_of_a_transaction_with_more_keys_than_a_run_is_divided_at_the_next_start(
    tmp_path,
):
    path, names = tmp_path / "events.db", [f"{n}" for n in range(5 * RUN_KEYS + 5)]
    async with closing(await opened(path)) as store:
        assert [STORED] * len(names) == list(await store.append([*map(make_record, names)]))
        assert set(map(key_of, names)) == await store.known(map(key_of, names))
        assert [DUPLICATE] == list(await store.append([make_record("7")]))
        for n in range(RUN_KEYS):
            await store.append([make_record(f"new {n}")])
        assert max(sizes_of(path).values()) > 4 * RUN_KEYS

    async with closing(await opened(path)) as store:
        assert set(map(key_of, names)) == await store.known(map(key_of, names))
        assert max(sizes_of(path).values()) < 1.5 * RUN_KEYS


async def test_a_run_that_is_too_large_is_written_anew_as_several(tmp_path):
    path = tmp_path / "events.db"
    everything = await filled(path)
    merge_runs(path)
    [size] = sizes_of(path).values()
    assert size > 10 * RUN_KEYS

    async with closing(await opened(path)) as store:
        assert max(sizes_of(path).values()) <= 1.5 * RUN_KEYS
        # What was in no run yet is one more of them.
        assert size == sum(sizes_of(path).values()) - RUN_KEYS
        assert everything == await store.known(everything)
        await eventually(lambda: not store._writer.keys.filters.cold)
        assert everything == await store.known(everything)
        assert [STORED] * 200 == list(
            await store.append([make_record(f"new {n}") for n in range(200)])
        )


def merge_runs(path: Path) -> None:
    """Make one run of all, as an index did that had not been sealed for long."""
    with closed(sqlite3.connect(path)) as connection, connection:
        [(last,)] = connection.execute("SELECT max(last_seq) FROM sealed_run")
        rows = connection.execute("SELECT bucket, keys FROM key_run NATURAL JOIN sealed_run")
        merged: dict[int, bytes] = {}
        for bucket, part in rows:
            merged[bucket] = merged.get(bucket, b"") + part
        connection.execute("DELETE FROM key_run")
        connection.execute("DELETE FROM sealed_run")
        connection.executemany("INSERT INTO key_run VALUES (0, ?, ?)", merged.items())
        connection.execute("INSERT INTO sealed_run (run, last_seq) VALUES (0, ?)", (last,))


@pytest.mark.parametrize("gone", [0, 5, -1], ids=["the oldest", "one of the middle", "the newest"])
async def test_a_run_can_go_and_the_others_stay_as_they_are(tmp_path, gone):
    path = tmp_path / "events.db"
    everything = await filled(path)
    number = sorted(sizes_of(path))[gone]
    with closed(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT keys FROM key_run WHERE run = ?", (number,)).fetchall()
        connection.execute("DELETE FROM key_run WHERE run = ?", (number,))
        connection.execute("DELETE FROM sealed_run WHERE run = ?", (number,))
    joined = b"".join(keys for (keys,) in rows)
    went = {joined[at : at + 16] for at in range(0, len(joined), 16)}
    before = sizes_of(path)

    async with closing(await opened(path)) as store:
        # The events of the newest run are still there, and their keys are read again.
        kept = everything if gone == -1 else everything - went
        assert kept == await store.known(everything)
        for n in range(20):
            await store.append([make_record(f"new {n}-{m}") for m in range(50)])
        assert kept == await store.known(everything)
    assert before.items() <= sizes_of(path).items()
    async with closing(await opened(path)) as store:
        assert kept == await store.known(everything)
        assert 1000 == len(
            await store.known({key_of(f"new {n}-{m}") for n in range(20) for m in range(50)})
        )


async def test_a_full_disk_at_start_leaves_keys_in_memory_until_they_can_be_sealed(
    tmp_path, monkeypatch
):
    path = tmp_path / "events.db"
    everything = await filled(path)
    with closed(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DELETE FROM sealed_run; DELETE FROM key_run;"
            "CREATE TRIGGER full BEFORE INSERT ON key_run BEGIN SELECT RAISE(FAIL, 'full'); END"
        )

    async with closing(await opened(path)) as store:
        assert everything == await store.known(everything)
        assert {} == sizes_of(path)
        with closed(sqlite3.connect(path)) as connection:
            connection.execute("DROP TRIGGER full")
        for n in range(0, 2 * len(everything), 10):
            await store.append([make_record(f"new {m}") for m in range(n, n + 10)])
        assert sum(sizes_of(path).values()) > len(everything)
        assert everything == await store.known(everything)


async def test_when_memory_runs_out_before_the_commit_nothing_is_stored(tmp_path, monkeypatch):
    path, add, calls = tmp_path / "events.db", bloom.BloomFilter.add, iter(range(1_000_000))

    def scarce(self, run, keys):
        if next(calls) % 3 == 0:
            raise MemoryError
        add(self, run, keys)

    monkeypatch.setattr(bloom.BloomFilter, "add", scarce)
    failed = 0
    async with closing(await opened(path)) as store:
        for n in range(300):
            group = [make_record(f"{n}-{m}") for m in range(3)]
            try:
                outcomes = await store.append(group)
            except StoreError:
                failed += 1
                assert set() == await store.known([one.key for one in group])
                outcomes = await store.append(group)
            assert [STORED] * 3 == list(outcomes)
        assert failed > 10
        keys_stored = [one.key for one in await stored(store)]
        assert 900 == len(keys_stored) == len(set(keys_stored))


async def test_what_fails_after_the_commit_is_made_good_and_nobody_hears_of_it(
    tmp_path, monkeypatch
):
    path, committed, calls = tmp_path / "events.db", keys.KeyIndex.committed, iter(range(10_000))

    def failing(self, *args):
        if next(calls) % 2:
            raise MemoryError
        committed(self, *args)

    monkeypatch.setattr(keys.KeyIndex, "committed", failing)
    async with closing(await opened(path)) as store:
        for n in range(100):
            group = [make_record(f"{n}-{m}") for m in range(5)]
            assert [STORED] * 5 == list(await store.append(group))
            assert [DUPLICATE] * 5 == list(await store.append(group))
        assert 500 == len({one.key for one in await stored(store)}) == len(await stored(store))
        assert 500 >= sum(sizes_of(path).values()) > 300


async def test_the_filter_goes_on_filling_after_the_file_could_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "events.db"
    everything = await filled(path)
    warm, failures = filters.RunFilters.warm, iter([sqlite3.OperationalError("disk I/O error")] * 2)

    def failing(self, db):
        if error := next(failures, None):
            raise error
        warm(self, db)

    monkeypatch.setattr(filters.RunFilters, "warm", failing)
    monkeypatch.setattr(gateway.stores.sqlite, "_WARM_RETRY", 0.01)
    async with closing(await opened(path)) as store:
        await eventually(lambda: not store._writer.keys.filters.cold)
        assert everything == await store.known(everything)
