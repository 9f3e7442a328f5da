"""The quarantined records of an SQLite store: the newest of each tenant stay, with their keys."""

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence

from gateway.record import EventRecord, Kind, Outcome
from gateway.store import Departure
from gateway.stores.shares import Bound, Rejected, excess_of
from gateway.stores.statements import placeholders

_NOTE = "INSERT INTO quarantine (seq, key, stream, size) VALUES (?, ?, ?, ?)"
_PAGE = 500
_DEPARTED = """
SELECT id, event.key FROM quarantine JOIN event USING (seq)
WHERE seq IN (SELECT value FROM json_each(?)) AND seq > ?
"""
_EACH = "(SELECT value FROM json_each(?))"
_LAST_OF = f"SELECT max(seq) FROM quarantine WHERE seq IN {_EACH}"
_RELEASE = (
    # Only what is quarantined: a sequence may be that of an event.
    f"DELETE FROM event WHERE seq IN {_EACH} AND seq IN (SELECT seq FROM quarantine)",
    f"DELETE FROM quarantine WHERE seq IN {_EACH}",
)
_RECORD = """
INSERT INTO prune (cause, day, began, ended, events, last_seq, kind)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (cause, day) DO UPDATE SET ended = excluded.ended, events = events + excluded.events,
    last_seq = max(last_seq, excluded.last_seq)
"""
_DAY = 86_400_000_000

Owner = tuple[str, str]
"""A dialect and a tenant."""

_REPEAT = """
UPDATE quarantine SET repeats = repeats + ?, last_seen = max(coalesce(last_seen, 0), ?)
WHERE key = ?
"""


class Repeats:
    """Quarantined records that were sent again, until a transaction takes that along.

    Only a count: a client that repeats a refused batch for ever causes no commit of its own.
    """

    def __init__(self) -> None:
        self._pending: dict[bytes, tuple[int, int]] = {}

    def note(self, records: Sequence[EventRecord], outcomes: Sequence[Outcome]) -> None:
        """Count those of *records* that are quarantined already; begin anew with the others."""
        for record, outcome in zip(records, outcomes, strict=True):
            if record.kind != Kind.REJECTED or record.key is None:
                continue
            if outcome is Outcome.DUPLICATE:
                times, last = self._pending.get(record.key, (0, 0))
                self._pending[record.key] = times + 1, max(last, record.received_at)
            else:
                # Its former self was evicted.
                self._pending.pop(record.key, None)

    def put_back(self, repeats: Mapping[bytes, tuple[int, int]]) -> None:
        """Count again what `take` returned."""
        for key, (more, seen) in repeats.items():
            times, last = self._pending.get(key, (0, 0))
            self._pending[key] = times + more, max(last, seen)

    def take(self) -> dict[bytes, tuple[int, int]]:
        """What is to be written, once."""
        pending, self._pending = self._pending, {}
        return pending


def add_repeats(db: sqlite3.Connection, repeats: Mapping[bytes, tuple[int, int]]) -> None:
    """Write what `Repeats` has counted, in a transaction of the caller."""
    db.executemany(_REPEAT, [(times, last, key) for key, (times, last) in repeats.items()])


Evicted = tuple[int, int, int]
"""The sequence of a record that went, its stream, and the bytes of its text."""

_GOING = """
SELECT seq, stream, size FROM quarantine WHERE seq IN (SELECT value FROM json_each(?))
"""
_UNKNOWN = Bound(0, 0)


class Quarantine:
    """Keeps quarantined records within a bound."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        # At least this is free. Other transactions remove records too, which makes more room.
        self._room = self._room_then = _UNKNOWN
        self.evicted: Sequence[Evicted] = []
        """What the last `keep` has removed."""

    def keep(self, db: sqlite3.Connection, rejected: Sequence[Rejected]) -> Mapping[Owner, int]:
        """Note events as quarantined; remove the oldest of whoever has most where there is no room.

        Returns how many records of each tenant went. Belongs to the transaction that
        inserts the events.
        """
        db.executemany(_NOTE, rejected)
        room, self._room = self._room, _UNKNOWN
        records = room.records - len(rejected)
        size = room.size - sum(one.size for one in rejected)
        self.evicted = []
        if records >= 0 and size >= 0:
            self._room_then = Bound(records, size)
            return {}
        sequences, by_tenant, self._room_then = excess_of(db, self._bound)
        if sequences:
            db.execute("UPDATE trimmed SET seq = max(seq, ?)", (max(sequences),))
            self.evicted = sizes_of(db, sequences)
        gone = [(seq,) for seq in sequences]
        db.executemany("DELETE FROM event WHERE seq = ?", gone)
        db.executemany("DELETE FROM quarantine WHERE seq = ?", gone)
        return by_tenant

    def committed(self) -> None:
        """The transaction of the last `keep` is durable. Without this the next one counts anew."""
        self._room = self._room_then


def sizes_of(db: sqlite3.Connection, sequences: Collection[int]) -> Sequence[Evicted]:
    """The stream and the bytes of those of *sequences* that are quarantined."""
    return db.execute(_GOING, (json.dumps(list(sequences)),)).fetchall()


def held(db: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Which of *keys* are those of quarantined records."""
    found: set[bytes] = set()
    for at in range(0, len(keys), _PAGE):
        page = keys[at : at + _PAGE]
        sql = f"SELECT key FROM quarantine WHERE key IN ({placeholders(page)})"
        found.update(key for (key,) in db.execute(sql, page))
    return found


def departing(
    db: sqlite3.Connection, sequences: Collection[int], after: int
) -> list[tuple[bytes, bytes | None]]:
    """The ids and keys of those quarantined records that have a sequence above *after*."""
    return db.execute(_DEPARTED, (json.dumps(list(sequences)), after)).fetchall()


def release(db: sqlite3.Connection, sequences: Collection[int], why: Departure, now: int) -> int:
    """Delete quarantined records, and note it for the day; in a transaction of the caller."""
    listed = json.dumps(list(sequences))
    [(last,)] = db.execute(_LAST_OF, (listed,))
    events, _ = (db.execute(sql, (listed,)).rowcount for sql in _RELEASE)
    if events:
        db.execute("UPDATE trimmed SET seq = max(seq, ?)", (last,))
        row = why, now // _DAY, now, now, events, last, Kind.REJECTED
        db.execute(_RECORD, row)
    return events
