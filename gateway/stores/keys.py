"""Which keys a store has, at a cost that does not grow with their number.

A unique index over random keys changes one page for each row, and the more rows there
are, the less likely that page is cached. So keys are kept in a log-structured index:

* The newest keys are a set in memory. At start they are read from the events.
* When the set is full, its keys become a *run*. A run is 256 rows, one for each first
  byte of a key, and a row is its keys concatenated. It is written once, in slices, one
  with each commit.
* A Bloom filter in memory says which runs may contain a key. Each of its slots is a word
  with one bit for each of 64 runs, so that one lookup covers them all.

For nearly all new keys the set and the filter suffice. All methods run on the thread of
the database's connection.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from struct import iter_unpack

RUN_KEYS = 1 << 18
"""Keys in memory before they become a run: about 25 MB as Python objects."""

_BUCKETS = 256
_WIDTH = 16
_SLICE = RUN_KEYS // _BUCKETS // 2
"""New keys between two slices, so that a run is complete well before the next one starts."""

_SLOTS = 1 << 22
_MASK = _SLOTS - 1
_SHIFT = 22
"""A key uses four slots; one key in 400 is a false positive in a run."""

_RUNS_A_FILTER = 64
_WARM_BUCKETS = 20

_NEWEST = """
SELECT event.key FROM event JOIN stream ON stream.id = event.stream
WHERE seq > ? AND event.key IS NOT NULL AND kind <> 'rejected'
"""
_BUCKET = "SELECT keys FROM key_run WHERE run = ? AND bucket = ?"
_ADD = "INSERT INTO key_run (run, bucket, keys) VALUES (?, ?, ?)"


class BloomFilter:
    """Says which of up to 64 runs may contain a key; takes 32 MB."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _SLOTS))

    def add(self, run: int, keys: Iterable[bytes]) -> None:
        """Add *keys* of *run*, a number from 0 to 63."""
        slots, bit = self._slots, 1 << run
        for a, b in iter_unpack("<QQ", b"".join(keys)):
            slots[a & _MASK] |= bit
            slots[a >> _SHIFT & _MASK] |= bit
            slots[b & _MASK] |= bit
            slots[b >> _SHIFT & _MASK] |= bit

    def candidate_runs(self, keys: Sequence[bytes]) -> list[int]:
        """Return for each key the runs that may contain it, as a set of bits."""
        slots = self._slots
        return [
            slots[a & _MASK]
            & slots[a >> _SHIFT & _MASK]
            & slots[b & _MASK]
            & slots[b >> _SHIFT & _MASK]
            for a, b in iter_unpack("<QQ", b"".join(keys))
        ]


class _Recent:
    """Keys in memory, in buckets by their first byte."""

    def __init__(self) -> None:
        self.buckets: list[set[bytes]] = [set() for _ in range(_BUCKETS)]
        self.count = 0

    def held(self, keys: Iterable[bytes]) -> set[bytes]:
        buckets = self.buckets
        return {key for key in keys if key in buckets[key[0]]}

    def add(self, keys: Iterable[bytes]) -> None:
        buckets = self.buckets
        for key in keys:
            buckets[key[0]].add(key)
            self.count += 1


class KeyIndex:
    """The keys of all events except quarantined ones.

    `seal` writes within the caller's transaction. After its commit the caller calls
    `committed`; after a rollback it calls nothing.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        """Load the newest keys from *db*; `warm` fills the filters later."""
        self._sealed = [run for (run,) in db.execute("SELECT run FROM sealed_run ORDER BY run")]
        [(self._sealed_seq,)] = db.execute("SELECT coalesce(max(last_seq), 0) FROM sealed_run")
        self._filters = [BloomFilter() for _ in range(0, len(self._sealed), _RUNS_A_FILTER)]
        # Runs that are not in a filter yet are searched directly.
        self._cold = list(self._sealed)
        self._warmed_to = 0
        self._recent = _Recent()
        self._recent.add(key for (key,) in db.execute(_NEWEST, (self._sealed_seq,)))
        self._sealing: _Recent | None = None
        self._sealing_seq = 0
        self._next_bucket = 0
        self._since_slice = 0
        self._written = 0

    @property
    def cold(self) -> bool:
        """Whether `warm` has work left."""
        return bool(self._cold)

    def held(self, db: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
        """Which of *keys* are held; *db* may be another connection, on another thread."""
        # A key moves on from the recent ones, to those being sealed, to a run: look in that order.
        cold = list(self._cold)
        found = self._recent.held(keys)
        sealing = self._sealing
        if sealing is not None:
            found |= sealing.held(keys)
        for at, one in enumerate(self._filters):
            for key, runs in zip(keys, one.candidate_runs(keys), strict=True):
                if runs and key not in found and self._in_runs(db, key, runs, at):
                    found.add(key)
        for run in cold:
            found.update(key for key in keys if self._in_run(db, key, run))
        return found

    def _in_runs(self, db: sqlite3.Connection, key: bytes, runs: int, at: int) -> bool:
        while runs:
            bit = runs & -runs
            if self._in_run(db, key, at * _RUNS_A_FILTER + bit.bit_length() - 1):
                return True
            runs ^= bit
        return False

    def _in_run(self, db: sqlite3.Connection, key: bytes, run: int) -> bool:
        row = db.execute(_BUCKET, (run, key[0])).fetchone()
        if row is None:  # a slice that is not written yet
            return False
        keys: bytes = row[0]
        at = keys.find(key)
        # A match may start within one key and end in the next.
        while at % _WIDTH and at >= 0:
            at = keys.find(key, at + 1)
        return at >= 0

    def seal(self, db: sqlite3.Connection) -> None:
        """Write the slices of the current run that are due after this many new keys."""
        self._written = 0
        sealing = self._sealing
        if sealing is None:
            return
        run, first = len(self._sealed), self._next_bucket
        due = min(self._since_slice // _SLICE, _BUCKETS - first)
        if due and first == 0:
            # Start again if a crash left this run incomplete.
            db.execute("DELETE FROM key_run WHERE run = ?", (run,))
        buckets = enumerate(sealing.buckets[first : first + due], start=first)
        db.executemany(_ADD, [(run, at, b"".join(keys)) for at, keys in buckets])
        if first + due == _BUCKETS:
            db.execute("INSERT INTO sealed_run VALUES (?, ?)", (run, self._sealing_seq))
        self._written = due

    def committed(self, keys: Sequence[bytes], last_seq: int) -> None:
        """Add *keys*, of events up to *last_seq*, after the transaction with `seal` is durable."""
        if self._sealing is not None and self._written:
            self._slices_written(self._sealing, self._written)
        self._recent.add(keys)
        self._since_slice += len(keys)
        if self._sealing is None and self._recent.count >= RUN_KEYS:
            self._sealing, self._recent = self._recent, _Recent()
            self._sealing_seq = last_seq
            self._since_slice = 0

    def _slices_written(self, sealing: _Recent, count: int) -> None:
        run, first = len(self._sealed), self._next_bucket
        if run == len(self._filters) * _RUNS_A_FILTER:
            self._filters.append(BloomFilter())
        for bucket in sealing.buckets[first : first + count]:
            self._filters[-1].add(run % _RUNS_A_FILTER, bucket)
        self._since_slice -= count * _SLICE
        self._next_bucket += count
        if self._next_bucket == _BUCKETS:
            self._sealed.append(run)
            self._sealing = None
            self._next_bucket = 0

    def remember(self, identities: Iterable[bytes]) -> None:
        """Hold *identities* too, of records that have no key."""
        self._recent.add(identities)

    def warm(self, db: sqlite3.Connection) -> None:
        """Add some more keys of earlier runs to the filters."""
        if not self._cold:
            return
        run, first = self._cold[0], self._warmed_to
        for at in range(first, min(first + _WARM_BUCKETS, _BUCKETS)):
            [(keys,)] = db.execute(_BUCKET, (run, at))
            self._filters[run // _RUNS_A_FILTER].add(run % _RUNS_A_FILTER, [keys])
        self._warmed_to = first + _WARM_BUCKETS
        if self._warmed_to >= _BUCKETS:
            self._cold.pop(0)
            self._warmed_to = 0
