"""Quarantined records: the newest of each tenant stay, whichever gateway stored them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from gateway.store import Departure
from gateway.stores.postgres.connections import Connection
from gateway.stores.postgres.removal import SEGMENT, remove
from gateway.stores.shares import Bound, excess

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('event-gateway quarantine'))"
_NOTE = """
INSERT INTO quarantine (seq, key, stream, size)
SELECT seq, key, stream, octet_length(data) FROM event WHERE key = ANY($1::uuid[])
ON CONFLICT DO NOTHING
"""
_TOTALS = """
SELECT stream, count(*), sum(size)::bigint, dialect, tenant
FROM quarantine JOIN stream ON stream.id = quarantine.stream GROUP BY stream, dialect, tenant
"""
_OLDEST = "SELECT seq, size FROM quarantine WHERE stream = ANY($1::integer[]) ORDER BY seq LIMIT $2"
_REMOVE = """
WITH gone AS (
    DELETE FROM quarantine WHERE seq = ANY($1::bigint[])
), outdated AS (
    DELETE FROM segment WHERE number IN (SELECT DISTINCT one / $2 FROM unnest($1::bigint[]) AS one)
)
DELETE FROM event WHERE seq = ANY($1::bigint[])
"""
_REPEAT = """
UPDATE quarantine SET repeats = repeats + more, last_seen = greatest(coalesce(last_seen, 0), seen)
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS told (key, more, seen)
WHERE quarantine.key = told.key
"""

_QUARANTINED = "SELECT seq FROM quarantine WHERE seq = ANY($1::bigint[])"

Owner = tuple[str, str]
"""A dialect and a tenant."""


async def lock(connection: Connection) -> None:
    """Let no other transaction change the quarantine until this one ends."""
    await connection.execute(_LOCK)


async def keep(connection: Connection, keys: Sequence[bytes], bound: Bound) -> Mapping[Owner, int]:
    """Note stored events with these *keys* as quarantined, and bring the quarantine to *bound*.

    Returns how many records of each tenant went. Must be in a transaction that has the `lock`.
    """
    await connection.execute(_NOTE, keys)
    totals: dict[int, tuple[int, int]] = {}
    owners: dict[int, Owner] = {}
    for stream, count, size, dialect, tenant in await connection.fetch(_TOTALS):
        totals[stream], owners[stream] = (count, size), (dialect, tenant)
    records = sum(count for count, _ in totals.values()) - bound.records
    size = sum(one for _, one in totals.values()) - bound.size
    if records <= 0 and size <= 0:
        return {}
    # No stream can lose more records than all of them: read just as many of each as may go.
    queues = {
        stream: [tuple(row) for row in await connection.fetch(_OLDEST, [stream], count)]
        for stream, (count, _) in totals.items()
    }
    chosen, _ = excess(totals, lambda stream: iter(queues[stream]), bound)
    await connection.execute(_REMOVE, [seq for one in chosen.values() for seq in one], SEGMENT)
    by_tenant: Counter[Owner] = Counter()
    for stream, sequences in chosen.items():
        by_tenant[owners[stream]] += len(sequences)
    return by_tenant


async def add_repeats(connection: Connection, repeats: Mapping[bytes, tuple[int, int]]) -> None:
    """Write how often quarantined records with these keys were sent again, and when last."""
    keys = sorted(repeats)
    times = [repeats[key][0] for key in keys]
    await connection.execute(_REPEAT, keys, times, [repeats[key][1] for key in keys])


async def release(
    connection: Connection, sequences: Sequence[int], why: Departure, now: int
) -> int:
    """As `gateway.store.Store.release`, in a transaction of the caller."""
    await lock(connection)
    found = [row[0] for row in await connection.fetch(_QUARANTINED, sequences)]
    await remove(connection, found, why, now)
    return len(found)
