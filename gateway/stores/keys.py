"""Which keys a store has, at a cost that does not grow with their number.

A unique index over random keys changes one page for each row, and the more rows there
are, the less likely that page is cached. So keys are kept in a log-structured index:

* The newest keys are in memory. At start they are read from the events.
* When there are enough of them they become a *run*. A run is 256 rows, one for each first
  byte of a key, and a row is its keys concatenated. It is written once, in slices, one
  with each commit, and is *sealed* with the last one. Each run has a number of its own,
  so that one can be deleted without the others.
* Bloom filters in memory say which runs may contain a key.

For nearly all new keys memory and filters suffice. All methods run on the thread of the
database's connection.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import pairwise

import structlog

from gateway.errors import StoreError
from gateway.stores import bloom
from gateway.stores.bloom import BloomFilter
from gateway.stores.database import in_transaction

log = structlog.get_logger()

RUN_KEYS = 1 << 18
"""Keys of a run, at most: about 25 MB in memory as Python objects."""

_BUCKETS = 256
_WIDTH = 16
_PACE = 2
"""Runs that are written while new keys fill one, so that no backlog lasts."""

_PAGE = 10_000
_WARM_BUCKETS = 20
_SAMPLE = 8
"""Buckets that tell the size of a run within some percent: keys are hashes."""

_NEWEST = """
SELECT event.key, seq FROM event CROSS JOIN stream ON stream.id = event.stream
WHERE seq > ? AND event.key IS NOT NULL AND kind <> 'rejected' ORDER BY seq LIMIT ?
"""
_BUCKET = "SELECT keys FROM key_run WHERE run = ? AND bucket = ?"
_SIZE = "SELECT coalesce(sum(length(keys)), 0) FROM key_run WHERE run = ? AND bucket < ?"
_SEALED = "SELECT run, last_seq FROM sealed_run ORDER BY run"
_ADD = "INSERT INTO key_run (run, bucket, keys) VALUES (?, ?, ?)"
_SEAL = "INSERT INTO sealed_run (run, last_seq) VALUES (?, ?)"
_DROP = ("DELETE FROM key_run WHERE run = ?", "DELETE FROM sealed_run WHERE run = ?")


class _Piece:
    """Keys in memory, in buckets by their first byte; full, they become a run."""

    def __init__(self) -> None:
        self.buckets: list[set[bytes]] = [set() for _ in range(_BUCKETS)]
        self.count = 0
        self.last_seq = 0

    def held(self, keys: Iterable[bytes]) -> set[bytes]:
        buckets = self.buckets
        return {key for key in keys if key in buckets[key[0]]}

    def add(self, keys: Sequence[bytes]) -> None:
        buckets = self.buckets
        for key in keys:
            buckets[key[0]].add(key)
        self.count += len(keys)


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
        # The number of the run at each place; a place is a bit of a filter.
        self._places: list[int] = previous._places if previous else []
        self._filters: list[BloomFilter] = previous._filters if previous else []
        # Places whose filter is not filled yet: their runs are read for each key.
        self._cold: list[int] = previous._cold if previous else []
        self._warmed_to: int = previous._warmed_to if previous else 0
        self._recent = _Piece()
        # Full pieces, oldest first. The first one is being written.
        self._full: list[_Piece] = []
        self._next_bucket = self._written = self._unpaid = 0
        self._last_seq = self._next_run = 0
        if previous is None:
            for run, last_seq in db.execute(_SEALED).fetchall():
                _split_if_large(db, run, last_seq)
        for run, last_seq in db.execute(_SEALED):
            self._next_run = run + 1
            self._last_seq = max(self._last_seq, last_seq)
            if run not in self._places:
                self._cold.append(self._place(run))
        self._read_newest(db)

    def _read_newest(self, db: sqlite3.Connection) -> None:
        """Read the keys that are in no run. Full pieces become runs here, not during traffic."""
        disk_takes_more = True
        while True:
            room = RUN_KEYS - self._recent.count
            page = db.execute(_NEWEST, (self._last_seq, min(room, _PAGE))).fetchall()
            if not page:
                return
            self._recent.add([key for key, _ in page])
            self._last_seq = page[-1][1]
            if len(page) == room:
                self._begin_piece()
                disk_takes_more = disk_takes_more and self._seal_now(db)

    def _begin_piece(self) -> None:
        following = _Piece()
        self._recent.last_seq = self._last_seq
        self._full = [*self._full, self._recent]
        self._recent = following

    def _seal_now(self, db: sqlite3.Connection) -> bool:
        self._written = 0
        try:
            in_transaction(db, lambda: self._write(db, _BUCKETS))
        except (sqlite3.Error, StoreError) as error:
            # The piece stays in memory and is written with later commits.
            log.warning("keys_not_sealed", keys=RUN_KEYS, error=str(error))
            return False
        self._advance()
        return True

    @property
    def cold(self) -> bool:
        """Whether `warm` has work left."""
        return bool(self._cold)

    def held(self, db: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of *keys* that the store has."""
        # A key moves from the recent piece to the full ones, and to a run: look in that order.
        cold = list(self._cold)
        found = self._recent.held(keys)
        for piece in self._full:
            found |= piece.held(keys)
        for at, one in enumerate(self._filters):
            for key, bits in zip(keys, one.candidate_runs(keys), strict=True):
                if bits and key not in found and self._in_places(db, key, bits, at * bloom.RUNS):
                    found.add(key)
        for place in cold:
            found.update(key for key in keys if self._in_run(db, key, self._places[place]))
        return found

    def _in_places(self, db: sqlite3.Connection, key: bytes, bits: int, first: int) -> bool:
        while bits:
            bit = bits & -bits
            if self._in_run(db, key, self._places[first + bit.bit_length() - 1]):
                return True
            bits ^= bit
        return False

    def _in_run(self, db: sqlite3.Connection, key: bytes, run: int) -> bool:
        row = db.execute(_BUCKET, (run, key[0])).fetchone()
        if row is None:  # the run is being written, or it is gone
            return False
        keys: bytes = row[0]
        at = keys.find(key)
        # What is found may begin within one key and end in the next.
        while at % _WIDTH and at >= 0:
            at = keys.find(key, at + 1)
        return at >= 0

    def remember(self, identities: Sequence[bytes]) -> None:
        """Hold *identities* too, of records that have no key."""
        self._recent.add(identities)

    def write(self, db: sqlite3.Connection, count: int) -> None:
        """Make room for *count* new keys, and write the slices that are due."""
        self._written = 0
        if self._recent.count and self._recent.count + count > RUN_KEYS:
            self._begin_piece()
        if self._full:
            self._write(db, self._unpaid // RUN_KEYS)

    def _write(self, db: sqlite3.Connection, slices: int) -> None:
        piece, run, first = self._full[0], self._next_run, self._next_bucket
        due = min(slices, _BUCKETS - first)
        if not due:
            return
        if first == 0:
            # What a crash left of an unfinished run of this number.
            db.execute(_DROP[0], (run,))
            if not self._places or self._places[-1] != run:
                self._place(run)
        place = len(self._places) - 1
        rows = [
            (run, bucket, b"".join(piece.buckets[bucket])) for bucket in range(first, first + due)
        ]
        db.executemany(_ADD, rows)
        # Before the commit: memory may run out here. A key too many in a filter does no harm.
        self._filters[-1].add(place % bloom.RUNS, [keys for _, _, keys in rows])
        if first + due == _BUCKETS:
            db.execute(_SEAL, (run, piece.last_seq))
        self._written = due

    def committed(self, keys: Sequence[bytes], last_seq: int) -> None:
        """Add *keys*, of events up to *last_seq*, whose transaction with `write` is durable.

        All that needs much memory was done by `write`. If this fails it can be called again.
        """
        self._recent.add(keys)
        self._last_seq = last_seq
        if self._full:
            self._unpaid += len(keys) * _PACE * _BUCKETS - self._written * RUN_KEYS
            self._advance()
        else:
            self._unpaid = 0

    def _advance(self) -> None:
        if self._next_bucket + self._written < _BUCKETS:
            self._next_bucket += self._written
        else:
            self._full = self._full[1:]
            self._next_run += 1
            self._next_bucket = 0
        self._written = 0

    def _place(self, run: int) -> int:
        place = len(self._places)
        if place == len(self._filters) * bloom.RUNS:
            self._filters.append(BloomFilter())
        self._places.append(run)
        return place

    def warm(self, db: sqlite3.Connection) -> None:
        """Fill the filters with some more of the keys that were sealed before the start."""
        if not self._cold:
            return
        place, first = self._cold[0], self._warmed_to
        for bucket in range(first, min(first + _WARM_BUCKETS, _BUCKETS)):
            for (keys,) in db.execute(_BUCKET, (self._places[place], bucket)):
                self._filters[place // bloom.RUNS].add(place % bloom.RUNS, [keys])
        self._warmed_to = first + _WARM_BUCKETS
        if self._warmed_to >= _BUCKETS:
            self._cold.pop(0)
            self._warmed_to = 0


def add_run(db: sqlite3.Connection, run: int, keys: Sequence[bytes], last_seq: int) -> None:
    """Write *keys*, `RUN_KEYS` at most, of events up to *last_seq*, as the run of that number."""
    piece = _Piece()
    piece.add(keys)
    rows = [(run, bucket, b"".join(piece.buckets[bucket])) for bucket in range(_BUCKETS)]
    db.executemany(_ADD, rows)
    db.execute(_SEAL, (run, last_seq))


def _split_if_large(db: sqlite3.Connection, run: int, last_seq: int) -> None:
    """Rewrite a run of more than the designed size as several: filters tell it badly."""
    [(sample,)] = db.execute(_SIZE, (run, _SAMPLE))
    parts = round(sample / _WIDTH * _BUCKETS / _SAMPLE / RUN_KEYS)
    if parts > 1:
        try:
            in_transaction(db, lambda: _split(db, run, last_seq, parts))
        except (sqlite3.Error, StoreError) as error:
            log.warning("keys_not_split", run=run, error=str(error))


def _split(db: sqlite3.Connection, run: int, last_seq: int, parts: int) -> None:
    [(first,)] = db.execute("SELECT max(run) + 1 FROM sealed_run")
    for part in range(first, first + parts):
        # What a crash left of an unfinished run of this number.
        db.execute(_DROP[0], (part,))
        db.execute(_SEAL, (part, last_seq))
    for bucket in range(_BUCKETS):
        [(keys,)] = db.execute(_BUCKET, (run, bucket))
        ends = [len(keys) // _WIDTH * part // parts * _WIDTH for part in range(parts + 1)]
        shares = [keys[start:end] for start, end in pairwise(ends)]
        # Each bucket begins with another run, so that what cannot be divided evens out.
        rows = [(first + (at + bucket) % parts, bucket, one) for at, one in enumerate(shares)]
        db.executemany(_ADD, rows)
    for sql in _DROP:
        db.execute(sql, (run,))
