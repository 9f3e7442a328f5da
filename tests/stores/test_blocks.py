"""Blocks of an SQLite store: what a search passes over, and that it passes over nothing else."""

import asyncio
import shutil
import sqlite3
from contextlib import closing as closed
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.query import Search
from gateway.record import key_of
from gateway.store import Selection
from gateway.stores import keys
from gateway.stores.blocks import BLOCK
from gateway.stores.reader import SqliteReader
from gateway.stores.sqlite import open_reader, open_store
from tests.records import NOW, closing, make_record

SECOND = 1_000_000
BLOCKS = 5


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A store that is filled once."""
    path = tmp_path_factory.mktemp("blocks") / "events.db"

    async def make():
        async with closing(await open_store(f"sqlite:///{path}", 10)) as store:
            await fill(store)

    asyncio.run(make())
    return path


@pytest.fixture
def path(tmp_path: Path, template: Path) -> Path:
    shutil.copy(template, tmp_path / "events.db")
    return tmp_path / "events.db"


@pytest.fixture
async def store(path):
    async with closing(await open_store(f"sqlite:///{path}", 10)) as opened:
        yield opened


async def fill(store):
    """Events of some blocks, and one more; each block has a subject and a type of its own."""
    for block in range(BLOCKS):
        await store.append(
            [
                make_record(subject=f"s{block}", type=f"t{block}", received_at=NOW + block * SECOND)
                for _ in range(BLOCK)
            ]
        )
    await store.append([make_record(subject="last")])


async def index(store):
    while await store.index(1):
        pass


@pytest.fixture
def scanned(monkeypatch):
    """The ranges of sequences that statements looked through."""
    ranges = []
    rows = SqliteReader._rows

    async def noting(self, sql, values=()):
        if "BETWEEN :low" in sql:
            ranges.append((values["low"], values["high"]))
        return await rows(self, sql, values)

    monkeypatch.setattr(SqliteReader, "_rows", noting)
    return ranges


@pytest.mark.parametrize(
    "wanted",
    [
        {"subject": "s2"},
        {"type": "t2"},
        {"since": NOW + 2 * SECOND, "until": NOW + 3 * SECOND, "dialect": "moesif"},
    ],
)
async def test_a_search_reads_only_blocks_that_may_hold_what_is_wanted(store, scanned, wanted):
    await index(store)

    page = await store.search(Search(**wanted, limit=BLOCK + 10), 60)

    assert BLOCK == len(page.found)
    # The two blocks that the events lie in, because sequences begin with 1, and the newest one.
    assert sum(high - low + 1 for low, high in scanned) <= 3 * BLOCK


async def test_without_blocks_everything_is_found_all_the_same(store, path):
    await index(store)
    before = await store.search(Search(subject="s1", limit=2 * BLOCK), 60)
    with closed(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM block WHERE number <> 3")
        db.commit()

    assert before == await store.search(Search(subject="s1", limit=2 * BLOCK), 60)


async def test_a_search_that_takes_too_long_says_where_to_go_on(store):
    found, pages, before = [], 0, None
    while pages == 0 or before is not None:
        page = await store.search(Search(text='"n"', before=before, limit=10**6), 0)
        found += [sequence for sequence, _ in page.found]
        before, pages = page.before, pages + 1

    assert list(range(BLOCKS * BLOCK + 1, 0, -1)) == found


async def test_a_search_tells_its_progress(store):
    told = []

    await store.search(Search(text="nowhere"), 60, lambda done, total: told.append((done, total)))

    total = BLOCKS * BLOCK + 1
    assert (total, total) == told[-1]
    assert told == sorted(told)


async def test_a_client_id_is_found_through_the_runs_of_keys(store, monkeypatch, scanned):
    monkeypatch.setattr(keys, "RUN_KEYS", 1000)
    first = BLOCKS * BLOCK + 2
    for start in range(0, 5000, 500):
        await store.append(
            [
                replace(make_record(), key=key_of("moesif", "acme", "api_call", f"id-{n}"))
                for n in range(start, start + 500)
            ]
        )

    [(sequence, _)] = (await store.search(Search(id="id-1234"), 60)).found

    assert first + 1234 == sequence
    assert sum(high - low + 1 for low, high in scanned) < BLOCKS * BLOCK


async def test_blocks_whose_events_have_no_ids_of_clients_are_passed_over(store, scanned):
    await index(store)

    assert [] == list((await store.search(Search(id="id-1"), 60)).found)

    assert sum(high - low + 1 for low, high in scanned) < 2 * BLOCK


async def test_an_erased_subject_leaves_no_hash_and_the_rest_is_indexed_again(store, path):
    await index(store)
    await store.prune(Selection(subject="s2"), lambda *_: None)
    with closed(sqlite3.connect(path)) as db:
        numbers = [number for (number,) in db.execute("SELECT number FROM block")]
    assert all(number < 2 for number in numbers)

    await index(store)

    assert [] == list((await store.search(Search(subject="s2"), 60)).found)
    assert BLOCK == len((await store.search(Search(subject="s3", limit=BLOCK + 1), 60)).found)


async def test_blocks_of_deleted_events_go(store, path):
    await index(store)
    with closed(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM event WHERE seq < ?", (3 * BLOCK,))
        db.commit()
    await store.append([make_record() for _ in range(BLOCK)])

    await index(store)

    with closed(sqlite3.connect(path)) as db:
        assert [3, 4, 5] == [number for (number,) in db.execute("SELECT number FROM block")]


async def test_a_store_of_an_older_schema_is_searched_too(store, path):
    await store.close()
    with closed(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE block")
        db.execute("PRAGMA user_version=3")
        db.commit()

    reader = await open_reader(f"sqlite:///{path}")
    try:
        assert 20 == len((await reader.search(Search(subject="s0"), 60)).found)
    finally:
        await reader.close()
