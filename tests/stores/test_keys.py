"""The key index of the SQLite store, with small runs so that they are sealed often."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.record import key_of
from gateway.stores import keys
from gateway.stores.memory import MemoryStore
from gateway.stores.sqlite import SqliteStore, open_store
from tests.records import closing, make_record, make_rejected, stored

SMALL = {
    "RUN_KEYS": 64,
    "_SLICE": 1,
    "_SLOTS": 1 << 10,  # so few that most keys are suspected somewhere
    "_MASK": (1 << 10) - 1,
    "_RUNS_A_FILTER": 3,
    "_WARM_BUCKETS": 50,
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in SMALL.items():
        monkeypatch.setattr(keys, name, value)
    yield


def opened(path: Path):
    return open_store(f"sqlite:///{path}", 20)


class Twins:
    """The SQLite store and the memory store, which must agree whatever is done to both."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.names: list[str] = []
        self.lives = 0
        self.model = MemoryStore(20)
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
        everything = {
            key_of(f"{kind} {name}")
            for name in self.names
            for kind in ("make_record", "make_rejected")
        }
        assert await self.model.known(everything) == await self.store.known(everything)
        assert await stored(self.model) == await stored(self.store)


@pytest.mark.parametrize("seed", range(4))
async def test_the_key_index_always_agrees_with_a_set(tmp_path, seed):
    twins = Twins(tmp_path, seed)
    await twins.open()
    try:
        for step in range(400):
            await twins.append()
            if twins.random.random() < 0.02:
                await twins.reopen()
            if twins.random.random() < 0.02:
                await twins.crash()
            if step % 100 == 99:
                await twins.compare()
        assert len(twins.store._keys._sealed) > SMALL["_RUNS_A_FILTER"] + 1
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
        assert store._keys.cold
        assert everything == await store.known(everything)
        while store._keys.cold:
            assert {key_of("0-0")} == await store.known([key_of("0-0"), key_of("x")])
        assert everything == await store.known(everything)


async def test_closing_while_the_filter_fills_is_safe(tmp_path):
    everything = await filled(tmp_path / "events.db")
    for _ in range(10):
        async with closing(await opened(tmp_path / "events.db")):
            pass

    async with closing(await opened(tmp_path / "events.db")) as store:
        assert everything == await store.known(everything)
