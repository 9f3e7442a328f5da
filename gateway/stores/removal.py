"""Deletes events from an SQLite store, and leaves a record of it."""

import sqlite3
from typing import NamedTuple

_DAY = 86_400_000_000

_WHICH = """seq > :after AND seq <= :to AND received_at <= :limit
AND (:streams IS NULL OR stream IN (SELECT value FROM json_each(:streams)))"""
_LOOSEN = f"""
INSERT OR IGNORE INTO loose_key SELECT seq, event.key
FROM event CROSS JOIN stream ON stream.id = event.stream
WHERE {_WHICH} AND seq > :sealed AND event.key IS NOT NULL AND kind <> 'rejected'
"""
_IDS = f"SELECT id, key FROM event WHERE {_WHICH} AND seq > :attempted"
_DELETE = f"DELETE FROM event WHERE {_WHICH}"
# Without a subquery SQLite deletes while it searches, in half the time.
_DELETE_OLD = "DELETE FROM event WHERE seq > :after AND seq <= :to AND received_at <= :limit"
_DELETE_ALL = "DELETE FROM event WHERE seq > :after AND seq <= :to"
FOREVER = 1 << 62
"""A time to which nothing comes."""
_FORGET = """
DELETE FROM quarantine WHERE seq > :after AND seq <= :to
AND NOT EXISTS (SELECT 1 FROM event WHERE event.seq = quarantine.seq)
"""
_TRIM = "UPDATE trimmed SET seq = max(seq, ?)"
_RECORD = """
INSERT INTO prune (cause, day, began, ended, events, last_seq)
VALUES (:cause, :now / :day, :now, :now, :events, :to)
ON CONFLICT (cause, day) DO UPDATE
SET ended = excluded.ended, events = events + excluded.events, last_seq = excluded.last_seq
"""


class Range(NamedTuple):
    """Events with a sequence above `after`, up to `to`, received at `limit` or before.

    `streams` is a JSON array of the streams that are meant; None means all.
    """

    after: int
    to: int
    limit: int
    streams: str | None


class Marks(NamedTuple):
    """The sequences where runs of keys end, the last append and the quarantine begin, and the last.

    They tell which statements can be spared.
    """

    sealed: int
    attempted: int
    first_rejected: int
    last: int


class Removed(NamedTuple):
    """How many events went, and the ids and keys of those of the last append."""

    events: int
    attempted: list[tuple[bytes, bytes | None]]


def remove(db: sqlite3.Connection, which: Range, marks: Marks, cause: str, now: int) -> Removed:
    """Delete events, with a line in the record of *cause* for the day; in a transaction."""
    values = which._asdict() | marks._asdict()
    if which.to > marks.sealed:
        db.execute(_LOOSEN, values)
    attempted = db.execute(_IDS, values).fetchall() if which.to > marks.attempted else []
    delete = _DELETE if which.streams else _DELETE_ALL if which.limit == FOREVER else _DELETE_OLD
    events = db.execute(delete, values).rowcount
    if events:
        if which.to >= marks.first_rejected:
            db.execute(_FORGET, values)
        if which.to >= marks.last:
            db.execute(_TRIM, (which.to,))
        record = {"cause": cause, "day": _DAY, "now": now, "events": events, "to": which.to}
        db.execute(_RECORD, record)
    return Removed(events, attempted)
