"""Which keys a store has, at a cost that does not grow with their number.

A unique index over random keys changes one page for each row, and the more rows there
are, the less likely that page is cached. So keys are kept in a log-structured index:

* The newest keys are in memory. At start they are read from the events.
* When there are enough of them they become a *run*. A run is 256 rows, one for each first
  byte of a key, and a row is its keys concatenated. It is written once, in slices, one
  with each commit, and is *sealed* with the last one. Each run has a number of its own,
  so that one can be deleted without the others.
* Bloom filters in memory say which runs may contain a key (`gateway.stores.filters`).

For nearly all new keys memory and filters suffice. All methods run on the thread of the
database's connection.
"""

import sqlite3
from collections.abc import Sequence

import structlog

from gateway.errors import StoreError
from gateway.stores import runs
from gateway.stores.filters import RunFilters
from gateway.stores.runs import BUCKETS, Piece
from gateway.stores.statements import in_transaction

log = structlog.get_logger()

RUN_KEYS = 1 << 18
"""Keys of a run, at most: about 25 MB in memory as Python objects."""

_PACE = 2
"""Runs that are written while new keys fill one, so that no backlog lasts."""

_PAGE = 10_000

# Of events, and of those that were deleted before a run had their keys.
_NEWEST = """
SELECT event.key, seq FROM event CROSS JOIN stream ON stream.id = event.stream
WHERE seq > :after AND event.key IS NOT NULL AND kind <> 'rejected'
UNION ALL SELECT key, seq FROM loose_key WHERE seq > :after ORDER BY seq LIMIT :limit
"""
_SEALED = "SELECT run, last_seq, lane * 8 + bit FROM sealed_run ORDER BY run"


class KeyIndex:
    """The keys of all events except quarantined ones.

    Call `write` in the transaction that inserts events, and `committed` after its commit.
    Only `held` may be called on another thread at the same time, with another connection:
    what it reads is replaced rather than changed, and a key is in its next place before it
    leaves the last one.
    """

    def __init__(self, db: sqlite3.Connection, previous: "KeyIndex | None" = None) -> None:
        """Read what *db* holds. Full pieces become runs at once; `warm` fills the filters.

        *previous* is an index of the same store that knows too little; its filters are used.
        """
        self._recent = Piece()
        # Full pieces, oldest first. The first one is being written.
        self._full: list[Piece] = []
        self._next_bucket = self._written = self._unpaid = 0
        self._last_seq = self._next_run = 0
        if previous is None:
            for run, last_seq, _ in db.execute(_SEALED).fetchall():
                runs.split_if_large(db, run, last_seq, RUN_KEYS)
        sealed = db.execute(_SEALED).fetchall()
        self.filters: RunFilters = RunFilters(sealed, previous.filters if previous else None)
        """Where each run has its place; retention drops runs and adds others."""
        for run, last_seq, _ in sealed:
            self._next_run = run + 1
            self._last_seq = max(self._last_seq, last_seq)
        self.sealed_to = self._last_seq
        self._read_newest(db)
        if previous is not None:
            for piece in [*previous._full, previous._recent]:
                self.remember(piece.remembered)
        self.filters.find_unsaved()

    def _read_newest(self, db: sqlite3.Connection) -> None:
        """Read the keys that are in no run. Full pieces become runs here, not during traffic."""
        disk_takes_more = True
        while True:
            room = RUN_KEYS - self._recent.count
            wanted = {"after": self._last_seq, "limit": min(room, _PAGE)}
            page = db.execute(_NEWEST, wanted).fetchall()
            if not page:
                return
            self._recent.add([key for key, _ in page])
            self._last_seq = page[-1][1]
            if len(page) == room:
                self._begin_piece()
                disk_takes_more = disk_takes_more and self._seal_now(db)

    def _begin_piece(self) -> None:
        following = Piece()
        self._recent.last_seq = self._last_seq
        self._full = [*self._full, self._recent]
        self._recent = following

    def _seal_now(self, db: sqlite3.Connection) -> bool:
        self._written = 0
        try:
            in_transaction(db, lambda: self._write(db, BUCKETS))
        except (sqlite3.Error, StoreError) as error:
            # The piece stays in memory and is written with later commits.
            log.warning("keys_not_sealed", keys=RUN_KEYS, error=str(error))
            return False
        self._advance()
        return True

    @property
    def in_memory(self) -> int:
        """How many keys are in memory."""
        return self._recent.count + sum(piece.count for piece in self._full)

    def held(self, db: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of *keys* that the store has."""
        # A key moves from the recent piece to the full ones, and to a run: look in that order.
        cold = self.filters.cold_places()
        found = self._recent.held(keys)
        for piece in self._full:
            found |= piece.held(keys)
        for first, candidates in self.filters.candidates(keys):
            for key, bits in zip(keys, candidates, strict=True):
                if bits and key not in found and self.filters.has(db, key, first, bits):
                    found.add(key)
        for place in cold:
            found.update(key for key in keys if runs.has(db, self.filters.run_at(place), key))
        return found

    def remember(self, identities: Sequence[bytes]) -> None:
        """Hold *identities* too, of records that have no key."""
        self._recent.add(identities)
        self._recent.remembered += identities

    def write(self, db: sqlite3.Connection, count: int) -> None:
        """Make room for *count* new keys, and write the slices that are due."""
        self._written = 0
        if self._recent.count and self._recent.count + count > RUN_KEYS:
            self._begin_piece()
        if self._full:
            self._write(db, self._unpaid // RUN_KEYS)

    def _write(self, db: sqlite3.Connection, slices: int) -> None:
        due = min(slices, BUCKETS - self._next_bucket)
        if not due:
            return
        filters = self.filters
        place = filters.writing
        if place is None:
            place = filters.writing = filters.place(self.new_run())
        run = filters.run_at(place)
        # Before the commit: memory may run out here. A key too many in a filter does no harm.
        filters.add(place, runs.write(db, run, self._full[0], self._next_bucket, due))
        self._written = due

    def committed(self, keys: Sequence[bytes], last_seq: int) -> None:
        """Add *keys*, of events up to *last_seq*, whose transaction with `write` is durable.

        All that needs much memory was done by `write`. If this fails it can be called again.
        """
        self._recent.add(keys)
        self._last_seq = last_seq
        if self._full:
            self._unpaid += len(keys) * _PACE * BUCKETS - self._written * RUN_KEYS
            self._advance()
        else:
            self._unpaid = 0

    def _advance(self) -> None:
        if self._next_bucket + self._written < BUCKETS:
            self._next_bucket += self._written
        else:
            self.sealed_to = self._full[0].last_seq
            self._full = self._full[1:]
            self._next_bucket, self.filters.writing = 0, None
            self.filters.find_unsaved()
        self._written = 0

    def writes(self, run: int) -> bool:
        """Whether *run* is being written, from keys that are in memory."""
        place = self.filters.writing
        return place is not None and self.filters.run_at(place) == run

    def new_run(self) -> int:
        """A number for a run that is about to be written."""
        self._next_run += 1
        return self._next_run - 1
