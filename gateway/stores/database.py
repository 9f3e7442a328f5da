"""The one place that opens SQLite.

Durable means WAL with ``synchronous=FULL``: every commit is fsynced before it
returns. There is one read-write connection per file, held to by a lock, and
readers open the file read-only: whoever writes knows in memory what is in the
file, and SQLite before 3.51.3 can corrupt a WAL that two connections checkpoint
at once.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiosqlite

from gateway.errors import StoreError

T = TypeVar("T")

BUSY_SECONDS = 0.5
"""How long a write waits for another process's lock; agents give up after three seconds."""

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    # 16 MB: rarer checkpoints save little more, and one stops the writer for as long as it takes.
    "PRAGMA wal_autocheckpoint=2000",
)


class Database(aiosqlite.Connection):
    """An aiosqlite connection that can run one function, a whole transaction, in one hop."""

    claim: int | None = None
    """The descriptor that holds the right to write, if this connection has it."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run *work* on the connection's thread.

        Raises:
            StoreError: SQLite could not do it (locked, full, unreadable, closed).
        """
        try:
            # aiosqlite has no public call for this, and a hop costs 70 microseconds.
            result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"{type(error).__name__}: {error}") from error
        return result

    async def close(self) -> None:
        """Close the connection, then let others write. Safe to call twice."""
        try:
            await super().close()
        finally:
            if self.claim is not None:
                os.close(self.claim)
                self.claim = None


def _connect(target: str, *, page_size: int | None = None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        target, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        if page_size is not None:
            connection.execute(f"PRAGMA page_size={page_size:d}")
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        else:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


async def open_database(
    path: Path, migrations: Sequence[str], *, page_size: int = 8192
) -> Database:
    """Open *path* for writing, made if absent, and bring its schema up to date.

    *migrations* are SQL scripts; ``user_version`` counts those already run.

    Raises:
        StoreError: the file cannot be opened, is no database, has a newer schema,
            or belongs to another writer.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path.parent}: {error.strerror}") from error
    claim = _lock_writer(path)
    try:
        database = await _opened(path, lambda: _connect(_uri(path, "rwc"), page_size=page_size))
    except BaseException:
        os.close(claim)
        raise
    database.claim = claim
    try:
        await database.run(lambda connection: _migrate(connection, path, migrations))
    except BaseException:
        await database.close()
        raise
    return database


@asynccontextmanager
async def open_reader(path: Path) -> AsyncIterator[Database]:
    """Open *path* for reading only, beside whoever writes.

    Raises:
        StoreError: there is no such database, or it cannot be read.
    """
    database = await _opened(path, lambda: _connect(_uri(path, "ro")))
    try:
        yield database
    finally:
        await database.close()


def _lock_writer(path: Path) -> int:
    """Take the right to write *path*; it ends with the descriptor, and so with the process."""
    # A file beside it: closing a descriptor of the database itself would drop SQLite's own locks.
    lock = path.with_name(f"{path.name}-writer")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{lock}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        why = "another process writes it" if isinstance(error, BlockingIOError) else error.strerror
        raise StoreError(f"{path}: {why}") from error
    return descriptor


async def _opened(path: Path, connect: Callable[[], sqlite3.Connection]) -> Database:
    database = Database(connect, 64)
    try:
        await database
    except sqlite3.Error as error:
        # The connection's thread reports its end to this loop, which may be closed right after.
        await asyncio.to_thread(database._thread.join)
        raise StoreError(f"{path}: {error}") from error
    return database


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise StoreError(
            f"{path}: schema version {version} is newer than this gateway's {len(migrations)}; "
            "run the gateway that wrote it, or a newer one."
        )
    for number, script in enumerate(migrations[version:], start=version + 1):
        script_in_transaction = f"BEGIN IMMEDIATE;{script};PRAGMA user_version={number:d};COMMIT;"
        try:
            connection.executescript(script_in_transaction)
        except sqlite3.Error:
            if connection.in_transaction:
                connection.rollback()
            raise


def in_transaction(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    """Run *work* between BEGIN IMMEDIATE and COMMIT; roll back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work()
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled the transaction back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def placeholders(values: Sequence[Any]) -> str:
    """As many question marks as *values*, for an IN list."""
    return ",".join("?" * len(values))


def insert_statements(table: str, columns: int) -> dict[int, str]:
    """INSERTs of many rows into *table* (with its columns), by their number of rows.

    SQLite lets go of Python's lock once for a statement, not for each row, and the
    event loop does not have to win it back so often. Few sizes, so that all stay
    prepared.
    """
    row = f"({placeholders(range(columns))})"
    return {
        rows: f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"
        for rows in (256, 64, 16, 4, 1)
    }


def insert_many(
    connection: sqlite3.Connection, sizes: dict[int, str], values: Sequence[Any], columns: int
) -> None:
    """Insert *values*, row after row, by the fewest of the *sizes* of statements."""
    at = 0
    for rows, sql in sizes.items():
        width = rows * columns
        while len(values) - at >= width:
            connection.execute(sql, values[at : at + width])
            at += width
