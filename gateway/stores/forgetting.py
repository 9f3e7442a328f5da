"""Erases from an SQLite file the names, documents and counts of those who have no events left.

The tables are small. Each is written anew, within pages that were overwritten: a row that is
only deleted may have left copies in the unused parts of its page.
"""

import json
import sqlite3
from typing import Any

from gateway.store import Selection
from gateway.stores.statements import in_transaction

_DAY = 86_400_000_000

_USED = "SELECT DISTINCT stream, sender FROM event WHERE seq > ? AND seq <= ?"
_LATER = "SELECT EXISTS (SELECT 1 FROM event WHERE seq > ? AND seq <= ? AND subject = ?)"

_OF_OWNER = """
(:dialect IS NULL OR dialect = :dialect) AND (:tenant IS NULL OR tenant = :tenant)
"""
# Of whoever is named, and who has no event of any kind left.
_GONE = f"""
{_OF_OWNER} AND NOT EXISTS (
    SELECT 1 FROM stream AS kept WHERE kept.id IN (SELECT value FROM json_each(:streams))
        AND kept.dialect = {{table}}.dialect AND kept.tenant = {{table}}.tenant
)
"""
_STREAM = f"""
{_OF_OWNER} AND (:kind IS NULL OR kind = :kind) AND :subject IS NULL
AND id NOT IN (SELECT value FROM json_each(:streams))
"""
_SENDER = "id NOT IN (SELECT value FROM json_each(:senders))"
_DOCUMENT = f"""
modified < :until AND :kind IS NULL AND CASE WHEN :subject IS NULL
    THEN :tenant IS NOT NULL AND {_GONE.format(table="document")}
    ELSE {_OF_OWNER} AND NOT :later AND substr(name, instr(name, '/') + 1) = :subject END
"""
_SERIES = f"""
:tenant IS NOT NULL AND :kind IS NULL AND :subject IS NULL AND {_GONE.format(table="count_series")}
"""
_COUNT = f"""
{{unit}} * {{length}} < :until AND series IN (SELECT id FROM count_series WHERE {_SERIES})
"""
_UNCOUNTED = f"{_SERIES} AND id NOT IN (SELECT series FROM day_count)"

# What goes from which table. Counts go by whole days, so that they still add up.
_TABLES = {
    "document": _DOCUMENT,
    "minute_count": _COUNT.format(unit="minute / 1440", length=_DAY),
    "hour_count": _COUNT.format(unit="hour / 24", length=_DAY),
    "day_count": _COUNT.format(unit="day", length=_DAY),
    "count_series": _UNCOUNTED,
    "sender": _SENDER,
    # Last: the others look into it.
    "stream": _STREAM,
}


class Remains:
    """Who has events left in the store, as far as it was searched."""

    def __init__(self, wanted: Selection, until: int) -> None:
        """What was received before *until* microseconds may be forgotten."""
        self._wanted = wanted
        self._until = until
        self._streams: set[int] = set()
        self._senders: set[int] = set()
        self._later = False

    def note(self, db: sqlite3.Connection, after: int, to: int) -> None:
        """Note whose events are left with sequences above *after*, up to *to*."""
        for stream, sender in db.execute(_USED, (after, to)):
            self._streams.add(stream)
            self._senders.add(sender)
        subject = self._wanted.subject
        if subject is not None and not self._later:
            [(later,)] = db.execute(_LATER, (after, to, subject)).fetchall()
            self._later = bool(later)

    def forget(self, db: sqlite3.Connection) -> int:
        """Erase what belongs to nobody else; return how many documents that were.

        Pages that become free must be overwritten by the connection.

        Raises:
            StoreError, sqlite3.Error: as `in_transaction`.
        """
        wanted = self._wanted
        values = {
            "dialect": wanted.dialect,
            "tenant": wanted.tenant,
            "kind": wanted.kind,
            "subject": wanted.subject,
            "until": self._until,
            "later": self._later,
            "streams": json.dumps(sorted(self._streams)),
            "senders": json.dumps(sorted(self._senders - {None})),
        }
        # No event refers to a stream that goes. To find that out, SQLite would read all events.
        db.execute("PRAGMA foreign_keys=OFF")
        try:
            return in_transaction(db, lambda: _forget(db, values))
        finally:
            db.execute("PRAGMA foreign_keys=ON")


def _forget(db: sqlite3.Connection, values: dict[str, Any]) -> int:
    documents = 0
    for table, gone in _TABLES.items():
        kept = f"SELECT * FROM {table} WHERE NOT coalesce(({gone}), 0)"
        [(going,)] = db.execute(f"SELECT count(*) FROM {table} WHERE {gone}", values).fetchall()
        if not going:
            continue
        db.execute(f"CREATE TEMP TABLE kept AS {kept}", values)
        db.execute(f"DELETE FROM main.{table}")
        db.execute(f"INSERT INTO main.{table} SELECT * FROM temp.kept")
        db.execute("DROP TABLE temp.kept")
        documents += going if table == "document" else 0
    return documents
