"""Reads a PostgreSQL store: in the order of its sequences, or newest first."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from gateway.errors import StoreError
from gateway.query import Page, Search
from gateway.record import EventRecord, key_of
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
from gateway.stores.postgres import tallies
from gateway.stores.postgres.connections import Connection, Connections, ResultT

_PAGE = 500
_FIRST_WINDOW = 4096
"""Sequences that a search looks at first; further windows are larger."""

_LONGEST = 600.0
"""Seconds that one statement of a reader may take."""

_HORIZON_WAIT = 10.0
"""Seconds for which a reader waits for transactions that have not ended."""

_SLACK = 2_000_000
"""Microseconds between the time in an id and that of the receipt of its event, at most."""

_FIELDS = """
seq, event.id, dialect, tenant, kind, type, subject, "time", received_at, client_address,
NULLIF(event.key, event.id), data, credential || ' ' || user_agent
"""
_FROM = """
FROM event JOIN stream ON stream.id = event.stream LEFT JOIN sender ON sender.id = event.sender
"""
# The hash is what the index has.
_SUBJECT = "subject = {0} AND hashtextextended(subject, 0) = hashtextextended({0}::text, 0)"
_LAST_GIVEN = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM event_seq"
_OWN_XID = "SELECT pg_current_xact_id()::text::bigint"
_OLDEST_OPEN = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_BOUNDS = "SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM event"
_STREAMS = """
SELECT dialect, tenant, kind FROM stream
ORDER BY dialect COLLATE "C", tenant COLLATE "C", kind COLLATE "C"
"""
_NUMBERED = "SELECT id, dialect, tenant, kind FROM stream"
_SEEN = "repeats + 1, received_at, greatest(received_at, coalesce(last_seen, received_at))"
_SIGHTINGS = f"""
SELECT seq, {_SEEN}
FROM quarantine JOIN event USING (seq) WHERE seq = ANY($1::bigint[])
"""
_DOCUMENT = "SELECT body, modified FROM document WHERE dialect = $1 AND tenant = $2 AND name = $3"
_NAMES = "SELECT tenant, name FROM document WHERE dialect = $1 AND starts_with(name, $2)"


class PostgresReader:
    """Reads with connections of its own, so that no read waits for a write, or holds one up."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    async def read(
        self, wanted: Selection, skipped: Skipped | None = None
    ) -> AsyncGenerator[tuple[int, EventRecord], None]:
        """As `gateway.store.Reader.read`. PostgreSQL tells no damage row by row."""
        conditions = _Conditions()
        for column, value in (
            ("dialect = {}", wanted.dialect),
            ("tenant = {}", wanted.tenant),
            ("kind = {}", wanted.kind),
            (_SUBJECT, wanted.subject),
            ("received_at >= {}", wanted.since),
            ("received_at < {}", wanted.until),
        ):
            conditions.add(column, value)
        after, left = wanted.after, wanted.limit
        end = await self.horizon()
        first, last = conditions.bind(0), conditions.bind(end)
        sql = f"SELECT {_FIELDS} {_FROM} WHERE seq > {first} AND seq <= {last}{conditions.sql}"
        while left is None or left > 0:
            values = [*conditions.values[:-2], after, end]
            rows = await self._fetch(f"{sql} ORDER BY seq LIMIT {_PAGE}", *values)
            for row in rows if left is None else rows[:left]:
                yield row[0], _record(row)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)

    async def horizon(self) -> int:
        """A sequence such that none at or below it can still be committed.

        Raises:
            StoreError: a transaction stays open.
        """

        async def work(connection: Connection) -> int:
            last: int = await connection.fetchval(_LAST_GIVEN)
            # In a later statement: whoever took a number up to there has a lower xid, as
            # writers take theirs first.
            own = await connection.fetchval(_OWN_XID)
            until = time.monotonic() + _HORIZON_WAIT
            while await connection.fetchval(_OLDEST_OPEN) <= own:
                if time.monotonic() > until:
                    raise StoreError("A transaction on the server does not end.")
                await asyncio.sleep(0.002)
            return last

        return await self._run(work)

    async def search(self, wanted: Search, seconds: float, progress: Passed | None = None) -> Page:
        """As `gateway.store.Reader.search`."""
        until = time.monotonic() + seconds
        numbered = await self._fetch(_NUMBERED)
        chosen = [row for row in numbered if wanted.is_of(*row[1:])]
        if not chosen or wanted.limit == 0:
            return Page([], None)
        conditions = _Conditions()
        for condition, value in (
            ("event.stream = ANY({}::integer[])", [row[0] for row in chosen]),
            ("type = {}", wanted.type),
            (_SUBJECT, wanted.subject),
            ("received_at >= {}", wanted.since),
            ("received_at < {}", wanted.until),
            ("position({}::bytea IN data) > 0", _encoded(wanted.text)),
            ("seq < {}", wanted.before),
        ):
            conditions.add(condition, value)
        if wanted.id is not None:
            conditions.sql += f" AND ({_is_one(conditions, chosen, wanted.id)})"
            return await self._newest(conditions, wanted.limit)
        return await self._windows(conditions, wanted, until, progress)

    async def _newest(self, conditions: "_Conditions", limit: int) -> Page:
        sql = f"SELECT {_FIELDS} {_FROM} WHERE true{conditions.sql} ORDER BY seq DESC"
        rows = await self._fetch(f"{sql} LIMIT {limit:d}", *conditions.values)
        return _page(rows, limit)

    async def _windows(
        self,
        conditions: "_Conditions",
        wanted: Search,
        until: float,
        progress: Passed | None,
    ) -> Page:
        """Look at ever larger windows of sequences, newest first, until the time is up."""
        oldest, newest = (await self._fetch(_BOUNDS))[0]
        if wanted.before is not None:
            newest = min(newest, wanted.before - 1)
        high, size = newest, _FIRST_WINDOW
        first, last = conditions.bind(0), conditions.bind(0)
        sql = f"SELECT {_FIELDS} {_FROM} WHERE seq >= {first} AND seq <= {last}{conditions.sql}"
        found: list[Any] = []
        while high >= oldest:
            low = max(oldest, high - size + 1)
            started = time.monotonic()
            left = wanted.limit - len(found)
            values = [*conditions.values[:-2], low, high]
            found += await self._fetch(f"{sql} ORDER BY seq DESC LIMIT {left:d}", *values)
            now = time.monotonic()
            if len(found) >= wanted.limit:
                break
            if progress is not None:
                progress(newest - low + 1, newest - oldest + 1)
            if now > until and low > oldest:
                return Page([(row[0], _record(row)) for row in found], low)
            # As much as the time that is left allows, at the pace of the last window.
            pace = size / max(now - started, 0.001)
            size = max(_FIRST_WINDOW, min(size * 4, int(pace * (until - now))))
            high = low - 1
        return _page(found, wanted.limit)

    async def counts(self, wanted: CountSelection) -> Sequence[Count]:
        """As `gateway.store.Reader.counts`."""
        return await self._run(lambda connection: tallies.read(connection, wanted))

    async def sightings(self, sequences: Collection[int]) -> Mapping[int, Sighting]:
        """As `gateway.store.Reader.sightings`."""
        rows = await self._fetch(_SIGHTINGS, list(sequences))
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
        conditions = _Conditions()
        for condition, value in (
            ("dialect = {}", dialect),
            ("tenant = {}", tenant),
            ("seq < {}", before),
        ):
            conditions.add(condition, value)
        sql = f"SELECT {_FIELDS}, {_SEEN} {_FROM} JOIN quarantine USING (seq) WHERE true"
        rows = await self._fetch(
            f"{sql}{conditions.sql} ORDER BY seq DESC LIMIT {limit:d}", *conditions.values
        )
        return [Quarantined(row[0], _record(row[:13]), Sighting(*row[13:])) for row in rows]

    async def streams(self) -> Sequence[tuple[str, str, str]]:
        """As `gateway.store.Reader.streams`."""
        return [(row[0], row[1], row[2]) for row in await self._fetch(_STREAMS)]

    async def get(self, dialect: str, tenant: str, name: str) -> StoredDocument | None:
        """As `gateway.store.Documents.get`."""
        # A client waits for this one: it has the time of a write.
        rows = await self.connections.run(lambda one: one.fetch(_DOCUMENT, dialect, tenant, name))
        return StoredDocument(decoded(rows[0][0]), rows[0][1]) if rows else None

    async def names(self, dialect: str, prefix: str) -> Sequence[tuple[str, str]]:
        """As `gateway.store.Documents.names`."""
        return [(tenant, name) for tenant, name in await self._fetch(_NAMES, dialect, prefix)]

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        await self.connections.close()

    async def _fetch(self, sql: str, *values: Any) -> Sequence[Any]:
        async def work(connection: Connection) -> Sequence[Any]:
            return await connection.fetch(sql, *values)

        return await self._run(work)

    async def _run(self, work: Callable[[Connection], Awaitable[ResultT]]) -> ResultT:
        return await self.connections.run(work, command=_LONGEST)


class _Conditions:
    """Conditions of a statement, and the values of their parameters."""

    def __init__(self) -> None:
        self.sql = ""
        self.values: list[Any] = []

    def bind(self, value: Any) -> str:
        """The parameter that stands for *value*."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str, value: Any) -> None:
        """Add *condition*, with a parameter in it for *value*, unless that is None."""
        if value is not None:
            self.sql += f" AND {condition.format(self.bind(value))}"


def _is_one(conditions: _Conditions, streams: Sequence[Any], wanted: str) -> str:
    """The condition that an event has *wanted* as its own id or as its client's."""
    keys = conditions.bind([key_of(*row[1:], wanted) for row in streams])
    either = f"event.key = ANY({keys}::uuid[])"
    try:
        own = uuid.UUID(wanted).bytes
    except ValueError:
        return either
    received = int.from_bytes(own[:6], "big") * 1000
    first = conditions.bind(received - _SLACK)
    last = conditions.bind(received + _SLACK)
    same = conditions.bind(own)
    return f"{either} OR (received_at BETWEEN {first} AND {last} AND event.id = {same})"


def _page(rows: Sequence[Any], limit: int) -> Page:
    found = [(row[0], _record(row)) for row in rows]
    return Page(found, found[-1][0] if len(found) == limit else None)


def _record(row: Any) -> EventRecord:
    fields = list(row)[1:]
    fields[10] = decoded(fields[10])
    return EventRecord(*fields)


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogatepass")


def decoded(raw: bytes) -> str:
    """The text that is kept as *raw*: PostgreSQL's own texts have no NUL."""
    return raw.decode("utf-8", "surrogatepass")
