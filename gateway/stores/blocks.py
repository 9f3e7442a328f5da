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
from collections.abc import Sequence

import msgspec

BLOCK = 4096
"""Sequences of a block."""

_ROWS = """
SELECT stream, type, subject, received_at, key IS NOT NULL FROM event WHERE seq BETWEEN ? AND ?
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


def block_of(number: int, rows: Sequence[tuple[int, str, str | None, int, bool]]) -> Block:
    """The block of *rows*: stream, type, subject, time of receipt, and whether it has a key."""
    tokens: set[int] = set()
    for stream in {row[0] for row in rows}:
        tokens.add(zlib.crc32(b"%d" % stream))
        of_type, of_subject = _seed(stream, b"type"), _seed(stream, b"subject")
        types = {row[1] for row in rows if row[0] == stream}
        subjects = {row[2] for row in rows if row[0] == stream}
        tokens.update(zlib.crc32(_raw(name), of_type) for name in types)
        tokens.update(zlib.crc32(_raw(name), of_subject) for name in subjects if name is not None)
    tokens.update(_seed(stream, b"key") for stream in {row[0] for row in rows if row[4]})
    received = [row[3] for row in rows]
    return Block(number, min(received, default=0), max(received, default=0), _packed(tokens))


def next_blocks(db: sqlite3.Connection, seconds: float) -> Sequence[Block]:
    """The blocks that are missing after the last one that was made, for so many *seconds*."""
    [(made,)] = db.execute(_LAST_MADE).fetchall()
    [(oldest, newest)] = db.execute(_BOUNDS).fetchall()
    until = time.perf_counter() + seconds
    blocks: list[Block] = []
    # All sequences of a block but the last are given only when that of the next block is.
    for number in range(max(made + 1, oldest // BLOCK), newest // BLOCK):
        rows = db.execute(_ROWS, (number * BLOCK, number * BLOCK + BLOCK - 1)).fetchall()
        blocks.append(block_of(number, rows))
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
