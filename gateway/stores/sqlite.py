"""The default store: one SQLite file, one transaction per group, fsynced."""

import asyncio
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog

from gateway.buckets import Buckets
from gateway.care import Progress, StoreCare
from gateway.errors import StoreError
from gateway.policy import Expired, RetentionPolicy
from gateway.record import EventRecord, Outcome
from gateway.store import Content, Count, Departure, Measures, Pruned, Rotated, Selection
from gateway.stores import rejects
from gateway.stores.blocks import keep, next_blocks
from gateway.stores.contents import ContentSearch
from gateway.stores.database import ENGINE, Database, Engine, open_database
from gateway.stores.filters import RunFilters
from gateway.stores.lookup import Lookup
from gateway.stores.pace import alarm
from gateway.stores.reader import Readings, SqliteReader
from gateway.stores.replacing import finish, list_beside
from gateway.stores.schema import migrations
from gateway.stores.shares import NO_LIMIT, Bound
from gateway.stores.statements import in_transaction
from gateway.stores.url import files_of, path_of
from gateway.stores.writing import Writer

__all__ = ["SqliteStore", "care_for", "files_of", "open_reader", "open_store"]

log = structlog.get_logger()

_REJECTED = "SELECT count(*), coalesce(sum(size), 0) FROM quarantine"
_WARM_RETRY = 1.0
"""Seconds after which the filters are filled on, when the file could not be read."""


class SqliteStore(Readings):
    """Keeps records in the table ``event``, and their keys in a `KeyIndex`; a `Writer` does it."""

    def __init__(self, path: Path, database: Database, lookup: Lookup, writer: Writer) -> None:
        super().__init__(path)
        self._database = database
        self._lookup = lookup
        self._writer = writer
        self._closing: asyncio.Task[None] | None = None
        # How often rows were erased, or the file was replaced.
        self._rewritten = 0
        self._warming = asyncio.create_task(self._warm(), name="key-filter")

    @property
    def evicted(self) -> Mapping[tuple[str, str], int]:
        """How many quarantined records of each tenant went."""
        return self._writer.evicted

    @property
    def _filters(self) -> RunFilters:
        # The index may have been replaced since something was asked of it.
        return self._writer.keys.filters

    async def _warm(self) -> None:
        while self._filters.cold or self._filters.unsaved is not None:
            try:
                await self._database.run(self._warm_some)
            except StoreError as error:
                log.warning("key_filter_waits", error=str(error))
                await asyncio.sleep(_WARM_RETRY)

    def _warm_some(self, db: sqlite3.Connection) -> None:
        if self._filters.cold:
            self._filters.warm(db)
        else:
            self._filters.save(db)

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        work = partial(self._writer.append, records=records)
        if self._writer.deletes_with(len(records)):
            with alarm(self._writer.interrupt_expiry):
                outcomes = await self._database.run(work)
        else:
            outcomes = await self._database.run(work)
        if self._filters.unsaved is not None:
            self._keep_warm()
        return outcomes

    def _keep_warm(self) -> None:
        if self._warming.done() and self._closing is None:
            self._warming = asyncio.create_task(self._warm(), name="key-filter")

    async def reconcile(self, ids: Collection[bytes]) -> None:
        await self._database.run(lambda db: self._writer.reconcile(db, set(ids)))

    async def known(self, keys: Collection[bytes]) -> set[bytes]:
        asked = list(keys)
        return await self._lookup.run(
            lambda db: self._writer.keys.held(db, asked) | rejects.held(db, asked)
        )

    async def contents(
        self, keys: Collection[bytes], seconds: float, max_bytes: int
    ) -> Mapping[bytes, Content]:
        search = ContentSearch(keys, max_bytes)
        # Its clock may be a simulated one.
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not search.ended and loop.time() < until:
            await self._lookup.run(search.step)
        return search.found

    async def add_counts(self, counts: Sequence[Count]) -> None:
        await self._database.run(lambda db: self._writer.add_counts(db, counts))

    @property
    def sync_seconds(self) -> Buckets:
        """As `gateway.store.Measured`."""
        return self._writer.sync_seconds

    async def measures(self) -> Measures:
        """As `gateway.store.Measured`."""
        keys = self._writer.keys
        [(count, size)] = await self._lookup.run(lambda db: db.execute(_REJECTED).fetchall())
        return Measures(keys.in_memory, keys.filters.run_count, count, size)

    async def probe(self) -> None:
        await self._database.write(lambda db: db.execute("UPDATE probe SET count = count + 1"))

    async def put(self, dialect: str, tenant: str, name: str, body: str, now: int) -> None:
        row = (dialect, tenant, name, body, now)
        await self._database.write(
            lambda db: db.execute("REPLACE INTO document VALUES (?, ?, ?, ?, ?)", row)
        )

    async def index(self, seconds: float) -> bool:
        if self._writer.erasing:
            return False
        rewritten = self._rewritten
        made = await self._lookup.run(lambda db: next_blocks(db, seconds))

        def work(db: sqlite3.Connection) -> None:
            self._writer.check_alone()
            # What was read may have been erased, or be of another file.
            if rewritten == self._rewritten and not self._writer.erasing:
                in_transaction(db, lambda: keep(db, made))

        if made:
            await self._database.run(work)
        return bool(made)

    async def expire(self, policy: RetentionPolicy, now: int) -> Expired:
        with alarm(self._writer.interrupt_expiry):
            return await self._database.run(lambda db: self._writer.expire(db, policy, now))

    async def prune(self, wanted: Selection, progress: Progress) -> Pruned:
        if self._writer.erasing:
            raise StoreError("Another gateway prune is at work.")
        from gateway.stores.erasing import erase, left_over  # noqa: PLC0415 - loaded when needed

        path, writer = self._database.claim.path, self._writer
        told = writer.marks, writer.departed, writer.renumbered
        writer.erasing = True
        try:
            done = await erase(self._database, wanted, *told, progress)
        finally:
            writer.erasing = False
            self._rewritten += 1
        return Pruned(*done, left_over(path, wanted))

    async def release(self, sequences: Collection[int], why: Departure, now: int) -> int:
        return await self._database.run(lambda db: self._writer.release(db, sequences, why, now))

    async def rotate(self, progress: Progress) -> Rotated:
        """As `gateway.store.Rotates.rotate`."""
        from gateway.stores.care.rotating import Rotation  # noqa: PLC0415 - loaded when needed

        rotation, writer = Rotation(self._database.claim.path, migrations()), self._writer
        await asyncio.to_thread(rotation.prepare, progress)

        def finish(db: sqlite3.Connection) -> None:
            appended, last, known_from = writer.leave(db)
            rotation.finish(db, last, known_from)
            writer.departed(appended)

        def begin(db: sqlite3.Connection) -> None:
            self._rewritten += 1
            writer.go_on(db)

        # The thread goes on if whoever waits is cancelled: let it finish before others open files.
        async with self._lookup.paused(), self.document_reader.paused():
            exchange = asyncio.ensure_future(self._database.exchange(finish, rotation.swap, begin))
            await asyncio.wait([exchange])
            await exchange
        self._keep_warm()
        return Rotated(str(rotation.sealed.absolute()), writer.last + 1)

    async def close(self) -> None:
        # A separate task: a cancelled caller does not change the order of closing.
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="close-store")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._warming.cancel()
        await asyncio.gather(self._warming, return_exceptions=True)
        try:
            await self._lookup.close()
            await self.document_reader.close()
        finally:
            # Last: only a connection that writes empties the WAL, once no other is open.
            await self._database.close()


async def open_store(
    url: str, max_rejected: int, max_rejected_bytes: int = NO_LIMIT, *, engine: Engine = ENGINE
) -> SqliteStore:
    """Open the store at *url*; as `gateway.stores.open_store`. Creates it if absent.

    Open it before the spool: it finishes a restore that was interrupted.

    Raises:
        StoreError: the file cannot be opened or has a newer schema.
        ValueError: the URL names no file.
    """
    path = path_of(url)
    if list_beside(path).exists():
        # First of all: a restore that was interrupted may be about the spool too.
        await asyncio.to_thread(finish, path)
    database = await open_database(path, migrations(), engine=engine)
    try:
        bound = Bound(max_rejected, max_rejected_bytes)
        writer = await database.run(lambda db: Writer(db, path, database.claim, bound))
    except BaseException:
        await database.close()
        raise
    return SqliteStore(path, database, Lookup(path, engine), writer)


async def open_reader(url: str) -> SqliteReader:
    """Open the store at *url* for reading only, beside whoever writes it.

    Raises:
        StoreError: there is no such file, or it cannot be read.
        ValueError: the URL names no file.
    """
    reader = SqliteReader(path_of(url))
    await reader.open()
    return reader


def care_for(url: str) -> StoreCare:
    """What an operator's commands do to the store at *url*.

    Raises:
        ValueError: the URL names no file.
    """
    from gateway.stores.care.store import SqliteCare  # noqa: PLC0415 - a gateway does not load it

    return SqliteCare(path_of(url))
