"""What the names and the time of a prune mean in an SQLite store."""

import sqlite3

from gateway.errors import StoreError
from gateway.store import Selection
from schemas.times import rfc3339

_STREAMS = "SELECT id, dialect, tenant, kind FROM stream"
_OWNERS = "SELECT DISTINCT dialect, tenant FROM document"


def streams_of(db: sqlite3.Connection, wanted: Selection) -> list[tuple[int, str]]:
    """The number and the kind of each stream that *wanted* selects.

    Raises:
        StoreError: the store has no such tenant, dialect or kind.
    """
    rows = db.execute(_STREAMS).fetchall()
    owners = [(None, *owner, "") for owner in db.execute(_OWNERS)]
    for at, what in enumerate(("dialect", "tenant", "kind"), start=1):
        name, known = getattr(wanted, what), {row[at] for row in [*rows, *owners]} - {""}
        if name is not None and name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise StoreError(f"The store has no events of the {what} '{name}'. There are: {there}.")
    found = [
        (number, kind)
        for number, dialect, tenant, kind in rows
        if wanted.dialect in (None, dialect)
        and wanted.tenant in (None, tenant)
        and wanted.kind in (None, kind)
    ]
    documents = wanted.kind is None and any(
        wanted.dialect in (None, dialect) and wanted.tenant in (None, tenant)
        for _, dialect, tenant, _ in owners
    )
    if not found and not documents:
        there = "; ".join(sorted(" / ".join(row[1:]) for row in rows)) or "none"
        raise StoreError(
            f"No events are of all these. There are (dialect / tenant / kind): {there}."
        )
    return found


def check_time(db: sqlite3.Connection, until: int) -> None:
    """Raise StoreError if the store has events, and all of them were received later."""
    sql = "SELECT received_at FROM event ORDER BY seq LIMIT 1"
    rows = db.execute(sql).fetchall()
    if (
        rows
        and rows[0][0] >= until
        and not value_of(db, f"SELECT EXISTS (SELECT 1 FROM event WHERE received_at < {until:d})")
    ):
        raise StoreError(
            f"Nothing was received before {rfc3339(until)}; the oldest event is of "
            f"{rfc3339(rows[0][0])}."
        )


def value_of(db: sqlite3.Connection, sql: str) -> int:
    """The one number that a statement selects."""
    return int(db.execute(sql).fetchall()[0][0])
