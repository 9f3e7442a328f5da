"""Appends records: one statement, one round trip, and the verdict of the table's own key.

An attempt whose outcome is unknown is made again with the same ids. The unique key lets a
second one wait for the first; whose event the table then has is told by its id.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.record import EventRecord, Kind, Outcome
from gateway.stores.postgres import quarantine
from gateway.stores.postgres.connections import Connection, Connections, changed
from gateway.stores.postgres.names import Names
from gateway.stores.rejects import Repeats
from gateway.stores.shares import Bound

# Numbers are taken in the order of the records, after the transaction's id. Rows are inserted
# in the order of their keys, so that two gateways never wait for each other.
_APPEND = """
WITH given AS MATERIALIZED (
    SELECT pg_current_xact_id() AS xid, nextval('event_seq') AS seq, sent.*
    FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::integer[], $5::bigint[],
        $6::bigint[], $7::text[], $8::text[], $9::text[], $10::bytea[])
        AS sent (id, key, stream, sender, "time", received_at, type, subject, client_address, data)
)
INSERT INTO event (xid, seq, id, key, stream, sender, "time", received_at, type, subject,
    client_address, data)
SELECT xid, seq, id, key, stream, sender, "time", received_at, type, subject, client_address, data
FROM given
WHERE NOT EXISTS (SELECT FROM expired_key WHERE expired_key.key IN (given.key, given.id))
ORDER BY key ON CONFLICT (key) DO NOTHING
"""
# To the log alone: there is no row that all gateways would have to lock.
WRITE_LOG = "SELECT pg_logical_emit_message(true, 'event-gateway', '')"
"""A transaction that writes something: it is durable once everything before it is."""

_OWNERS = """
SELECT key, id FROM event WHERE key = ANY($1::uuid[])
UNION ALL SELECT key, id FROM expired_key WHERE key = ANY($1::uuid[])
"""


class Writer:
    """Appends for one gateway; several may write to the same store."""

    def __init__(self, connections: Connections, names: Names, bound: Bound) -> None:
        self.repeats = Repeats()
        self._connections = connections
        self._names = names
        self._bound = bound

    async def append(
        self, records: Sequence[EventRecord]
    ) -> tuple[Sequence[Outcome], Mapping[tuple[str, str], int]]:
        """Append *records*; return their outcomes, and how many quarantined records went.

        Raises:
            StoreError: as `gateway.store.Appender.append`.
        """
        first: dict[bytes, EventRecord] = {}
        for record in records:
            first.setdefault(record.identity, record)
        chosen = records if len(first) == len(records) else list(first.values())
        rejected = any(record.kind == Kind.REJECTED for record in chosen)

        async def work(
            connection: Connection,
        ) -> tuple[Mapping[bytes, bytes], Mapping[tuple[str, str], int]]:
            columns = await self._columns(connection, chosen)
            if rejected:
                return await self._append_rejected(connection, chosen, columns)
            inserted = changed(await connection.execute(_APPEND, *columns))
            if inserted == len(chosen):
                return {}, {}
            if not inserted:
                # What is there may have been committed without its wait for the standby. A
                # transaction that writes nothing waits for nothing, so this one writes.
                await connection.execute(WRITE_LOG)
            return await _owners(connection, first), {}

        owners, evicted = await self._connections.run(work)
        outcomes = [
            Outcome.STORED
            if owners.get(one.identity, first[one.identity].id) == one.id
            else Outcome.DUPLICATE
            for one in records
        ]
        if rejected or len(chosen) < len(records):
            self.repeats.note(records, outcomes)
        return outcomes, evicted

    async def _append_rejected(
        self, connection: Connection, records: Sequence[EventRecord], columns: Sequence[Any]
    ) -> tuple[Mapping[bytes, bytes], Mapping[tuple[str, str], int]]:
        async with connection.transaction():
            await quarantine.lock(connection)
            await connection.execute(_APPEND, *columns)
            owners = await _owners(connection, [one.identity for one in records])
            own = [
                one.identity
                for one in records
                if one.kind == Kind.REJECTED and owners.get(one.identity) == one.id
            ]
            evicted = await quarantine.keep(connection, own, self._bound) if own else {}
        return owners, evicted

    async def _columns(
        self, connection: Connection, records: Sequence[EventRecord]
    ) -> Sequence[Any]:
        streams = await self._names.learn_streams(connection, records)
        senders = await self._names.learn_senders(connection, records)
        return (
            [r.id for r in records],
            [r.identity for r in records],
            [streams[r.dialect, r.tenant, r.kind] for r in records],
            [senders[r.sender] for r in records],
            [r.time for r in records],
            [r.received_at for r in records],
            [r.type for r in records],
            [r.subject for r in records],
            [r.client_address for r in records],
            [r.data.encode("utf-8", "surrogatepass") for r in records],
        )


async def _owners(connection: Connection, keys: Iterable[bytes]) -> Mapping[bytes, bytes]:
    """The id of the event that has each of *keys*."""
    return dict(await connection.fetch(_OWNERS, list(keys)))
