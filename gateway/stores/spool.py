"""The spool: a durable queue on the local disk, for events that go to the store later.

The spool is a separate SQLite file with the durability of the store: when `append` has
returned, the records survive a crash. It drains by itself, oldest records first. A record
is deleted from the spool only after the store has committed it.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec
import structlog

from gateway.errors import Refusal, StoreError
from gateway.record import EventRecord, Outcome, key_of
from gateway.store import Appender
from gateway.stores.database import Database, in_transaction, open_database

log = structlog.get_logger()

_SCHEMA = """
CREATE TABLE spooled (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB,
    record BLOB NOT NULL
);
CREATE UNIQUE INDEX spooled_key ON spooled (key) WHERE key IS NOT NULL;
CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL);
INSERT INTO probe VALUES (1, 0);
"""
_APPEND = "INSERT INTO spooled (key, record) VALUES (?, ?) ON CONFLICT DO NOTHING"
_OLDEST = "SELECT seq, record FROM spooled ORDER BY seq LIMIT ?"
_DROP = "DELETE FROM spooled WHERE seq <= ?"

_CHUNK = 500
_PAUSE = 0.25
"""Seconds between attempts while the store is unavailable."""

# A record's time may be an Instant, a subclass of int, for which msgspec calls enc_hook.
_ENCODE = msgspec.msgpack.Encoder(enc_hook=int).encode
_DECODE = msgspec.msgpack.Decoder(EventRecord).decode


class Spool:
    """Keeps records until the store has them."""

    def __init__(self, database: Database, keys: set[bytes], depth: int, max_events: int) -> None:
        self._database = database
        self._keys = keys
        self._max_events = max_events
        self.depth = depth
        self._filled = asyncio.Event()
        if depth:
            self._filled.set()
        self._task: asyncio.Task[None] | None = None

    def known(self, keys: Collection[bytes]) -> set[bytes]:
        """Return those of *keys* that are in the spool."""
        return self._keys.intersection(keys) if self._keys else set()

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        """Keep *records* until the store has them; return when they are durable.

        Outcomes are QUEUED, or DUPLICATE for a key that is in the spool already.

        Raises:
            StoreError: the write failed, or the spool is full; nothing was kept.
        """
        if self.depth + len(records) > self._max_events:
            raise StoreError("The spool is full.")
        outcomes = await self._database.run(lambda db: _append(db, records))
        for record, outcome in zip(records, outcomes, strict=True):
            if outcome is Outcome.QUEUED:
                self.depth += 1
                if record.key is not None:
                    self._keys.add(record.key)
        self._filled.set()
        return outcomes

    def start(self, target: Appender, drained: Callable[[Sequence[Outcome]], None]) -> None:
        """Start draining into *target*; *drained* is called with the outcomes."""
        self._task = asyncio.create_task(self._drain(target, drained), name="spool-drain")

    async def _drain(self, target: Appender, drained: Callable[[Sequence[Outcome]], None]) -> None:
        unavailable = False
        while True:
            await self._filled.wait()
            try:
                moved = await self._move(target, drained)
            except (StoreError, Refusal) as error:
                if not unavailable:
                    log.warning("spool_waits_for_store", depth=self.depth, error=str(error))
                unavailable = True
                await asyncio.sleep(_PAUSE)
                continue
            except Exception:
                log.exception("spool_drain_failed", depth=self.depth)
                await asyncio.sleep(_PAUSE)
                continue
            if unavailable and moved:
                log.info("spool_drains", depth=self.depth)
                unavailable = False
            if not moved and not self.depth:
                self._filled.clear()

    async def _move(self, target: Appender, drained: Callable[[Sequence[Outcome]], None]) -> int:
        rows = await self._database.run(lambda db: db.execute(_OLDEST, (_CHUNK,)).fetchall())
        if not rows:
            return 0
        records = [_DECODE(blob) for _, blob in rows]
        outcomes = await target.append(records)
        last = rows[-1][0]
        await self._database.run(lambda db: in_transaction(db, lambda: db.execute(_DROP, (last,))))
        self.depth -= len(rows)
        self._keys.difference_update(record.key for record in records if record.key)
        drained(outcomes)
        return len(rows)

    async def probe(self) -> None:
        """Return if an event could be queued now, else raise StoreError."""
        if self.depth >= self._max_events:
            raise StoreError("The spool is full.")
        await self._database.run(
            lambda db: in_transaction(db, lambda: db.execute("UPDATE probe SET count = count + 1"))
        )

    async def close(self) -> None:
        """Stop draining and close the file; the rest is drained after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._database.close()


def _append(db: sqlite3.Connection, records: Sequence[EventRecord]) -> list[Outcome]:
    def work() -> list[Outcome]:
        return [
            Outcome.QUEUED
            if db.execute(_APPEND, (record.key, _ENCODE(_with_key(record)))).rowcount
            else Outcome.DUPLICATE
            for record in records
        ]

    return in_transaction(db, work)


def _with_key(record: EventRecord) -> EventRecord:
    """Return the record, with a new key if it had none.

    If the process dies after the store's commit but before the spool's delete, the
    record is sent again. Its key then makes it a duplicate.
    """
    if record.key is not None:
        return record
    return msgspec.structs.replace(record, key=key_of("spooled", record.id))


async def open_spool(path: Path, max_events: int) -> Spool:
    """Open the spool at *path*, with the records of an earlier run; create it if absent.

    Raises:
        StoreError: the file cannot be opened.
    """
    database = await open_database(path, [_SCHEMA])
    try:
        keys = await database.run(
            lambda db: [key for (key,) in db.execute("SELECT key FROM spooled")]
        )
    except BaseException:
        await database.close()
        raise
    return Spool(database, {key for key in keys if key is not None}, len(keys), max_events)
