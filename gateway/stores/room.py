"""Deletes the oldest events in the transaction that inserts new ones.

The new ones take the pages of the old ones while these are in memory. What a transaction
of its own deletes costs more: SQLite writes the pages that become free to the WAL and to
the file, although nothing is in them.
"""

import math
import sqlite3

from gateway.errors import StoreError
from gateway.stores.pace import Pace, TooSlowError
from gateway.stores.removal import FOREVER, Marks, Range, remove

_FEWEST = 64
"""Events that are deleted at once, at least: the next ones have to wait until they are so many."""


class NoRoomError(Exception):
    """The transaction has to be rolled back, and to be done again without deleting."""


class Room:
    """Knows how many events are to go, by what the last step of retention has found.

    The steps keep the store small enough whatever this does.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        # Below zero: so many more events have room.
        self._due = -math.inf
        self._marks = Marks(0, 0, 0, 0)
        self._first = 0
        self._now = 0
        self._made = 0, 0
        self._failed = False
        self.deleted = 0
        self.deleted_to = 0

    def settle(self, due: float, first: int, marks: Marks, now: int) -> None:
        """At *now*, *due* events are to go. The oldest one is *first*."""
        self._due, self._first, self._marks, self._now = due, first, marks, now

    def resume(self) -> None:
        """A step has deleted something: what failed here may succeed again."""
        self._failed = False

    def wanted(self, added: int) -> int:
        """How many events are to be deleted when so many are *added*."""
        due = self._due + added
        if due < _FEWEST or self._failed:
            return 0
        # What is newer than the last step may be a quarantined record, which is in two tables.
        known = self._marks.last - self._first
        return max(0, min(int(due), 2 * added + _FEWEST, self._pace.rows, known))

    def make(self, db: sqlite3.Connection, added: int, sealed: int) -> None:
        """Delete what is wanted; in a transaction. Runs of keys end at *sealed*.

        Raises:
            NoRoomError: nothing can be deleted now.
        """
        self._made = 0, 0
        rows = self.wanted(added)
        if not rows:
            return
        which = Range(0, self._first + rows - 1, FOREVER, None)
        # Nothing of the last append is that old.
        marks = self._marks._replace(sealed=sealed, attempted=FOREVER)
        try:
            gone = self._pace.keep(db, rows, lambda: remove(db, which, marks, "size", self._now))
        except TooSlowError as error:
            raise NoRoomError from error
        except (StoreError, sqlite3.Error) as error:
            self._failed = True
            raise NoRoomError from error
        self._made = gone.events, which.to

    def committed(self, added: int) -> None:
        """The transaction is durable, in which `make` was called, or would have been."""
        self._due += added
        events, to = self._made
        if to:
            self._made = 0, 0
            self._due -= events
            self.deleted += events
            self._first, self.deleted_to = to + 1, to
