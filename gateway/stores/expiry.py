"""Retention of an SQLite store: small steps on the writer's thread, between transactions.

For each age there is a cursor that moves once over the events, in their order: what lies
behind it is deleted or has another age. A cursor rests until the next event is old enough.
What goes by the bound of a rule is in `gateway/stores/volumes.py`.

A step has few statements: after each one the thread has to win Python's lock back from a
busy event loop. While events arrive, those that make room for them go with their commits
(`gateway/stores/room.py`); the steps measure how many, and do the rest.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from gateway.policy import Expired, RetentionPolicy
from gateway.stores.keyexpiry import KeyExpiry
from gateway.stores.keys import KeyIndex
from gateway.stores.pace import Pace, TooSlowError
from gateway.stores.rejects import Evicted
from gateway.stores.removal import FOREVER, Marks, Range, remove
from gateway.stores.room import Room
from gateway.stores.rows import Rows
from gateway.stores.statements import in_transaction
from gateway.stores.volumes import Volumes

_FULL = 0.97
"""The share of the bound that is kept: the file grows to its largest size and never shrinks."""

_SECOND = 1_000_000

_STREAMS = "SELECT id, dialect, tenant, kind FROM stream"
_STATE = """
SELECT (page_count - freelist_count) * page_size,
    (SELECT coalesce(max(id), 0) FROM stream),
    (SELECT min(seq) FROM event),
    (SELECT max(seq) FROM event),
    (SELECT coalesce(min(seq), 1 << 62) FROM quarantine),
    (SELECT seq FROM trimmed)
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
# The last row of a step, and the first one that is not old enough. What seems to come from the
# future was received while the clock was wrong: it is passed over until the next start.
_AHEAD = """
SELECT count(*), max(seq), min(CASE WHEN received_at > :limit AND received_at <= :now
    AND (:streams IS NULL OR stream IN (SELECT value FROM json_each(:streams))) THEN seq END)
FROM (SELECT seq, received_at, stream FROM event WHERE seq > :after ORDER BY seq LIMIT :rows)
"""
_SLACK = 200
"""The share of the bound, as a divisor, that may be too much: commits, or large steps, end it."""

_RECEIVED = "SELECT received_at FROM event WHERE seq = ?"


class _State(NamedTuple):
    """The bytes in use, and the ends of some tables."""

    used: int
    newest_stream: int
    first: int | None
    last: int | None
    first_rejected: int
    trimmed: int

    @property
    def given(self) -> int:
        """The highest sequence that an event has, or had."""
        return max(self.last or 0, self.trimmed)

    @property
    def events(self) -> int:
        """How many there are, or more: where there are holes these are fewer."""
        return 0 if self.first is None or self.last is None else self.last - self.first + 1


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
    """Makes the steps. All but `interrupt` happens on the thread of the database's connection."""

    def __init__(self, policy: RetentionPolicy, keys: KeyIndex) -> None:
        self.policy = policy
        self.keys = keys
        self.removed: list[tuple[bytes, bytes | None]] = []
        self._key_expiry = KeyExpiry(keys)
        self._cursors: list[_Cursor] = []
        self._volumes = Volumes(policy, 0)
        self._rules_turn = False
        self._trimmed_to = 0
        self._newest_stream = -1
        self._pace = Pace()
        self.interrupt = self._pace.interrupt
        self.room = Room(self._pace)

    def step(self, db: sqlite3.Connection, now: int, attempted: int) -> Expired:
        """Do some of what is to be done at *now*. The last append began after *attempted*.

        Raises:
            StoreError, sqlite3.Error: nothing was deleted, or that is unknown.
        """
        started = time.thread_time()
        state = _State(*db.execute(_STATE).fetchall()[0])
        self._sort_streams(db, state.newest_stream)
        self._follow_room(db)
        if self._volumes.counted_to < state.given:
            # At the first step, or after counting has failed.
            self._volumes = Volumes(self.policy, state.given)
        bound = self.policy.max_bytes
        over = 0 if bound is None else state.used - int(bound * _FULL)
        by_age = by_size = 0
        more = True
        marks = Marks(self.keys.sealed_to, attempted, state.first_rejected, state.last or 0)
        cursor = next((one for one in self._cursors if one.due <= now), None)
        # In turns: what a rule has to do may take hours, and the bound of all may not wait.
        too_large = over > (bound or 0) // _SLACK and state.first is not None
        others = cursor is not None or too_large
        self._rules_turn = self._volumes.due and not (self._rules_turn and others)
        if self._rules_turn:
            by_size = self._paced(db, partial(self._reduce, db, now, marks))
        elif cursor is not None:
            by_age = self._paced(db, partial(self._pass, db, cursor, now, marks))
        elif too_large:
            by_size = self._paced(db, partial(self._trim, db, over, now, state, marks))
        else:
            more = self._key_expiry.step(db)
        if bound is not None:
            due = state.events * over / state.used - by_age - by_size
            self.room.settle(due, state.first or 0, marks, now)
        made, self.room.deleted = self.room.deleted, 0
        return Expired(
            by_age=by_age,
            by_size=by_size + made,
            seconds=time.thread_time() - started,
            more=more,
            pressing=self._volumes.pressing
            or (bound is not None and state.used > bound and by_age + by_size > 0),
        )

    def stored(self, db: sqlite3.Connection, rows: Rows, evicted: Sequence[Evicted]) -> None:
        """Count what a commit has inserted, and what left the quarantine by it."""
        if self._volumes:
            self._volumes.add(db, rows.sequences, rows.streams, rows.data)
            self.left(evicted)

    def left(self, released: Sequence[Evicted]) -> None:
        """Count no longer what has left the quarantine."""
        self._volumes.left(released)

    def _follow_room(self, db: sqlite3.Connection) -> None:
        """Look at the keys of events that commits have deleted."""
        if self.room.deleted_to > self._trimmed_to:
            self._key_expiry.passed(db, self._trimmed_to, self.room.deleted_to)
            self._trimmed_to = self.room.deleted_to

    def _sort_streams(self, db: sqlite3.Connection, newest: int) -> None:
        """Give each stream to the cursor of its age, whenever there are new ones."""
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
        asked = self._pace.rows
        [(rows, last, stop)] = db.execute(_AHEAD, {**ahead, "rows": asked}).fetchall()
        to = cursor.after if last is None else last if stop is None else stop - 1
        events = self._remove(db, Range(cursor.after, to, limit, cursor.streams), marks, "age", now)
        if events:
            self._key_expiry.passed(db, cursor.deleted_to, to)
            cursor.deleted_to = to
        cursor.after = to
        if stop is not None:
            [(received_at,)] = db.execute(_RECEIVED, (stop,)).fetchall()
            cursor.due = received_at + cursor.max_age
        elif rows < asked:
            cursor.due = now + min(cursor.max_age, _SECOND)
        return events

    def _trim(
        self, db: sqlite3.Connection, over: int, now: int, state: _State, marks: Marks
    ) -> int:
        """Delete the oldest events, as many as may have *over* bytes, but not too many at once."""
        rows = max(1, min(self._pace.rows, state.events * over // state.used))
        to = (state.first or 0) + rows - 1
        deleted = self._remove(db, Range(0, to, FOREVER, None), marks, "size", now)
        self._key_expiry.passed(db, self._trimmed_to, to)
        self._trimmed_to = to
        self.room.resume()
        return deleted

    def _reduce(self, db: sqlite3.Connection, now: int, marks: Marks) -> int:
        """Delete the oldest events of a rule that have too many bytes, or count some."""
        stretch = self._volumes.next(db, self._pace.rows)
        if stretch is None:
            self._volumes.read(db, self._pace.rows)
            return 0
        which = Range(stretch.after, stretch.to, FOREVER, stretch.streams)
        deleted = self._remove(db, which, marks, "size", now)
        self._key_expiry.passed(db, stretch.since, stretch.to)
        stretch.volume.deleted(stretch)
        return deleted

    def _remove(
        self, db: sqlite3.Connection, which: Range, marks: Marks, cause: str, now: int
    ) -> int:
        if which.to <= which.after:
            return 0
        removed = in_transaction(db, lambda: remove(db, which, marks, cause, now))
        self.removed += removed.attempted
        return removed.events

    def _paced(self, db: sqlite3.Connection, work: Callable[[], int]) -> int:
        try:
            return self._pace.keep(db, self._pace.rows, work)
        except TooSlowError:
            return 0
