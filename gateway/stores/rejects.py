"""The quarantined records of an SQLite store: the newest ones stay, and their keys with them."""

import sqlite3
from collections.abc import Mapping, Sequence

from gateway.record import EventRecord, Kind, Outcome
from gateway.stores.database import placeholders

_EXCESS = "SELECT seq FROM quarantine ORDER BY seq DESC LIMIT -1 OFFSET ?"
_PAGE = 500

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


def keep(
    db: sqlite3.Connection, rejected: Sequence[tuple[int, bytes | None]], max_rejected: int
) -> int:
    """Note events by (seq, key) as quarantined; remove all but the newest *max_rejected*.

    Returns how many went. Belongs to the transaction that inserts the events.
    """
    db.executemany("INSERT INTO quarantine (seq, key) VALUES (?, ?)", rejected)
    excess = db.execute(_EXCESS, (max_rejected,)).fetchall()
    if excess:
        db.execute("UPDATE trimmed SET seq = max(seq, ?)", max(excess))
    db.executemany("DELETE FROM event WHERE seq = ?", excess)
    db.executemany("DELETE FROM quarantine WHERE seq = ?", excess)
    return len(excess)


def held(db: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Which of *keys* are those of quarantined records."""
    found: set[bytes] = set()
    for at in range(0, len(keys), _PAGE):
        page = keys[at : at + _PAGE]
        sql = f"SELECT key FROM quarantine WHERE key IN ({placeholders(page)})"
        found.update(key for (key,) in db.execute(sql, page))
    return found
