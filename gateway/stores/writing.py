"""What the writer of an SQLite store knows, and its transactions of events.

Everything here runs on the thread of the database's connection.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from gateway.buckets import Buckets
from gateway.errors import StoreError
from gateway.policy import Expired, RetentionPolicy
from gateway.record import EventRecord, Kind, Outcome
from gateway.store import Count, Departure
from gateway.stores import rejects
from gateway.stores.claim import Claim
from gateway.stores.expiry import Expiry
from gateway.stores.keys import KeyIndex
from gateway.stores.room import NoRoomError, Room
from gateway.stores.rows import Rows, Streams, rows_of, split_duplicates
from gateway.stores.senders import Senders
from gateway.stores.shares import Bound
from gateway.stores.statements import SYNC_SECONDS, in_transaction
from gateway.stores.tallies import Tallies

log = structlog.get_logger()

_LAST = "SELECT max((SELECT coalesce(max(seq), 0) FROM event), (SELECT seq FROM trimmed))"
_KEPT = "SELECT id, key FROM event WHERE seq > ?"
_LARGEST_GROUP = 300_000
"""More records than one transaction holds: the largest batch has 100,000 elements."""

Identity = tuple[bytes, bytes | None]
"""The id and the key of an event."""


class Writer:
    """Appends events, and deletes them for retention.

    Attributes:
        keys: those of what is stored; replaced as a whole.
        last: the sequence of the last event.
        evicted: how many quarantined records of each tenant went.
        sync_seconds: how long each commit of events took to reach the disk.
        erasing: whether `gateway prune` is at work; retention deletes nothing meanwhile.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, claim: Claim, bound: Bound) -> None:
        """Read what *db* holds, which *claim* says to be ours. The quarantine has a *bound*.

        Raises:
            StoreError, sqlite3.Error: it cannot be read.
        """
        [(last,)] = db.execute(_LAST)
        self._path = path
        self._claim = claim
        self._bound = bound
        self.last: int = last
        self._attempted_from = max(0, last - _LARGEST_GROUP)
        # The keys and the last sequence of a commit that the index has not followed yet.
        self._uncounted: tuple[Sequence[bytes], int] | None = None
        self._conflict = ""
        self._own: set[bytes] = set()
        # Of the last transaction, what is no longer in the file.
        self._departed: list[Identity] = []
        self._expiry: Expiry | None = None
        self.keys = KeyIndex(db)
        self.evicted: Counter[tuple[str, str]] = Counter()
        self.sync_seconds = Buckets(SYNC_SECONDS)
        self.erasing = False
        self._begin()

    def _begin(self) -> None:
        """Know nothing of the file that is found out as it is written."""
        self._streams = Streams()
        self._senders = Senders()
        self._quarantine = rejects.Quarantine(self._bound)
        self._tallies = Tallies()

    def append(self, db: sqlite3.Connection, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        """As `gateway.store.Appender.append`."""
        self.check_alone()
        self._catch_up()
        self._attempted_from = self.last
        self._departed = []
        fresh, outcomes = split_duplicates(records, self._held(db, records), self._own)
        streams = self._streams.known
        try:
            rows = rows_of(records, fresh, streams, self._senders.known, self.last)
        except KeyError:
            self._streams.learn(db, records)
            senders = self._senders.learn(db, records)
            rows = rows_of(records, fresh, streams, senders, self.last)
        if rows.values:
            self._commit(db, rows, len(fresh))
        if rows.rejected or len(fresh) < len(records):
            self._tallies.repeats.note(records, outcomes)
        return outcomes

    def check_alone(self) -> None:
        """Raise StoreError if another process has written, or a file is lost."""
        if self._conflict:
            raise StoreError(self._conflict, nothing_kept=True)
        self._claim.check()

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
            self.keys.write(db, len(rows.keys))

        room = self._room

        def make_room() -> None:
            if room is not None:
                room.make(db, added, self.keys.sealed_to)
            work()

        try:
            in_transaction(db, make_room, self.sync_seconds.observe)
        except NoRoomError:
            in_transaction(db, work, self.sync_seconds.observe)
        # Durable: a failure told now would have them sent again. What fails is done again later.
        self._uncounted = uncounted
        with suppress(Exception):
            self._catch_up()
            if room is not None:
                room.committed(added)
            self.evicted.update(evicted)
            if rows.rejected:
                self._quarantine.committed()
            # Last: if it fails, the next step of retention counts anew.
            if self._expiry is not None:
                self._expiry.stored(db, rows, self._quarantine.evicted if rows.rejected else [])

    def _look_for_another_writer(self, db: sqlite3.Connection) -> None:
        [(last,)] = db.execute(_LAST)
        if last > self.last:
            self._conflict = (
                f"{self._path}: another process has written event {last}; restart alone."
            )
            log.error("store_has_another_writer", error=self._conflict)
            raise StoreError(self._conflict, nothing_kept=True)

    def _catch_up(self) -> None:
        if self._uncounted is not None:
            keys, last = self._uncounted
            self.keys.committed(keys, last)
            self.last, self._uncounted = last, None

    def _held(self, db: sqlite3.Connection, records: Sequence[EventRecord]) -> set[bytes]:
        """The keys of *records* that the store has."""
        held = self.keys.held(db, [r.key for r in records if r.key is not None])
        rejected = [r.key for r in records if r.kind == Kind.REJECTED and r.key is not None]
        return held | rejects.held(db, rejected) if rejected else held

    def reconcile(self, db: sqlite3.Connection, ids: set[bytes]) -> None:
        """As `gateway.store.Appender.reconcile`."""
        [(last,)] = db.execute(_LAST)
        if last > self.last:
            # The transaction became durable although its COMMIT failed.
            self.last, self.keys, self._uncounted = last, KeyIndex(db, self.keys), None
        found = [*self._departed, *db.execute(_KEPT, (self._attempted_from,))]
        kept = [row for row in found if row[0] in ids]
        self._own = {record_id for record_id, _ in kept}
        self.keys.remember([record_id for record_id, key in kept if key is None])

    def add_counts(self, db: sqlite3.Connection, counts: Sequence[Count]) -> None:
        """As `gateway.store.Store.add_counts`."""
        self.check_alone()
        self._tallies.write(db, counts)

    @property
    def _room(self) -> Room | None:
        """Deletes with a commit, if retention has a bound, and has seen this file."""
        expiry = self._expiry
        if expiry is None or self.erasing or expiry.keys is not self.keys:
            return None
        return expiry.room

    def deletes_with(self, added: int) -> bool:
        """Whether a commit of so many events would delete some. For any thread."""
        room = self._room
        return room is not None and room.wanted(added) > 0

    def interrupt_expiry(self) -> None:
        """Have what retention deletes end soon. For any thread."""
        if self._expiry is not None:
            self._expiry.interrupt()

    def expire(self, db: sqlite3.Connection, policy: RetentionPolicy, now: int) -> Expired:
        """As `gateway.store.Store.expire`."""
        self.check_alone()
        self._catch_up()
        if self.erasing:
            # Pages that retention makes free are not overwritten.
            return Expired()
        expiry = self._expiry
        # The index may have been replaced, by that of another file even.
        if expiry is None or expiry.keys is not self.keys or expiry.policy != policy:
            expiry = self._expiry = Expiry(policy, self.keys)
        try:
            return expiry.step(db, now, self._attempted_from)
        finally:
            self._departed += expiry.removed
            expiry.removed = []

    def release(
        self, db: sqlite3.Connection, sequences: Collection[int], why: Departure, now: int
    ) -> int:
        """As `gateway.store.Store.release`."""
        self.check_alone()
        self._catch_up()
        if self.erasing:
            # Pages that become free here are not overwritten.
            raise StoreError("A gateway prune is at work; try again after it.", nothing_kept=True)
        self._departed += rejects.departing(db, sequences, self._attempted_from)
        going = rejects.sizes_of(db, sequences)
        released = in_transaction(db, lambda: rejects.release(db, sequences, why, now))
        if self._expiry is not None:
            self._expiry.left(going)
        return released

    def marks(self) -> tuple[int, int]:
        """The sequences up to which keys are in runs, and after which the last append began."""
        self.check_alone()
        self._catch_up()
        return self.keys.sealed_to, self._attempted_from

    def departed(self, found: Sequence[Identity]) -> None:
        """Remember events of the last append that were erased."""
        self._departed.extend(found)
        # It has counted what is gone.
        self._expiry = None

    def renumbered(self) -> None:
        """Forget the numbers of streams, senders and series: they may mean something else."""
        self._streams, self._senders = Streams(), Senders()
        self._tallies.forget_numbers()

    def leave(self, db: sqlite3.Connection) -> tuple[list[Identity], int, int]:
        """Say what a file needs that takes the place of *db*.

        Returns the events of the last append, the last sequence, and the sequence after
        which the new file has to know the ids.
        """
        self._catch_up()
        appended = db.execute(_KEPT, (self._attempted_from,)).fetchall()
        return appended, self.last, max(0, self.last - _LARGEST_GROUP)

    def go_on(self, db: sqlite3.Connection) -> None:
        """Write to *db* from now on, which has taken the place of the former file."""
        self.keys = KeyIndex(db, self.keys)
        self._begin()
