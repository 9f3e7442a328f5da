"""The spool: a durable queue on the local disk, for events that go to the store later.

The spool is an SQLite file of its own, written with the same care as the store:
what `append` returned for survives a crash. `gateway.intake.drain` moves its
records on, oldest first.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from gateway.buckets import Buckets
from gateway.errors import StoreError
from gateway.record import EventRecord, Outcome
from gateway.store import Content
from gateway.stores.database import ENGINE, Database, Engine, open_database
from gateway.stores.schema import SPOOL

_APPEND = "INSERT INTO spooled (key, record) VALUES (?, ?) ON CONFLICT DO NOTHING"
_HELD = "SELECT record FROM spooled WHERE key = ?"
_IDENTITIES = "SELECT key FROM spooled"
_SIZES = "SELECT seq, length(record) FROM spooled ORDER BY seq LIMIT ?"
_OLDEST = "SELECT record FROM spooled WHERE seq <= ? ORDER BY seq"
_FIRST = "SELECT record FROM spooled ORDER BY seq LIMIT 1"
_ALL = "SELECT seq, record FROM spooled"
_DROP = "DELETE FROM spooled WHERE seq <= ?"

# A record's time may be of a class of int, which msgspec asks about.
_ENCODE = msgspec.msgpack.Encoder(enc_hook=int).encode
_DECODE = msgspec.msgpack.Decoder(EventRecord).decode


MAX_ERASED = 10_000
"""More records are not looked through and written anew at once."""


class Piece(msgspec.Struct, frozen=True):
    """The oldest records of a spool, up to its sequence `last`."""

    records: list[EventRecord]
    last: int


class Spool:
    """Holds records until the store has them. `filled` is set while it holds any."""

    def __init__(self, database: Database, max_events: int) -> None:
        self._database = database
        self._max_events = max_events
        self._identities: set[bytes] = set()
        self.depth = 0
        self.filled = asyncio.Event()
        # Held from `peek` to `drop`: what is erased meanwhile would come back with the piece.
        self.moving = asyncio.Lock()

    @property
    def identities(self) -> Collection[bytes]:
        """The identity of each record that waits here."""
        return self._identities

    def known(self, identities: Collection[bytes]) -> set[bytes]:
        """Which of *identities* wait here."""
        return self._identities.intersection(identities) if self._identities else set()

    async def contents(self, identities: Collection[bytes], max_bytes: int) -> dict[bytes, Content]:
        """What waits here of the records with *identities*; it ends after *max_bytes* bytes.

        Raises StoreError.
        """
        asked = self.known(identities)

        def work(db: sqlite3.Connection) -> dict[bytes, Content]:
            found: dict[bytes, Content] = {}
            room = max_bytes
            for identity in asked:
                for (blob,) in db.execute(_HELD, (identity,)):
                    room -= len(blob)
                    if room < 0:
                        return found
                    record = _DECODE(blob)
                    found[identity] = Content(record.id, record.data)
            return found

        return await self._database.run(work) if asked else {}

    @property
    def max_events(self) -> int:
        """How many records it holds at most."""
        return self._max_events

    @property
    def sync_seconds(self) -> Buckets:
        """How long each commit took to reach the disk."""
        return self._database.sync_seconds

    async def oldest(self) -> int | None:
        """When the oldest record was received, in microseconds of Unix time. Raises StoreError."""
        if not self.depth:
            return None
        rows = await self._database.run(lambda db: db.execute(_FIRST).fetchall())
        return _DECODE(rows[0][0]).received_at if rows else None

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        """Keep *records* until the store has them; return when they are durable.

        Outcomes are QUEUED, or DUPLICATE for an identity that waits here already.

        Raises:
            StoreError: the spool is full, and nothing was kept; or the disk refused, and
                `reconcile` has to find out what was kept.
        """
        if self.depth + len(records) > self._max_events:
            raise StoreError("The spool is full.")
        outcomes, queued = await self._database.write(lambda db: _append(db, records))
        before = len(self._identities)
        self._identities |= queued
        self.depth += len(self._identities) - before
        self._tell_whether_filled()
        return outcomes

    async def reconcile(self, ids: Collection[bytes]) -> None:
        """Find out what the file holds, as after an append whose outcome is unknown."""
        found = await self._database.run(lambda db: db.execute(_IDENTITIES).fetchall())
        # A former version wrote no identity for records without a key.
        self._identities = {identity for (identity,) in found if identity is not None}
        self.depth = len(found)
        self._tell_whether_filled()

    def _tell_whether_filled(self) -> None:
        if self.depth:
            self.filled.set()
        else:
            self.filled.clear()

    async def peek(self, max_records: int, max_bytes: int) -> Piece:
        """The oldest records, at most so many and of so many bytes together, but at least one."""

        def work(db: sqlite3.Connection) -> tuple[list[tuple[bytes]], int]:
            last, size = 0, 0
            for seq, length in db.execute(_SIZES, (max_records,)):
                size += length
                if last and size > max_bytes:
                    break
                last = seq
            return db.execute(_OLDEST, (last,)).fetchall(), last

        rows, last = await self._database.run(work)
        return Piece([_DECODE(blob) for (blob,) in rows], last)

    async def drop(self, piece: Piece) -> None:
        """Forget the records of *piece*, the oldest ones: the store has them."""
        sql = (_DROP, (piece.last,))
        # Some of them may have been erased meanwhile.
        deleted = await self._database.write(lambda db: db.execute(*sql).rowcount)
        # Not in one statement: `depth` would be read before others add to it.
        self.depth -= deleted
        self._identities.difference_update(record.identity for record in piece.records)
        self._tell_whether_filled()

    async def erase(self, chosen: Callable[[EventRecord], bool]) -> int:
        """Erase *chosen* records, of which no byte remains in the file; return how many.

        Raises:
            StoreError: it is not complete, and has to be done again.
        """
        if self.depth > MAX_ERASED:
            raise StoreError(f"The spool holds {self.depth:,} events. Prune once it has drained.")

        def work(db: sqlite3.Connection) -> int:
            rows = db.execute(_ALL).fetchall()
            gone = [(seq,) for seq, blob in rows if chosen(_DECODE(blob))]
            db.executemany("DELETE FROM spooled WHERE seq = ?", gone)
            return len(gone)

        async with self.moving:
            erased = await self._database.write(work)
            # What has drained was deleted too: the file is written anew, without what is unused.
            await self._database.run(lambda db: db.execute("VACUUM"))
            await self._database.empty_wal()
            await self.reconcile(())
        return erased

    async def probe(self) -> None:
        """Return if an event could be queued now, else raise StoreError."""
        if self.depth >= self._max_events:
            raise StoreError("The spool is full.")
        await self._database.write(lambda db: db.execute("UPDATE probe SET count = count + 1"))

    async def close(self) -> None:
        """Close the file; what is left waits for the next start."""
        await self._database.close()


def _append(
    db: sqlite3.Connection, records: Sequence[EventRecord]
) -> tuple[list[Outcome], set[bytes]]:
    """The outcome of each record, and the identities of those that are in the spool now."""

    def keep(record: EventRecord) -> Outcome:
        row = (record.identity, _ENCODE(record.with_key()))
        if db.execute(_APPEND, row).rowcount:
            return Outcome.QUEUED
        # It may be our own earlier attempt, whose outcome was unknown.
        [(held,)] = db.execute(_HELD, (record.identity,))
        return Outcome.QUEUED if _DECODE(held).id == record.id else Outcome.DUPLICATE

    outcomes = [keep(record) for record in records]
    pairs = zip(records, outcomes, strict=True)
    return outcomes, {record.identity for record, one in pairs if one is Outcome.QUEUED}


async def open_spool(path: Path, max_events: int, *, engine: Engine = ENGINE) -> Spool:
    """Open the spool at *path*, with the records of an earlier run; create it if absent.

    Raises:
        StoreError: the file cannot be opened.
    """
    database = await open_database(path, [SPOOL], engine=engine)
    spool = Spool(database, max_events)
    try:
        await spool.reconcile(())
    except BaseException:
        await database.close()
        raise
    return spool
