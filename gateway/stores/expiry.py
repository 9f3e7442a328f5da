"""Retention of an SQLite store: small steps on the writer's thread, between transactions.

For each age there is a cursor that moves once over the events, in their order: what lies
behind it is deleted or has another age. A cursor rests until the next event is old enough.
"""

import sqlite3
import time
from collections.abc import Callable
from functools import partial

import msgspec

from gateway.errors import StoreError
from gateway.store import Expired, RetentionPolicy
from gateway.stores.database import in_transaction
from gateway.stores.keyexpiry import KeyExpiry
from gateway.stores.keys import KeyIndex
from gateway.stores.removal import Marks, Range, Removed, remove

_SECONDS = 0.004
"""What a step may take; the number of its rows follows from that."""

_LONGEST = 0.05
"""Seconds after which a step is given up, to be made again with fewer rows."""

_ROWS = 32, 4096
"""The rows of a step: those of the first one, and the most."""

_FULL = 0.97
"""The share of the bound that is kept: the file grows to its largest size and never shrinks."""

_WATCHED = 1000
"""Instructions of SQLite between two looks at the clock."""

_FOREVER = 1 << 62
_SECOND = 1_000_000

_STREAMS = "SELECT id, dialect, tenant, kind FROM stream"
_NEWEST_STREAM = "SELECT coalesce(max(id), 0) FROM stream"
# The last row of a step, and the first one that is not old enough. What seems to come from the
# future was received while the clock was wrong: it is passed over until the next start.
_AHEAD = """
SELECT count(*), max(seq), min(CASE WHEN received_at > :limit AND received_at <= :now
    AND (:streams IS NULL OR stream IN (SELECT value FROM json_each(:streams))) THEN seq END)
FROM (SELECT seq, received_at, stream FROM event WHERE seq > :after ORDER BY seq LIMIT :rows)
"""
_RECEIVED = "SELECT received_at FROM event WHERE seq = ?"
_SPAN = "SELECT min(seq), max(seq) FROM event"


class _Cursor:
    """How far the events of one age are done.

    `streams` is a JSON array; None means all.
    """

    def __init__(self, max_age: int, streams: str | None) -> None:
        self.max_age = max_age
        self.streams = streams
        self.after = 0
        self.deleted_to = 0
        self.due = 0


class Expiry:
    """Makes the steps. Everything happens on the thread of the database's connection."""

    def __init__(self, policy: RetentionPolicy, keys: KeyIndex) -> None:
        self.policy = policy
        self.keys = keys
        self.removed: list[tuple[bytes, bytes | None]] = []
        self._key_expiry = KeyExpiry(keys)
        self._cursors: list[_Cursor] = []
        self._trimmed_to = 0
        self._newest_stream = -1
        self._rows = _ROWS[0]

    def step(self, db: sqlite3.Connection, now: int, attempted: int) -> Expired:
        """Do some of what is to be done at *now*. The last append began after *attempted*.

        Raises:
            StoreError, sqlite3.Error: nothing was deleted, or that is unknown.
        """
        self._sort_streams(db)
        over = self._excess(db)
        pressing = self.policy.max_bytes is not None and over > (1 - _FULL) * self.policy.max_bytes
        marks = Marks(self.keys.sealed_to, attempted)
        for cursor in self._cursors:
            if cursor.due <= now:
                events = self._bounded(db, partial(self._pass, db, cursor, now, marks))
                return Expired(by_age=events, more=True, pressing=pressing)
        if over > 0 and (events := self._bounded(db, partial(self._trim, db, over, now, marks))):
            return Expired(by_size=events, more=True, pressing=pressing)
        return Expired(more=self._key_expiry.step(db), pressing=False)

    def _sort_streams(self, db: sqlite3.Connection) -> None:
        """Give each stream to the cursor of its age, whenever there are new ones."""
        [(newest,)] = db.execute(_NEWEST_STREAM)
        if newest == self._newest_stream:
            return
        by_age: dict[int | None, list[int]] = {}
        for number, *names in db.execute(_STREAMS):
            by_age.setdefault(self.policy.max_age_of(*names), []).append(number)
        before = {cursor.max_age: cursor for cursor in self._cursors}
        self._cursors = []
        for max_age, numbers in by_age.items():
            if max_age is not None:
                streams = None if len(by_age) == 1 else msgspec.json.encode(numbers).decode()
                cursor = before.get(max_age, _Cursor(max_age, streams))
                cursor.streams = streams
                self._cursors.append(cursor)
        self._newest_stream = newest

    def _pass(self, db: sqlite3.Connection, cursor: _Cursor, now: int, marks: Marks) -> int:
        """Move a cursor on, and delete what it passes and is old enough."""
        limit = now - cursor.max_age
        ahead = {"limit": limit, "now": now, "streams": cursor.streams, "after": cursor.after}
        [(rows, last, stop)] = db.execute(_AHEAD, {**ahead, "rows": self._rows})
        to = cursor.after if last is None else last if stop is None else stop - 1
        events = self._remove(db, Range(cursor.after, to, limit, cursor.streams), marks, "age", now)
        if events:
            self._key_expiry.passed(db, cursor.deleted_to, to)
            cursor.deleted_to = to
        cursor.after = to
        if stop is not None:
            [(received_at,)] = db.execute(_RECEIVED, (stop,))
            cursor.due = received_at + cursor.max_age
        elif rows < self._rows:
            cursor.due = now + min(cursor.max_age, _SECOND)
        return events

    def _excess(self, db: sqlite3.Connection) -> int:
        """How many bytes are in use beyond those that are kept."""
        if self.policy.max_bytes is None:
            return 0
        pages, free, size = (
            int(db.execute(f"PRAGMA {what}").fetchone()[0])
            for what in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size - self.policy.max_bytes * _FULL)

    def _trim(self, db: sqlite3.Connection, over: int, now: int, marks: Marks) -> int:
        """Delete the oldest events, as many as may have *over* bytes, but not too many at once."""
        [(first, last)] = db.execute(_SPAN)
        if first is None:
            return 0
        share = over / (over + _FULL * (self.policy.max_bytes or 0))
        rows = max(1, min(self._rows, int(share * (last - first + 1))))
        [(_, to, _)] = db.execute(
            _AHEAD, {"limit": _FOREVER, "now": now, "streams": None, "after": 0, "rows": rows}
        )
        events = self._remove(db, Range(0, to, _FOREVER, None), marks, "size", now)
        self._key_expiry.passed(db, self._trimmed_to, to)
        self._trimmed_to = to
        return events

    def _remove(
        self, db: sqlite3.Connection, which: Range, marks: Marks, cause: str, now: int
    ) -> int:
        if which.to <= which.after:
            return 0
        removed: Removed = in_transaction(db, lambda: remove(db, which, marks, cause, now))
        self.removed += removed.attempted
        return removed.events

    def _bounded(self, db: sqlite3.Connection, work: Callable[[], int]) -> int:
        """Do *work*, which deletes events, and choose how many rows the next step has."""
        started = time.perf_counter()
        longest = _LONGEST if self._rows > 1 else float("inf")
        db.set_progress_handler(lambda: time.perf_counter() > started + longest, _WATCHED)
        try:
            return work()
        except (StoreError, sqlite3.OperationalError):
            if time.perf_counter() <= started + longest:
                raise
            # Rows were much larger than those of the last step.
            return 0
        finally:
            db.set_progress_handler(None, _WATCHED)
            share = _SECONDS / max(time.perf_counter() - started, _SECONDS / 2)
            self._rows = max(1, min(_ROWS[1], round(self._rows * share)))
