"""Transactions that became durable although their COMMIT failed."""

import asyncio
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.errors import StoreError
from gateway.record import Outcome
from gateway.store import Selection
from gateway.stores.database import Engine
from gateway.stores.sqlite import open_store
from tests.records import closing, make_record, sequences, stored


class _Connection(sqlite3.Connection):
    """A connection that fails after the next COMMIT, once it is told to."""

    failing = False

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        cursor = super().execute(sql, *values)
        if sql == "COMMIT" and _Connection.failing:
            _Connection.failing = False
            raise sqlite3.OperationalError("disk I/O error")
        return cursor


def _connect(target: str, **settings: Any) -> sqlite3.Connection:
    made: sqlite3.Connection = sqlite3.connect(target, factory=_Connection, **settings)
    return made


@pytest.fixture(autouse=True)
def sound() -> Iterator[None]:
    yield
    _Connection.failing = False


async def test_our_own_attempts_stay_known_when_the_index_is_read_again(tmp_path):
    url, keyless = f"sqlite:///{tmp_path}/events.db", make_record()
    async with closing(await open_store(url, 10)) as store:
        await store.append([keyless])
    async with closing(await open_store(url, 10, engine=Engine(connect=_connect))) as store:
        # It waits in the spool as well, as after a crash.
        await store.reconcile([keyless.id])
        # Afterwards a transaction is all that an append needs.
        await store.append([make_record("first")])
        other = make_record("other")
        _Connection.failing = True
        with pytest.raises(StoreError):
            await store.append([other])
        # It was kept all the same, and the index of keys is read again.
        await store.reconcile([other.id])

        again = await store.append([keyless.with_key(), other])

        assert [Outcome.DUPLICATE, Outcome.STORED] == list(again)
        assert [1, 2, 3] == await sequences(store)


async def test_what_was_erased_while_its_outcome_was_unknown_does_not_come_back(tmp_path):
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store:
        await store.append([make_record(f"{n}", subject="other") for n in range(9000)])
        begun = asyncio.Event()
        pruning = asyncio.create_task(store.prune(Selection(subject="Ada"), lambda *_: begun.set()))
        await begun.wait()
        keyless = make_record(subject="Ada")
        await store.append([keyless])
        assert 1 == (await pruning).events

        # It waits in the spool as well: whoever sent it was told nothing.
        await store.reconcile([keyless.id])
        assert [Outcome.STORED] == list(await store.append([keyless]))

        assert [] == await stored(store, subject="Ada")
