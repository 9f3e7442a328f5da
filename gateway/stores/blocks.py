"""What each block of events holds, so that a search can pass over most of them.

An index over subjects would change a random page for each event. A block is 4,096
sequences. When all of them are given, its streams, types and subjects are hashed to four
bytes each, its *tokens*, which are one row of the table ``block``. That is done in the
background, and takes no part in storing an event.

A block may have tokens of events that are gone. It never lacks one: blocks are made of
sequences that nobody writes any more.
"""

import sqlite3
import struct
import time
import zlib
from collections import defaultdict
from collections.abc import Sequence

import msgspec

BLOCK = 4096
"""Sequences of a block."""

# SQLite finds what differs: each row that it returns costs three times as much as one it passes
# over, and two changes of hands of Python's lock, which a busy event loop wants.
_DISTINCT = """
SELECT DISTINCT stream, type, subject, key IS NOT NULL FROM event WHERE seq BETWEEN ? AND ?
"""
_RECEIVED = """
SELECT coalesce(min(received_at), 0), coalesce(max(received_at), 0) FROM event
WHERE seq BETWEEN ? AND ?
"""
_LAST_MADE = "SELECT coalesce(max(number), -1) FROM block"
# Two queries: SQLite looks through the whole table for both at once.
_BOUNDS = """
SELECT (SELECT coalesce(min(seq), 0) FROM event), (SELECT coalesce(max(seq), 0) FROM event)
"""
_ADD = "INSERT OR REPLACE INTO block VALUES (?, ?, ?, ?)"
_FORGET = "DELETE FROM block WHERE number < ?"


class Block(msgspec.Struct, frozen=True):
    """A row of the table ``block``; times are in microseconds UTC."""

    number: int
    first_received: int
    last_received: int
    tokens: bytes


def stream_token(stream: int) -> bytes:
    """The token of a stream, by its number."""
    return _packed([zlib.crc32(b"%d" % stream)])


def type_token(stream: int, name: str) -> bytes:
    """The token of a type within a stream."""
    return _packed([zlib.crc32(_raw(name), _seed(stream, b"type"))])


def subject_token(stream: int, name: str) -> bytes:
    """The token of a subject within a stream."""
    return _packed([zlib.crc32(_raw(name), _seed(stream, b"subject"))])


def key_token(stream: int) -> bytes:
    """The token that says that events of a stream have keys."""
    return _packed([_seed(stream, b"key")])


def block_of(db: sqlite3.Connection, number: int) -> Block:
    """Make the block *number* of its events."""
    sequences = (number * BLOCK, number * BLOCK + BLOCK - 1)
    found: Sequence[tuple[int, str, str | None, bool]]
    found = db.execute(_DISTINCT, sequences).fetchall()
    [(first, last)] = db.execute(_RECEIVED, sequences).fetchall()
    types: defaultdict[int, set[str]] = defaultdict(set)
    subjects: defaultdict[int, set[str | None]] = defaultdict(set)
    for stream, name, subject, _ in found:
        types[stream].add(name)
        subjects[stream].add(subject)
    tokens = {_seed(stream, b"key") for stream in {row[0] for row in found if row[3]}}
    for stream in types:
        tokens.add(zlib.crc32(b"%d" % stream))
        of_type, of_subject = _seed(stream, b"type"), _seed(stream, b"subject")
        tokens.update(zlib.crc32(_raw(one), of_type) for one in types[stream])
        tokens.update(
            zlib.crc32(_raw(one), of_subject) for one in subjects[stream] if one is not None
        )
    return Block(number, first, last, _packed(tokens))


def next_blocks(db: sqlite3.Connection, seconds: float) -> Sequence[Block]:
    """The blocks that are missing after the last one that was made, for so many *seconds*."""
    [(made,)] = db.execute(_LAST_MADE).fetchall()
    [(oldest, newest)] = db.execute(_BOUNDS).fetchall()
    until = time.perf_counter() + seconds
    blocks: list[Block] = []
    # All sequences of a block but the last are given only when that of the next block is.
    for number in range(max(made + 1, oldest // BLOCK), newest // BLOCK):
        blocks.append(block_of(db, number))
        if time.perf_counter() > until:
            break
    return blocks


def keep(db: sqlite3.Connection, blocks: Sequence[Block]) -> None:
    """Write *blocks*, and forget those whose events are gone, in a transaction of the caller."""
    db.executemany(_ADD, [msgspec.structs.astuple(one) for one in blocks])
    [(oldest, _)] = db.execute(_BOUNDS).fetchall()
    db.execute(_FORGET, (oldest // BLOCK,))


def _seed(stream: int, what: bytes) -> int:
    return zlib.crc32(b"%d %b " % (stream, what))


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _packed(tokens: set[int] | list[int]) -> bytes:
    return struct.pack(f"<{len(tokens)}I", *tokens)
