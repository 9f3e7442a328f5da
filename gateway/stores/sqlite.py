"""The default store: one SQLite file, one transaction per group, fsynced."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from gateway.care import Progress, StoreCare
from gateway.errors import StoreError
from gateway.record import EventRecord, Kind, Outcome
from gateway.store import Count, Expired, Pruned, RetentionPolicy, Rotated, Selection
from gateway.stores import rejects
from gateway.stores.blocks import keep, next_blocks
from gateway.stores.database import ENGINE, Database, Engine, open_database
from gateway.stores.expiry import Expiry
from gateway.stores.keys import KeyIndex
from gateway.stores.lookup import Lookup
from gateway.stores.pace import alarm
from gateway.stores.reader import Readings, SqliteReader
from gateway.stores.replacing import finish, list_beside
from gateway.stores.room import NoRoomError, Room
from gateway.stores.rows import Rows, Streams, rows_of, split_duplicates
from gateway.stores.schema import migrations
from gateway.stores.senders import Senders
from gateway.stores.shares import NO_LIMIT, Bound
from gateway.stores.statements import in_transaction
from gateway.stores.tallies import Tallies
from gateway.stores.url import files_of, path_of

__all__ = ["SqliteStore", "care_for", "files_of", "open_reader", "open_store"]

log = structlog.get_logger()

_LAST = "SELECT max((SELECT coalesce(max(seq), 0) FROM event), (SELECT seq FROM trimmed))"
_KEPT = "SELECT id, key FROM event WHERE seq > ?"
_WARM_RETRY = 1.0
"""Seconds after which the filters are filled on, when the file could not be read."""
_LARGEST_GROUP = 300_000
"""More records than one transaction holds: the largest batch has 100,000 elements."""


class SqliteStore(Readings):
    """Keeps records in the table ``event``, and their keys in a `KeyIndex`."""

    def __init__(
        self,
        path: Path,
        database: Database,
        lookup: Lookup,
        last: int,
        keys: KeyIndex,
        bound: Bound,
    ) -> None:
        super().__init__(path)
        self._path = path
        self.evicted: Counter[tuple[str, str]] = Counter()
        self._database = database
        self._lookup = lookup
        self._last = last
        self._keys = keys
        self._bound = bound
        self._quarantine = rejects.Quarantine(bound)
        # The keys and the last sequence of a commit that the index has not followed yet.
        self._uncounted: tuple[Sequence[bytes], int] | None = None
        self._conflict = ""
        self._streams = Streams()
        self._senders = Senders()
        self._tallies = Tallies()
        self._closing: asyncio.Task[None] | None = None
        self._attempted_from = max(0, last - _LARGEST_GROUP)
        self._own: set[bytes] = set()
        # Ids and keys of the last transaction that are no longer in the file.
        self._departed: list[tuple[bytes, bytes | None]] = []
        self._expiry: Expiry | None = None
        self._erasing = False
        # How often rows were erased, or the file was replaced.
        self._rewritten = 0
        self._warming = asyncio.create_task(self._warm(), name="key-filter")

    async def _warm(self) -> None:
        while self._keys.cold or self._keys.unsaved is not None:
            try:
                await self._database.run(self._warm_some)
            except StoreError as error:
                log.warning("key_filter_waits", error=str(error))
                await asyncio.sleep(_WARM_RETRY)

    def _warm_some(self, db: sqlite3.Connection) -> None:
        # The index may have been replaced since this was asked for.
        if self._keys.cold:
            self._keys.warm(db)
        else:
            self._keys.save(db)

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        room = self._room
        if room is None or not room.wanted(len(records)):
            outcomes = await self._database.run(lambda db: self._append(db, records))
        else:
            with alarm(self._interrupt_expiry):
                outcomes = await self._database.run(lambda db: self._append(db, records))
        if self._keys.unsaved is not None:
            self._keep_warm()
        return outcomes

    def _keep_warm(self) -> None:
        if self._warming.done() and self._closing is None:
            self._warming = asyncio.create_task(self._warm(), name="key-filter")

    def _append(self, db: sqlite3.Connection, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        self._check_alone()
        self._catch_up()
        self._attempted_from = self._last
        self._departed = []
        fresh, outcomes = split_duplicates(records, self._held(db, records), self._own)
        streams = self._streams.known
        try:
            rows = rows_of(records, fresh, streams, self._senders.known, self._last)
        except KeyError:
            self._streams.learn(db, records)
            senders = self._senders.learn(db, records)
            rows = rows_of(records, fresh, streams, senders, self._last)
        if rows.values:
            self._commit(db, rows, len(fresh))
        if rows.rejected or len(fresh) < len(records):
            self._tallies.repeats.note(records, outcomes)
        return outcomes

    def _check_alone(self) -> None:
        if self._conflict:
            raise StoreError(self._conflict, nothing_kept=True)
        self._database.claim.check()

    def _commit(self, db: sqlite3.Connection, rows: Rows, added: int) -> None:
        evicted: Mapping[tuple[str, str], int] = {}
        uncounted = rows.keys, rows.last

        def work() -> None:
            nonlocal evicted
            try:
                rows.insert(db)
            except sqlite3.IntegrityError:
                self._look_for_another_writer(db)
                raise
            if rows.rejected:
                evicted = self._quarantine.keep(db, rows.rejected)
            self._keys.write(db, len(rows.keys))

        room = self._room

        def make_room() -> None:
            if room is not None:
                room.make(db, added, self._keys.sealed_to)
            work()

        try:
            in_transaction(db, make_room)
        except NoRoomError:
            in_transaction(db, work)
        # Durable: a failure told now would have them sent again. What fails is done again later.
        self._uncounted = uncounted
        with suppress(Exception):
            self._catch_up()
            if room is not None:
                room.committed(added)
            self.evicted.update(evicted)
            if rows.rejected:
                self._quarantine.committed()

    def _look_for_another_writer(self, db: sqlite3.Connection) -> None:
        [(last,)] = db.execute(_LAST)
        if last > self._last:
            self._conflict = (
                f"{self._path}: another process has written event {last}; restart alone."
            )
            log.error("store_has_another_writer", error=self._conflict)
            raise StoreError(self._conflict, nothing_kept=True)

    def _catch_up(self) -> None:
        if self._uncounted is not None:
            keys, last = self._uncounted
            self._keys.committed(keys, last)
            self._last, self._uncounted = last, None

    def _held(self, db: sqlite3.Connection, records: Sequence[EventRecord]) -> set[bytes]:
        """The keys of *records* that the store has."""
        held = self._keys.held(db, [r.key for r in records if r.key is not None])
        rejected = [r.key for r in records if r.kind == Kind.REJECTED and r.key is not None]
        return held | rejects.held(db, rejected) if rejected else held

    async def reconcile(self, ids: Collection[bytes]) -> None:
        await self._database.run(lambda db: self._reconcile(db, set(ids)))

    def _reconcile(self, db: sqlite3.Connection, ids: set[bytes]) -> None:
        [(last,)] = db.execute(_LAST)
        if last > self._last:
            # The transaction became durable although its COMMIT failed.
            self._last, self._keys, self._uncounted = last, KeyIndex(db, self._keys), None
        found = [*self._departed, *db.execute(_KEPT, (self._attempted_from,))]
        kept = [row for row in found if row[0] in ids]
        self._own = {record_id for record_id, _ in kept}
        self._keys.remember([record_id for record_id, key in kept if key is None])

    async def known(self, keys: Collection[bytes]) -> set[bytes]:
        asked = list(keys)
        return await self._lookup.run(
            lambda db: self._keys.held(db, asked) | rejects.held(db, asked)
        )

    async def add_counts(self, counts: Sequence[Count]) -> None:
        def work(db: sqlite3.Connection) -> None:
            self._check_alone()
            self._tallies.write(db, counts)

        await self._database.run(work)

    async def probe(self) -> None:
        await self._database.write(lambda db: db.execute("UPDATE probe SET count = count + 1"))

    async def put(self, dialect: str, tenant: str, name: str, body: str, now: int) -> None:
        row = (dialect, tenant, name, body, now)
        await self._database.write(
            lambda db: db.execute("REPLACE INTO document VALUES (?, ?, ?, ?, ?)", row)
        )

    async def index(self, seconds: float) -> bool:
        if self._erasing:
            return False
        rewritten = self._rewritten
        made = await self._lookup.run(lambda db: next_blocks(db, seconds))

        def work(db: sqlite3.Connection) -> None:
            self._check_alone()
            # What was read may have been erased, or be of another file.
            if rewritten == self._rewritten and not self._erasing:
                in_transaction(db, lambda: keep(db, made))

        if made:
            await self._database.run(work)
        return bool(made)

    async def expire(self, policy: RetentionPolicy, now: int) -> Expired:
        with alarm(self._interrupt_expiry):
            return await self._database.run(lambda db: self._expire(db, policy, now))

    def _interrupt_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.interrupt()

    @property
    def _room(self) -> Room | None:
        """Deletes with a commit, if retention has a bound, and has seen this file."""
        expiry = self._expiry
        if expiry is None or self._erasing or expiry.keys is not self._keys:
            return None
        return expiry.room

    def _expire(self, db: sqlite3.Connection, policy: RetentionPolicy, now: int) -> Expired:
        self._check_alone()
        self._catch_up()
        if self._erasing:
            # Pages that retention makes free are not overwritten.
            return Expired()
        expiry = self._expiry
        # The index may have been replaced, by that of another file even.
        if expiry is None or expiry.keys is not self._keys or expiry.policy != policy:
            expiry = self._expiry = Expiry(policy, self._keys)
        try:
            return expiry.step(db, now, self._attempted_from)
        finally:
            self._departed += expiry.removed
            expiry.removed = []

    async def prune(self, wanted: Selection, progress: Progress) -> Pruned:
        if self._erasing:
            raise StoreError("Another gateway prune is at work.")
        from gateway.stores.erasing import erase, left_over  # noqa: PLC0415 - loaded when needed

        def marks() -> tuple[int, int]:
            self._check_alone()
            self._catch_up()
            return self._keys.sealed_to, self._attempted_from

        def renumbered() -> None:
            self._streams, self._senders, self._expiry = Streams(), Senders(), None
            self._tallies.forget_numbers()

        def departed(found: Sequence[tuple[bytes, bytes | None]]) -> None:
            # Not its method alone: each append begins with another list.
            self._departed.extend(found)

        path = self._database.claim.path
        self._erasing = True
        try:
            done = await erase(self._database, wanted, marks, departed, renumbered, progress)
        finally:
            self._erasing = False
            self._rewritten += 1
        return Pruned(*done, left_over(path, wanted))

    async def rotate(self, progress: Progress) -> Rotated:
        """As `gateway.store.Rotates.rotate`."""
        from gateway.stores.care.rotating import Rotation  # noqa: PLC0415 - loaded when needed

        rotation = Rotation(self._database.claim.path, migrations())
        await asyncio.to_thread(rotation.prepare, progress)

        def finish(db: sqlite3.Connection) -> None:
            self._catch_up()
            rotated = db.execute(_KEPT, (self._attempted_from,)).fetchall()
            rotation.finish(db, self._last, max(0, self._last - _LARGEST_GROUP))
            self._departed += rotated

        def begin(db: sqlite3.Connection) -> None:
            self._rewritten += 1
            self._keys = KeyIndex(db, self._keys)
            self._streams = Streams()
            self._senders = Senders()
            self._quarantine = rejects.Quarantine(self._bound)
            self._tallies = Tallies()

        # The thread goes on if whoever waits is cancelled: let it finish before others open files.
        async with self._lookup.paused(), self.document_reader.paused():
            exchange = asyncio.ensure_future(self._database.exchange(finish, rotation.swap, begin))
            await asyncio.wait([exchange])
            await exchange
        self._keep_warm()
        return Rotated(str(rotation.sealed.absolute()), self._last + 1)

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
        [(last,)] = await database.run(lambda db: db.execute(_LAST).fetchall())
        keys = await database.run(KeyIndex)
    except BaseException:
        await database.close()
        raise
    lookup = Lookup(path, engine)
    return SqliteStore(path, database, lookup, last, keys, Bound(max_rejected, max_rejected_bytes))


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
