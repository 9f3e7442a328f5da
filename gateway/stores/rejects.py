"""The quarantined records of an SQLite store: the newest ones stay, and their keys with them."""

import sqlite3
from collections.abc import Sequence

from gateway.stores.database import placeholders

_EXCESS = "SELECT seq FROM quarantine ORDER BY seq DESC LIMIT -1 OFFSET ?"
_PAGE = 500


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
