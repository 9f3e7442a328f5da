"""Records for tests, and short ways to read a store."""

import asyncio
import itertools
import resource
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from gateway.record import EventRecord, Kind, key_of, new_id
from gateway.store import Selection, Store

NOW = 1_700_000_000_000_000

_count = itertools.count()


def make_record(key: str | None = None, **changes: Any) -> EventRecord:
    """A record; *key* is any text that is to make it the same event."""
    fields = {
        "id": new_id(NOW),
        "dialect": "moesif",
        "tenant": "acme",
        "kind": "api_call",
        "type": "GET",
        "subject": "user-1",
        "time": NOW - 5,
        "received_at": NOW,
        "client_address": "127.0.0.1",
        "key": None if key is None else key_of(key),
        "data": f'{{"n":{next(_count)}}}',
        "sender": "4f2a9c01 client/1.0",
    }
    return EventRecord(**{**fields, **changes})


def make_rejected(key: str, **changes: Any) -> EventRecord:
    """A quarantined record."""
    return make_record(key, kind=Kind.REJECTED, type="invalid", subject=None, **changes)


async def stored(store: Store, **wanted: Any) -> list[EventRecord]:
    """The records that *store* holds, in order."""
    return [record async for _, record in store.read(Selection(**wanted))]


async def sequences(store: Store, **wanted: Any) -> list[int]:
    """The sequences that *store* holds, in order."""
    return [sequence async for sequence, _ in store.read(Selection(**wanted))]


async def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until *condition* gives something true, awaiting it if need be; return that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of the database at *path*, as another process would."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow, as on a disk without space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@asynccontextmanager
async def closing(thing: Any) -> AsyncIterator[Any]:
    """Close *thing* at the end, by its own ``close``."""
    try:
        yield thing
    finally:
        await thing.close()
