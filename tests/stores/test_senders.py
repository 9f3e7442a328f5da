"""What an SQLite file keeps of those who send events."""

import sqlite3
from contextlib import closing as closed
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.store import MAX_SENDERS, OTHER
from gateway.stores.sqlite import open_store
from tests.records import closing, make_record, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


async def test_the_bound_on_user_agents_holds_over_restarts_and_for_each_credential(path):
    for life in range(3):
        async with closing(await open_store(f"sqlite:///{path}", 1)) as store:
            for part in range(3):
                names = [f"life {life}, part {part}, {n}" for n in range(MAX_SENDERS // 4)]
                senders = [f"{one} {name}" for one in ("4f2a9c01", "b7e1aa00") for name in names]
                await store.append([make_record(sender=sender) for sender in senders])

    with closed(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT credential, count(*) FROM sender GROUP BY credential").fetchall()
        others = db.execute("SELECT credential FROM sender WHERE user_agent = ?", (OTHER,))
        assert [("4f2a9c01",), ("b7e1aa00",)] == others.fetchall()
    assert [("4f2a9c01", MAX_SENDERS + 1), ("b7e1aa00", MAX_SENDERS + 1)] == rows


async def test_a_sender_whose_number_could_not_be_written_gets_it_with_the_next_attempt(path):
    async with closing(await open_store(f"sqlite:///{path}", 1)) as store:
        record = make_record()
        with closed(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked"):
                await store.append([record])
            other.execute("ROLLBACK")
        await store.append([record])
        assert [record] == await stored(store)


async def test_a_sender_takes_at_most_eight_bytes_of_an_event(tmp_path):
    sizes = []
    for names in (None, [f"4f2a9c01 {n}" for n in range(MAX_SENDERS)]):
        path = tmp_path / f"{len(sizes)}.db"
        records = [make_record(sender=names and names[n % MAX_SENDERS]) for n in range(5000)]
        async with closing(await open_store(f"sqlite:///{path}", 1)) as store:
            await store.append(records)
        with closed(sqlite3.connect(path)) as db:
            db.execute("VACUUM")
        sizes.append(path.stat().st_size)

    assert 0 <= sizes[1] - sizes[0] <= 8 * 5000
