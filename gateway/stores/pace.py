"""How many rows may be deleted at once, so that nobody waits long for the writer's thread."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from gateway.errors import StoreError

T = TypeVar("T")

LONGEST = 0.05
"""Seconds after which deleting is to be interrupted, to be done again with fewer rows."""

_SECONDS = 0.004
"""What deleting may take of the processor at once; the number of rows follows from that."""

_ROWS = 32, 1024
"""The rows of the first time, and the most. The pages of more do not fit the cache."""


@contextmanager
def alarm(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call *interrupt* on the event loop's thread if what is awaited takes too long."""
    timer = asyncio.get_running_loop().call_later(LONGEST, interrupt)
    try:
        yield
    finally:
        timer.cancel()


class TooSlowError(Exception):
    """Deleting was interrupted, and its transaction rolled back."""


class Pace:
    """Chooses the number of `rows`. All but `interrupt` happens on the connection's thread."""

    def __init__(self) -> None:
        self.rows = _ROWS[0]
        self._lock = Lock()
        self._deleting: sqlite3.Connection | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """Give deleting up, from another thread, if it is about several rows."""
        # Only within the lock is it sure that no other statement is hit.
        with self._lock:
            if self._deleting is not None:
                self._interrupted = True
                self._deleting.interrupt()

    def keep(self, db: sqlite3.Connection, rows: int, work: Callable[[], T]) -> T:
        """Do *work*, which deletes up to so many *rows*, and choose how many the next time has.

        Raises:
            TooSlowError: it was interrupted. The next time has fewer rows.
        """
        started = time.thread_time()
        with self._lock:
            self._interrupted = False
            self._deleting = db if rows > 1 else None
        try:
            return work()
        except (StoreError, sqlite3.OperationalError) as error:
            if not self._interrupted:
                raise
            # Rows were much larger than those of the last time.
            rows = self.rows = max(1, rows // 8)
            raise TooSlowError from error
        finally:
            with self._lock:
                self._deleting = None
            share = _SECONDS / max(time.thread_time() - started, _SECONDS / 2)
            fitting = max(1, min(_ROWS[1], round(rows * share)))
            # Few rows that were quick say nothing of many.
            self.rows = fitting if share < 1 else max(self.rows, fitting)
