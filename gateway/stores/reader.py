"""Reads a store's SQLite file beside whoever writes it."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiosqlite
from msgspec.structs import replace

from gateway.errors import Damaged, StoreError
from gateway.query import Page, Search
from gateway.record import EventRecord
from gateway.store import (
    Count,
    CountSelection,
    Passed,
    Quarantined,
    Selection,
    Sighting,
    Skipped,
    StoredDocument,
)
from gateway.stores.database import uri_of
from gateway.stores.schema import as_newest
from gateway.stores.search import search
from gateway.stores.skipping import read_past, sound
from gateway.stores.tallies import read_statement

_LAST = "SELECT coalesce(max(seq), 0) FROM event"
# CROSS JOIN: events in order of seq first, whatever the filter; SQLite keeps that order.
_READ = """
SELECT seq, event.id, dialect, tenant, kind, type, subject, time, received_at, client_address,
    event.key, data, credential || ' ' || user_agent
FROM event CROSS JOIN stream ON stream.id = event.stream
LEFT JOIN sender ON sender.id = event.sender WHERE seq > ? AND seq <= ?
"""
_SIGHTINGS = """
SELECT seq, repeats + 1, received_at, max(received_at, coalesce(last_seen, received_at))
FROM quarantine JOIN event USING (seq) WHERE seq IN (SELECT value FROM json_each(?))
"""
_QUARANTINED = """
SELECT seq, repeats + 1, received_at, max(received_at, coalesce(last_seen, received_at)),
    event.id, dialect, tenant, kind, type, subject, time, received_at, client_address,
    event.key, data, credential || ' ' || user_agent
FROM quarantine CROSS JOIN event USING (seq) JOIN stream ON stream.id = event.stream
LEFT JOIN sender ON sender.id = event.sender
WHERE seq < :before AND coalesce(dialect = :dialect, 1) AND coalesce(tenant = :tenant, 1)
ORDER BY seq DESC LIMIT :limit
"""
_STREAMS = "SELECT dialect, tenant, kind FROM stream ORDER BY 1, 2, 3"
_DOCUMENT = "SELECT body, modified FROM document WHERE dialect=? AND tenant=? AND name=?"
_NAMES = "SELECT tenant, name FROM document WHERE dialect=? AND substr(name, 1, ?)=?"
_LAST_KNOWN = """
SELECT max((SELECT seq FROM trimmed), (SELECT coalesce(max(last_seq), 0) FROM sealed_run))
"""
_PAGE = 500
_NEVER = (1 << 63) - 1
"""A sequence that no event has."""
_SMALLEST_ROW = 50
"""Bytes of the smallest event."""


class SqliteReader:
    """A read-only connection to a store's file, on a thread of its own, opened at first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening = asyncio.Lock()
        self._connection: aiosqlite.Connection | None = None
        self._closing: asyncio.Future[None] | None = None

    async def open(self) -> aiosqlite.Connection:
        """Open the file, unless that is done.

        Raises:
            StoreError: there is no store, or it cannot be read.
        """
        async with self._opening:
            if self._closing is not None:
                raise StoreError(f"{self._path}: closed")
            if self._connection is None:
                self._connection = await _connect(self._path)
            return self._connection

    async def read(
        self, wanted: Selection, skipped: Skipped | None = None
    ) -> AsyncGenerator[tuple[int, EventRecord], None]:
        """As `gateway.store.Reader.read`."""
        found, after = 0, wanted.after
        try:
            async with aclosing(self._read(wanted)) as records:
                async for sequence, record in records:
                    if skipped is not None and not sound(record):
                        skipped(sequence, sequence)
                    else:
                        yield sequence, record
                        found += 1
                    after = sequence
            return
        except Damaged:
            if skipped is None:
                raise
        if wanted.limit is not None:
            wanted = replace(wanted, limit=wanted.limit - found)
        end = await self._end()
        async with aclosing(
            read_past(self._fetch, replace(wanted, after=after), end, skipped)
        ) as rest:
            left = wanted.limit
            async for one in rest:
                if left == 0:
                    return
                left = None if left is None else left - 1
                yield one

    async def _fetch(self, after: int, end: int, limit: int) -> Sequence[sqlite3.Row]:
        return await self._rows(f"{_READ} ORDER BY seq LIMIT {limit:d}", (after, end))

    async def _end(self) -> int:
        """The last sequence, or if that cannot be read a number that is not smaller."""
        try:
            [(end,)] = await self._rows(_LAST)
        except Damaged:
            # Each event takes some bytes at least.
            [(known,)] = await self._rows(_LAST_KNOWN)
            end = known + await asyncio.to_thread(_size, self._path) // _SMALLEST_ROW
        return int(end)

    async def _read(self, wanted: Selection) -> AsyncGenerator[tuple[int, EventRecord], None]:
        conditions, values = _conditions(wanted)
        sql = f"{_READ} {conditions} ORDER BY seq LIMIT {_PAGE}"
        left = wanted.limit
        [(end,)] = await self._rows(_LAST)
        after = wanted.after
        while left is None or left > 0:
            # A page at a time: no read transaction stays open to hold the WAL back.
            rows = await self._rows(sql, (after, end, *values))
            for row in rows if left is None else rows[:left]:
                yield row[0], EventRecord(*row[1:])
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)

    async def counts(self, wanted: CountSelection) -> Sequence[Count]:
        """As `gateway.store.Reader.counts`."""
        return [Count(*row) for row in await self._rows(*read_statement(wanted))]

    async def sightings(self, sequences: Collection[int]) -> Mapping[int, Sighting]:
        """As `gateway.store.Reader.sightings`."""
        rows = await self._rows(_SIGHTINGS, (json.dumps(list(sequences)),))
        return {seq: Sighting(*seen) for seq, *seen in rows}

    async def quarantined(
        self,
        *,
        dialect: str | None = None,
        tenant: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> Sequence[Quarantined]:
        """As `gateway.store.Reader.quarantined`."""
        end = _NEVER if before is None else before
        values = {"dialect": dialect, "tenant": tenant, "before": end, "limit": limit}
        rows = await self._rows(_QUARANTINED, values)
        return [Quarantined(row[0], EventRecord(*row[4:]), Sighting(*row[1:4])) for row in rows]

    async def streams(self) -> Sequence[tuple[str, str, str]]:
        """As `gateway.store.Reader.streams`."""
        return [(row[0], row[1], row[2]) for row in await self._rows(_STREAMS)]

    async def search(self, wanted: Search, seconds: float, progress: Passed | None = None) -> Page:
        """As `gateway.store.Reader.search`."""
        return await search(self._rows, wanted, seconds, progress)

    async def get(self, dialect: str, tenant: str, name: str) -> StoredDocument | None:
        """As `gateway.store.Documents.get`."""
        rows = await self._rows(_DOCUMENT, (dialect, tenant, name))
        return StoredDocument(*rows[0]) if rows else None

    async def names(self, dialect: str, prefix: str) -> Sequence[tuple[str, str]]:
        """As `gateway.store.Documents.names`."""
        rows = await self._rows(_NAMES, (dialect, len(prefix), prefix))
        return [(tenant, name) for tenant, name in rows]

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Keep the file closed; whoever reads meanwhile waits."""
        async with self._opening:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()
            yield

    async def close(self) -> None:
        """Close the connection and end its thread. Safe to call twice."""
        # Once: aiosqlite waits for ever if it is closed while it closes.
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        async with self._opening:
            if self._connection is not None:
                await self._connection.close()

    async def _rows(
        self, sql: str, values: Iterable[object] | Mapping[str, object] = ()
    ) -> Sequence[sqlite3.Row]:
        connection = await self.open()
        try:
            return list(await connection.execute_fetchall(sql, values))
        # aiosqlite raises ValueError once the connection is closed.
        except (sqlite3.Error, ValueError) as error:
            kind = Damaged if _is_damage(error) else StoreError
            raise kind(f"{self._path}: {error}") from error


def _is_damage(error: Exception) -> bool:
    # What cannot be decoded as text has no code of SQLite.
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR)


def _size(path: Path) -> int:
    wal = path.with_name(f"{path.name}-wal")
    return sum(one.stat().st_size for one in (path, wal) if one.exists())


class Readings:
    """The half of a store that reads its file beside its own writing."""

    def __init__(self, path: Path) -> None:
        self._file = path
        # For documents: they do not wait for a long read, which has a connection of its own.
        self.document_reader = SqliteReader(path)

    async def get(self, dialect: str, tenant: str, name: str) -> StoredDocument | None:
        """As `gateway.store.Documents.get`."""
        return await self.document_reader.get(dialect, tenant, name)

    async def names(self, dialect: str, prefix: str) -> Sequence[tuple[str, str]]:
        """As `gateway.store.Documents.names`."""
        return await self.document_reader.names(dialect, prefix)

    async def read(
        self, wanted: Selection, skipped: Skipped | None = None
    ) -> AsyncGenerator[tuple[int, EventRecord], None]:
        """As `gateway.store.Reader.read`."""
        async with self._beside() as reader:
            async for found in reader.read(wanted, skipped):
                yield found

    async def counts(self, wanted: CountSelection) -> Sequence[Count]:
        """As `gateway.store.Reader.counts`."""
        async with self._beside() as reader:
            return await reader.counts(wanted)

    async def quarantined(
        self,
        *,
        dialect: str | None = None,
        tenant: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> Sequence[Quarantined]:
        """As `gateway.store.Reader.quarantined`."""
        # They are few at a time, and asked for again and again.
        return await self.document_reader.quarantined(
            dialect=dialect, tenant=tenant, before=before, limit=limit
        )

    async def streams(self) -> Sequence[tuple[str, str, str]]:
        """As `gateway.store.Reader.streams`."""
        async with self._beside() as reader:
            return await reader.streams()

    async def search(self, wanted: Search, seconds: float, progress: Passed | None = None) -> Page:
        """As `gateway.store.Reader.search`."""
        async with self._beside() as reader:
            return await reader.search(wanted, seconds, progress)

    async def sightings(self, sequences: Collection[int]) -> Mapping[int, Sighting]:
        """As `gateway.store.Reader.sightings`."""
        async with self._beside() as reader:
            return await reader.sightings(sequences)

    @asynccontextmanager
    async def _beside(self) -> AsyncIterator[SqliteReader]:
        reader = SqliteReader(self._file)
        try:
            yield reader
        finally:
            await reader.close()


def _conditions(wanted: Selection) -> tuple[str, list[Any]]:
    clauses = {
        "dialect = ?": wanted.dialect,
        "tenant = ?": wanted.tenant,
        "kind = ?": wanted.kind,
        "subject = ?": wanted.subject,
        "received_at >= ?": wanted.since,
        "received_at < ?": wanted.until,
    }
    used = {clause: value for clause, value in clauses.items() if value is not None}
    return "".join(f" AND {clause}" for clause in used), list(used.values())


async def _connect(path: Path) -> aiosqlite.Connection:
    uri = uri_of(path, "ro")
    try:
        # aiosqlite's thread outlives a failure to open, and then reports to a loop that may be
        # closed. So whether the file can be read is found out before.
        await asyncio.to_thread(_try, uri)
        connection = await aiosqlite.connect(uri, uri=True, isolation_level=None)
        try:
            [(version,)] = await connection.execute_fetchall("PRAGMA user_version")
            await connection.executescript(as_newest(version))
        except BaseException:
            await connection.close()
            raise
        return connection
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def _try(uri: str) -> None:
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
