"""The default store: one SQLite file, one transaction per group, fsynced."""

import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from gateway.record import EventRecord, Kind, Outcome
from gateway.sqlite import Database, in_transaction, open_database, open_reader, placeholders
from gateway.store import Selection, StoredDocument

_APPEND = """
INSERT INTO event
    (seq, id, dialect, tenant, kind, type, subject, time, received_at, client_address, key, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
_KEPT = "SELECT seq FROM event WHERE seq >= ?"
_LAST = "SELECT max(coalesce((SELECT max(seq) FROM event), 0), (SELECT seq FROM trimmed))"
# The newest max_rejected stay; older ones go.
_EXCESS = "SELECT seq FROM quarantine ORDER BY seq DESC LIMIT -1 OFFSET ?"
_READ = """
SELECT seq, id, dialect, tenant, kind, type, subject, time, received_at, client_address, key, data
FROM event WHERE seq > ?
"""
_PAGE = 500


def migrations() -> list[str]:
    """The numbered scripts, oldest first."""
    folder = resources.files("gateway.stores") / "migrations"
    scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text() for name in scripts]


class SqliteStore:
    """Keeps records in the table ``event``."""

    def __init__(self, path: Path, database: Database, last: int, max_rejected: int) -> None:
        self.trimmed = 0
        self._path = path
        self._database = database
        self._last = last
        self._max_rejected = max_rejected

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        return await self._database.run(lambda db: self._append(db, records))

    def _append(self, db: sqlite3.Connection, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        first = self._last + 1
        rows = [_row(first + at, record) for at, record in enumerate(records)]
        outcomes = [Outcome.STORED] * len(rows)
        gone = 0

        def work() -> None:
            nonlocal gone
            if db.executemany(_APPEND, rows).rowcount != len(rows):
                kept = {seq for (seq,) in db.execute(_KEPT, (first,))}
                for at in range(len(rows)):
                    if first + at not in kept:
                        outcomes[at] = Outcome.DUPLICATE
            rejected = [
                (first + at,)
                for at, record in enumerate(records)
                if record.kind == Kind.REJECTED and outcomes[at] is Outcome.STORED
            ]
            if rejected:
                gone = self._quarantine(db, rejected)

        in_transaction(db, work)
        self._last += len(rows)
        self.trimmed += gone
        return outcomes

    def _quarantine(self, db: sqlite3.Connection, rejected: Sequence[tuple[int]]) -> int:
        db.executemany("INSERT INTO quarantine VALUES (?)", rejected)
        excess = db.execute(_EXCESS, (self._max_rejected,)).fetchall()
        if excess:
            db.execute("UPDATE trimmed SET seq = max(seq, ?)", max(excess))
        db.executemany("DELETE FROM event WHERE seq = ?", excess)
        db.executemany("DELETE FROM quarantine WHERE seq = ?", excess)
        return len(excess)

    async def known(self, keys: Collection[bytes]) -> set[bytes]:
        asked = list(keys)

        def work(db: sqlite3.Connection) -> set[bytes]:
            found: set[bytes] = set()
            for at in range(0, len(asked), _PAGE):
                page = asked[at : at + _PAGE]
                sql = f"SELECT key FROM event WHERE key IN ({placeholders(page)})"
                found.update(key for (key,) in db.execute(sql, page))
            return found

        return await self._database.run(work)

    async def probe(self) -> None:
        def work(db: sqlite3.Connection) -> None:
            in_transaction(db, lambda: db.execute("UPDATE probe SET count = count + 1"))

        await self._database.run(work)

    def read(self, wanted: Selection) -> AsyncIterator[tuple[int, EventRecord]]:
        return read(self._path, wanted)

    async def get(self, dialect: str, tenant: str, name: str) -> StoredDocument | None:
        def work(db: sqlite3.Connection) -> tuple[str, int] | None:
            found: tuple[str, int] | None = db.execute(
                "SELECT body, modified FROM document WHERE dialect=? AND tenant=? AND name=?",
                (dialect, tenant, name),
            ).fetchone()
            return found

        row = await self._database.run(work)
        return None if row is None else StoredDocument(*row)

    async def put(self, dialect: str, tenant: str, name: str, body: str, now: int) -> None:
        row = (dialect, tenant, name, body, now)

        def work(db: sqlite3.Connection) -> None:
            in_transaction(
                db, lambda: db.execute("REPLACE INTO document VALUES (?, ?, ?, ?, ?)", row)
            )

        await self._database.run(work)

    async def names(self, dialect: str, prefix: str) -> Sequence[tuple[str, str]]:
        return await self._database.run(
            lambda db: db.execute(
                "SELECT tenant, name FROM document WHERE dialect=? AND substr(name, 1, ?)=?",
                (dialect, len(prefix), prefix),
            ).fetchall()
        )

    async def close(self) -> None:
        await self._database.close()


def _row(seq: int, record: EventRecord) -> tuple[Any, ...]:
    return (
        seq,
        record.id,
        record.dialect,
        record.tenant,
        record.kind,
        record.type,
        record.subject,
        record.time,
        record.received_at,
        record.client_address,
        record.key,
        record.data,
    )


async def read(path: Path, wanted: Selection) -> AsyncIterator[tuple[int, EventRecord]]:
    """Read the store at *path*, whoever writes it now, up to what was there at the start.

    Raises:
        StoreError: there is no store, or it cannot be read.
    """
    conditions, values = _conditions(wanted)
    sql = f"{_READ} AND seq <= ? {conditions} ORDER BY seq LIMIT {_PAGE}"
    left = wanted.limit
    async with open_reader(path) as reader:
        [(end,)] = await reader.run(lambda db: db.execute(_LAST).fetchall())
        after = wanted.after
        while left is None or left > 0:
            # A page at a time: no read transaction stays open to hold the WAL back.
            bound = (after, end, *values)
            rows = await reader.run(lambda db, bound=bound: db.execute(sql, bound).fetchall())  # type: ignore[misc]
            for row in rows if left is None else rows[:left]:
                yield row[0], EventRecord(*row[1:])
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)


def _conditions(wanted: Selection) -> tuple[str, list[Any]]:
    clauses = {
        "dialect = ?": wanted.dialect,
        "tenant = ?": wanted.tenant,
        "kind = ?": wanted.kind,
        "received_at >= ?": wanted.since,
        "received_at < ?": wanted.until,
    }
    used = {clause: value for clause, value in clauses.items() if value is not None}
    return "".join(f" AND {clause}" for clause in used), list(used.values())


def path_of(url: str) -> Path:
    """The file that ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` names.

    Raises:
        ValueError: the URL has another form.
    """
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url == prefix:
        raise ValueError("Wants sqlite:///FILE, or sqlite:////FILE for an absolute path.")
    return Path(url[len(prefix) :])


async def open_store(url: str, max_rejected: int) -> SqliteStore:
    """Open the store at *url*, made if absent, keeping at most *max_rejected* quarantined records.

    Raises:
        StoreError: the file cannot be opened or has a newer schema.
        ValueError: the URL names no file.
    """
    path = path_of(url)
    database = await open_database(path, migrations())
    try:
        [(last,)] = await database.run(lambda db: db.execute(_LAST).fetchall())
    except BaseException:
        await database.close()
        raise
    return SqliteStore(path, database, last, max_rejected)
