"""The write-ahead log: how large it stays, and what a former process has left in it."""

import sqlite3
from contextlib import closing as closed

from gateway.stores.sqlite import open_store
from tests.records import closing, make_record

MIB = 1 << 20


def large_record():
    return make_record(data=f'"{"x" * (4 * MIB)}"')


async def test_the_wal_is_cut_after_a_long_read_has_made_it_large(tmp_path):
    path, wal = tmp_path / "events.db", tmp_path / "events.db-wal"
    async with closing(await open_store(f"sqlite:///{path}", 10)) as store:
        with closed(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            for _ in range(25):
                await store.append([large_record()])
        assert wal.stat().st_size > 100 * MIB

        for _ in range(6):
            await store.append([large_record()])
        assert wal.stat().st_size <= 64 * MIB
