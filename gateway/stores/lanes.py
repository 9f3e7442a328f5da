"""Filters in an SQLite file: the part of a Bloom filter that stands for eight runs, a *lane*."""

import sqlite3
import zlib
from collections.abc import Mapping

from gateway.stores import bloom

RUNS = 8
"""Runs of a lane: the bits of a byte."""

_LOAD = "SELECT checksum, slots FROM key_filter WHERE lane = ?"
_SAVE = "REPLACE INTO key_filter (lane, checksum, slots) VALUES (?, ?, ?)"
_LEAVE = "UPDATE sealed_run SET lane = NULL, bit = NULL WHERE lane = ?"
_JOIN = "UPDATE sealed_run SET lane = ?, bit = ? WHERE run = ?"
_TIDY = """
DELETE FROM key_filter WHERE lane NOT IN (SELECT lane FROM sealed_run WHERE lane IS NOT NULL)
"""


def load(db: sqlite3.Connection, lane: int) -> bytes | None:
    """A byte for each slot, or None if there is no such lane, or it was changed."""
    try:
        [(checksum, slots)] = db.execute(_LOAD, (lane,)).fetchall()
    except (ValueError, sqlite3.DatabaseError):
        # The keys themselves tell as much.
        return None
    sound = isinstance(slots, bytes) and len(slots) == bloom.SLOTS
    return slots if sound and zlib.crc32(slots) == checksum else None


def save(db: sqlite3.Connection, lane: int, slots: bytes, runs: Mapping[int, int]) -> None:
    """Write a lane, in which *runs* have bits, in a transaction of the caller."""
    db.execute(_SAVE, (lane, zlib.crc32(slots), slots))
    db.execute(_LEAVE, (lane,))
    db.executemany(_JOIN, [(lane, bit, run) for bit, run in runs.items()])
    tidy(db)


def tidy(db: sqlite3.Connection) -> None:
    """Delete lanes whose runs are all gone, in a transaction of the caller."""
    db.execute(_TIDY)
