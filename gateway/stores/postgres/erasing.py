"""Erases what an operator selects: `gateway.store.Store.prune` in a PostgreSQL store."""

import hashlib
from collections.abc import Sequence
from typing import Any

from gateway.care import Progress
from gateway.errors import StoreError
from gateway.record import Kind, clock
from gateway.store import Pruned, Selection
from gateway.stores.mentions import mentions
from gateway.stores.postgres.connections import BACKGROUND, Connection, Connections, changed
from gateway.stores.postgres.removal import remove
from schemas.times import rfc3339

_AT_ONCE = 1000
_DAY = 86_400_000_000

_STREAMS = "SELECT id, dialect, tenant, kind FROM stream"
_OWNERS = "SELECT DISTINCT dialect, tenant FROM document"
_OLDEST = "SELECT received_at FROM event ORDER BY seq LIMIT 1"
_BOUNDS = "SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM event"
_FITTING = """
SELECT seq, stream, CASE WHEN stream = ANY($6::integer[]) THEN data END FROM event
WHERE seq > $1 AND seq <= $2 AND stream = ANY($3::integer[]) AND received_at < $4
    AND ($5::text IS NULL OR subject = $5 OR stream = ANY($6::integer[]))
ORDER BY seq LIMIT $7
"""
_LEFT = "EXISTS (SELECT FROM event JOIN stream ON stream.id = event.stream WHERE {})"
_OF_OWNER = "($1::text IS NULL OR dialect = $1) AND ($2::text IS NULL OR tenant = $2)"
_NOBODY = "NOT " + _LEFT.format("stream.dialect = {0}.dialect AND stream.tenant = {0}.tenant")
_DOCUMENTS = f"""
DELETE FROM document WHERE {_OF_OWNER} AND modified < $3 AND CASE WHEN $4::text IS NULL
    THEN $2 IS NOT NULL AND {_NOBODY.format("document")}
    ELSE NOT EXISTS (SELECT FROM event WHERE hashtextextended(subject, 0) = hashtextextended($4, 0)
            AND subject = $4)
        AND substr(name, strpos(name, '/') + 1) = $4 END
"""
_COUNTS = f"""
DELETE FROM {{unit}}_count USING count_series WHERE id = series AND {_OF_OWNER}
    AND {{unit}} / {{per_day}} * {_DAY} < $3 AND {_NOBODY.format("count_series")}
"""
_SERIES = f"""
DELETE FROM count_series WHERE {_OF_OWNER} AND {_NOBODY.format("count_series")}
    AND NOT EXISTS (SELECT FROM day_count WHERE series = id)
"""
_PER_DAY = {"minute": 1440, "hour": 24, "day": 1}

_BEGIN = """
INSERT INTO prune (cause, began, events, last_seq, dialect, tenant, kind, subject_digest, before)
VALUES ('request', $1, 0, 0, $2, $3, $4, $5, $6) RETURNING id
"""
_PROGRESS = """
UPDATE prune SET events = events + $2, last_seq = greatest(last_seq, $3) WHERE id = $1
"""
_END = "UPDATE prune SET ended = $2 WHERE id = $1"

REMAINS = (
    "PostgreSQL's own files: what was deleted stays in them until it is overwritten; "
    "`VACUUM FULL` rewrites the tables",
    "the write-ahead log, its archive, standbys and backups",
)
"""Where a copy of what was erased may be, which only the server's administrator can remove."""


async def erase(connections: Connections, wanted: Selection, progress: Progress) -> Pruned:
    """As `gateway.store.Store.prune`."""
    now = clock()
    until = now if wanted.until is None else min(wanted.until, now)
    streams = await connections.run(lambda one: _streams(one, wanted))
    await connections.run(lambda one: _check_time(one, until))
    numbers = [row[0] for row in streams]
    # A quarantined record has no subject: its text is looked at.
    looked_at = [row[0] for row in streams if row[3] == Kind.REJECTED and wanted.subject]
    after, end = await connections.run(lambda one: one.fetchrow(_BOUNDS))
    after, first, count = after - 1, after, 0
    digest = wanted.subject and hashlib.sha256(wanted.subject.encode()).hexdigest()
    names = wanted.dialect, wanted.tenant, wanted.kind, digest, wanted.until
    note = await connections.run(lambda one: one.fetchval(_BEGIN, now, *names))
    while True:
        values = (after, end, numbers, until, wanted.subject, looked_at, _AT_ONCE)

        async def work(connection: Connection, values: Sequence[Any] = values) -> tuple[int, int]:
            async with connection.transaction():
                rows = await connection.fetch(_FITTING, *values)
                gone = [seq for seq, _, data in rows if data is None or _names(data, wanted)]
                await remove(connection, gone, "request", now)
                await connection.execute(_PROGRESS, note, len(gone), max(gone, default=0))
                return len(gone), rows[-1][0] if len(rows) == _AT_ONCE else end

        gone, after = await connections.run(work, command=BACKGROUND)
        count += gone
        progress("erase", after - first + 1, end - first + 1)
        if after >= end:
            break
    documents = await connections.run(lambda one: _forget(one, wanted, until))
    await connections.run(lambda one: one.execute(_END, note, clock()))
    return Pruned(count, documents, list(REMAINS))


def _names(data: bytes, wanted: Selection) -> bool:
    return mentions(data.decode("utf-8", "surrogatepass"), wanted.subject or "")


async def _streams(connection: Connection, wanted: Selection) -> Sequence[Any]:
    """The streams that *wanted* selects. Raises StoreError where it names what is not there."""
    rows = await connection.fetch(_STREAMS)
    owners = [(0, *row, "") for row in await connection.fetch(_OWNERS)]
    for at, what in enumerate(("dialect", "tenant", "kind"), start=1):
        name, known = getattr(wanted, what), {row[at] for row in [*rows, *owners]} - {""}
        if name is not None and name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise StoreError(f"The store has no events of the {what} '{name}'. There are: {there}.")

    def selected(row: Any) -> bool:
        return wanted.dialect in (None, row[1]) and wanted.tenant in (None, row[2])

    found = [row for row in rows if selected(row) and wanted.kind in (None, row[3])]
    if not found and (wanted.kind is not None or not any(map(selected, owners))):
        there = "; ".join(sorted(" / ".join(list(row)[1:]) for row in rows)) or "none"
        raise StoreError(
            f"No events are of all these. There are (dialect / tenant / kind): {there}."
        )
    return found


async def _check_time(connection: Connection, until: int) -> None:
    oldest = await connection.fetchval(_OLDEST)
    if oldest is not None and oldest >= until:
        raise StoreError(
            f"Nothing was received before {rfc3339(until)}; the oldest event is of "
            f"{rfc3339(oldest)}."
        )


async def _forget(connection: Connection, wanted: Selection, until: int) -> int:
    """Delete documents and counts of those who have no events left; return how many documents."""
    if wanted.kind is not None:
        return 0
    async with connection.transaction():
        owner = wanted.dialect, wanted.tenant
        documents = await connection.execute(_DOCUMENTS, *owner, until, wanted.subject)
        if wanted.tenant is not None and wanted.subject is None:
            for unit, per_day in _PER_DAY.items():
                sql = _COUNTS.format(unit=unit, per_day=per_day)
                await connection.execute(sql, *owner, until)
            await connection.execute(_SERIES, *owner)
    return changed(documents)
