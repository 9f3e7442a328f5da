"""The one place that opens SQLite for writing.

Durable means WAL with ``synchronous=FULL``: every commit is fsynced before it
returns. Each file has one read-write connection, on a separate thread, and
a lock that excludes other writers. Readers open the file read-only. There are two
reasons: the writer keeps in memory what is in the file, and SQLite before 3.51.3 can
corrupt a WAL that two connections checkpoint at the same time.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TypeVar
from urllib.parse import quote

from gateway.buckets import Buckets
from gateway.errors import StoreError
from gateway.stores.claim import Claim
from gateway.stores.executor import SerialExecutor
from gateway.stores.schema import schema_faults
from gateway.stores.statements import SYNC_SECONDS, in_transaction

T = TypeVar("T")

BUSY_SECONDS = 0.5
"""How long a write waits for the lock of another process; agents wait three seconds."""

_TRIES = 50
"""How often the WAL is tried to be emptied, a tenth of a second apart."""

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    # Deleted content is overwritten within its page. `gateway prune` overwrites free pages too.
    "PRAGMA secure_delete=FAST",
    # 16 MB: rarer checkpoints save little more, and one stops the writer for as long as it takes.
    "PRAGMA wal_autocheckpoint=2000",
    # A long read lets the WAL grow; afterwards it is cut. More than checkpoints leave otherwise.
    "PRAGMA journal_size_limit=67108864",
)

# Before sqlite3 binds bytes or None it looks for what adapts them. Where nothing is registered it
# looks for two attributes that are missing too, which costs a twentieth of a whole event.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(NoneType, lambda none: none)


@dataclass(frozen=True, slots=True)
class Engine:
    """What a database runs on. A simulation gives it a clock and faults of its own."""

    executor: Callable[[str], SerialExecutor] = SerialExecutor
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect


ENGINE = Engine()


class Database:
    """The read-write connection of one file, and the only thread that uses it."""

    def __init__(self, path: Path, engine: Engine = ENGINE) -> None:
        self._path = path
        self.claim = Claim(path)
        self.sync_seconds = Buckets(SYNC_SECONDS)
        """How long each `write` took to reach the disk, in its COMMIT."""
        self._connect = engine.connect
        self._executor = engine.executor(f"sqlite {path.name}")
        self._connection: sqlite3.Connection | None = None

    async def open(self, migrations: Sequence[str], page_size: int) -> None:
        """Open the file; on failure it is closed again. For the rest see `open_database`."""
        try:
            await self._executor.run(self._open, migrations, page_size)
        except BaseException:
            await self.close()
            raise

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run *work*, mostly a whole transaction, on the connection's thread.

        Raises:
            StoreError: SQLite could not do it (locked, full, unreadable, closed), or
                memory ran out.
        """
        # Whether there is a connection is asked on its thread: `exchange` has none for a moment.
        if self._executor.closed:
            raise StoreError(f"{self._path}: closed")
        try:
            return await self._executor.run(self._run, work)
        except (sqlite3.Error, UnicodeError, MemoryError) as error:
            raise StoreError(f"{type(error).__name__}: {error}") from error

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run *work* in a transaction, unless the files were removed or replaced.

        Raises:
            StoreError: as for `run`, or a file is lost.
        """

        def checked(connection: sqlite3.Connection) -> T:
            self.claim.check()
            return in_transaction(connection, lambda: work(connection), self.sync_seconds.observe)

        return await self.run(checked)

    async def empty_wal(self) -> None:
        """Move all of the WAL into the file, and cut it to nothing.

        Raises:
            StoreError: another program reads the file.
        """
        for _ in range(_TRIES):
            [(busy, _, _)] = await self.run(
                lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            )
            if not busy:
                return
            await asyncio.sleep(0.1)
        raise StoreError(
            f"{self.claim.wal} could not be emptied, because another program reads the database. "
            "End it, an export for example, and try again."
        )

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            raise StoreError(f"{self._path}: closed")
        return work(self._connection)

    async def exchange(
        self,
        before: Callable[[sqlite3.Connection], object],
        swap: Callable[[], object],
        after: Callable[[sqlite3.Connection], object],
    ) -> None:
        """Put another file in the place of this one, while no other work runs.

        *before* has the last word with the old file, *swap* replaces it, *after* has the
        first word with the new one. If *before* raises, nothing is replaced.
        """

        def work(connection: sqlite3.Connection) -> None:
            before(connection)
            self._connection = None
            connection.close()
            try:
                self.claim.exchange(swap)
            finally:
                self._connection = self._connected()
            after(self._connection)

        await self.run(work)

    async def close(self) -> None:
        """Do what was asked before, close the file, then let others write. Safe to call twice."""
        await self._executor.close(self._release)

    def _open(self, migrations: Sequence[str], page_size: int) -> None:
        path = self._path
        self.claim.take()
        self.claim.write_wal_again()
        try:
            self._connection = connection = self._connected(page_size)
            _check(connection, path, migrations)
            _migrate(connection, path, migrations)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}.{_advice(error)}") from error

    def _connected(self, page_size: int | None = None) -> sqlite3.Connection:
        connection = self._connect(
            uri_of(self._path, "rwc"), uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
        try:
            if page_size is not None:
                connection.execute(f"PRAGMA page_size={page_size:d}")
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            # Not later: the error refers to this frame, and keeps the connection alive.
            connection.close()
            raise
        return connection

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                # Closing alone leaves the WAL as it is while anybody else has the file open.
                with suppress(sqlite3.Error):
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.close()
                self.claim.report_wal()
        finally:
            self.claim.release()


async def open_database(
    path: Path, migrations: Sequence[str], *, page_size: int = 8192, engine: Engine = ENGINE
) -> Database:
    """Open *path* for writing, made if absent, and bring its schema up to date.

    *migrations* are SQL scripts; ``user_version`` counts those already run.

    Raises:
        StoreError: the file cannot be opened, is no database, has a newer schema,
            or belongs to another writer.
    """
    database = Database(path, engine)
    await database.open(migrations, page_size)
    return database


def uri_of(path: Path, mode: str) -> str:
    """The URI that opens *path* in *mode*: ``ro``, ``rw``, ``rwc``."""
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


_ADVICE = (
    " Restore a backup with gateway restore, or copy what can be read into a new file with gateway "
    "recover. If the file belongs to something else, name another one in the configuration."
)


def _advice(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return _ADVICE if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else ""


def _check(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise StoreError(
            f"{path}: schema version {version} is newer than this gateway's {len(migrations)}; "
            "run the gateway that wrote it, or a newer one."
        )
    if faults := schema_faults(connection, migrations):
        raise StoreError(f"{path}: not as version {version} has it: {'; '.join(faults)}.{_ADVICE}")


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    for number, script in enumerate(migrations[version:], start=version + 1):
        script_in_transaction = f"BEGIN IMMEDIATE;{script};PRAGMA user_version={number:d};COMMIT;"
        try:
            connection.executescript(script_in_transaction)
        except sqlite3.Error:
            if connection.in_transaction:
                connection.rollback()
            raise
