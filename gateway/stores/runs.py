"""Runs of keys in an SQLite file: 256 rows each, one for each first byte of a key.

A run is written once, and counts when it is sealed: then it is in ``sealed_run``, with the
sequence of the last event whose key it has.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import pairwise

import structlog

from gateway.errors import StoreError
from gateway.stores import lanes
from gateway.stores.statements import in_transaction

log = structlog.get_logger()

BUCKETS = 256
_WIDTH = 16
_SAMPLE = 8
"""Buckets that tell the size of a run within some percent: keys are hashes."""

_BUCKET = "SELECT keys FROM key_run WHERE run = ? AND bucket = ?"
_SIZE = "SELECT coalesce(sum(length(keys)), 0) FROM key_run WHERE run = ? AND bucket < ?"
_ADD = "INSERT INTO key_run (run, bucket, keys) VALUES (?, ?, ?)"
_SEAL = "INSERT INTO sealed_run (run, last_seq) VALUES (?, ?)"


class Piece:
    """Keys in memory, in buckets by their first byte; full, they become a run."""

    def __init__(self) -> None:
        self.buckets: list[set[bytes]] = [set() for _ in range(BUCKETS)]
        self.count = 0
        self.last_seq = 0
        # Those of them that cannot be read from the events again.
        self.remembered: list[bytes] = []

    def held(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of *keys* that are in it."""
        buckets = self.buckets
        return {key for key in keys if key in buckets[key[0]]}

    def add(self, keys: Sequence[bytes]) -> None:
        """Put *keys* in."""
        buckets = self.buckets
        for key in keys:
            buckets[key[0]].add(key)
        self.count += len(keys)


def write(db: sqlite3.Connection, run: int, piece: Piece, first: int, slices: int) -> list[bytes]:
    """Write so many rows of *run* from bucket *first* on; return their keys, joined.

    With the last row the run is sealed.
    """
    if first == 0:
        # What a crash left of an unfinished run of this number.
        db.execute("DELETE FROM key_run WHERE run = ?", (run,))
    buckets = range(first, min(first + slices, BUCKETS))
    rows = [(run, bucket, b"".join(piece.buckets[bucket])) for bucket in buckets]
    db.executemany(_ADD, rows)
    if buckets.stop == BUCKETS:
        db.execute(_SEAL, (run, piece.last_seq))
    return [keys for _, _, keys in rows]


def add_run(db: sqlite3.Connection, run: int, keys: Sequence[bytes], last_seq: int) -> None:
    """Write *keys* of events up to *last_seq*, at most as many as a run may have, as a run."""
    piece = Piece()
    piece.add(keys)
    piece.last_seq = last_seq
    write(db, run, piece, 0, BUCKETS)


def drop(db: sqlite3.Connection, run: int) -> None:
    """Delete a run."""
    db.execute("DELETE FROM key_run WHERE run = ?", (run,))
    db.execute("DELETE FROM sealed_run WHERE run = ?", (run,))
    lanes.tidy(db)


def size_of(db: sqlite3.Connection, run: int) -> int:
    """How many keys a run has, within some percent."""
    [(sample,)] = db.execute(_SIZE, (run, _SAMPLE))
    return int(sample) * BUCKETS // _SAMPLE // _WIDTH


def keys_of(db: sqlite3.Connection, run: int, bucket: int) -> bytes:
    """The keys of a row of a run, joined; none if there is no such row."""
    row = db.execute(_BUCKET, (run, bucket)).fetchone()
    return row[0] if row else b""


def has(db: sqlite3.Connection, run: int, key: bytes) -> bool:
    """Whether *key* is in a run. A run that is being written, or is gone, has none."""
    keys = keys_of(db, run, key[0])
    at = keys.find(key)
    # What is found may begin within one key and end in the next.
    while at % _WIDTH and at >= 0:
        at = keys.find(key, at + 1)
    return at >= 0


def split_if_large(db: sqlite3.Connection, run: int, last_seq: int, run_keys: int) -> None:
    """Rewrite a run of more than *run_keys* keys as several: filters tell it badly."""
    parts = round(size_of(db, run) / run_keys)
    if parts > 1:
        try:
            in_transaction(db, lambda: _split(db, run, last_seq, parts))
        except (sqlite3.Error, StoreError) as error:
            log.warning("keys_not_split", run=run, error=str(error))


def _split(db: sqlite3.Connection, run: int, last_seq: int, parts: int) -> None:
    [(first,)] = db.execute("SELECT max(run) + 1 FROM sealed_run")
    for part in range(first, first + parts):
        # What a crash left of an unfinished run of this number.
        db.execute("DELETE FROM key_run WHERE run = ?", (part,))
        db.execute(_SEAL, (part, last_seq))
    for bucket in range(BUCKETS):
        keys = keys_of(db, run, bucket)
        ends = [len(keys) // _WIDTH * part // parts * _WIDTH for part in range(parts + 1)]
        shares = [keys[start:end] for start, end in pairwise(ends)]
        # Each bucket begins with another run, so that what cannot be divided evens out.
        rows = [(first + (at + bucket) % parts, bucket, one) for at, one in enumerate(shares)]
        db.executemany(_ADD, rows)
    drop(db, run)
