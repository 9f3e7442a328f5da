"""A store in PostgreSQL, to which several gateways may write."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from gateway.care import Progress
from gateway.policy import Expired, RetentionPolicy
from gateway.record import EventRecord, Outcome
from gateway.store import Content, Count, Departure, Pruned, Selection
from gateway.stores.postgres.connections import Connection, Connections
from gateway.stores.postgres.erasing import erase
from gateway.stores.postgres.names import Names
from gateway.stores.postgres.quarantine import add_repeats, release
from gateway.stores.postgres.reading import PostgresReader, decoded
from gateway.stores.postgres.retention import Retention
from gateway.stores.postgres.tallies import Numbers, Series
from gateway.stores.postgres.url import Target
from gateway.stores.postgres.writing import WRITE_LOG, Writer
from gateway.stores.shares import Bound

_KNOWN = """
SELECT key FROM event WHERE key = ANY($1::uuid[])
UNION SELECT key FROM expired_key WHERE key = ANY($1::uuid[])
"""
# Texts are read, the newest first, while they are not more than wanted together.
_CONTENTS = """
SELECT key, id, data FROM (
    SELECT key, id, data, sum(octet_length(data)) OVER (ORDER BY seq DESC) AS size
    FROM event JOIN stream ON stream.id = event.stream
    WHERE key = ANY($1::uuid[]) AND kind <> 'rejected'
) AS held WHERE size <= $2
"""
_PUT = """
INSERT INTO document (dialect, tenant, name, body, modified) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (dialect, tenant, name) DO UPDATE SET body = excluded.body, modified = excluded.modified
"""
_QUICK = 0.5
"""Seconds for what a client or the readiness check waits for."""


class PostgresStore(PostgresReader):
    """Keeps records in the table ``event``, whose unique key decides what is a duplicate."""

    def __init__(self, target: Target, bound: Bound) -> None:
        super().__init__(Connections(target))
        self.evicted: Counter[tuple[str, str]] = Counter()
        self._writing = Connections(target)
        self._names = Names()
        self._writer = Writer(self._writing, self._names, bound)
        self._series = Series()
        self._retention = Retention(self._writing)
        self._closing: asyncio.Task[None] | None = None

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        if not records:
            return []
        outcomes, evicted = await self._writer.append(records)
        self.evicted.update(evicted)
        return outcomes

    async def reconcile(self, ids: Collection[bytes]) -> None:
        # Each row has its id: an append finds out by itself whose event the store has.
        return None

    async def known(self, keys: Collection[bytes]) -> set[bytes]:
        asked = list(keys)
        rows = await self.connections.run(lambda one: one.fetch(_KNOWN, asked), patience=_QUICK)
        return {row[0] for row in rows}

    async def add_counts(self, counts: Sequence[Count]) -> None:
        repeats = self._writer.repeats.take()

        async def work(connection: Connection) -> Numbers | None:
            async with connection.transaction():
                if repeats:
                    await add_repeats(connection, repeats)
                return await self._series.add(connection, counts) if counts else None

        try:
            # Sent once: a second time might count everything twice.
            numbers = await self._writing.run(work, repeat=False)
        except BaseException:
            self._writer.repeats.put_back(repeats)
            raise
        if numbers is not None:
            self._series.learn(numbers)

    async def probe(self) -> None:
        await self._writing.run(lambda one: one.execute(WRITE_LOG), patience=_QUICK)

    async def put(self, dialect: str, tenant: str, name: str, body: str, now: int) -> None:
        raw = body.encode("utf-8", "surrogatepass")
        await self._writing.run(lambda one: one.execute(_PUT, dialect, tenant, name, raw, now))

    async def index(self, seconds: float) -> bool:
        # PostgreSQL keeps its indexes itself.
        return False

    async def expire(self, policy: RetentionPolicy, now: int) -> Expired:
        return await self._retention.step(policy, now)

    async def prune(self, wanted: Selection, progress: Progress) -> Pruned:
        done = await erase(self._writing, wanted, progress)
        self._series.forget()
        return done

    async def contents(
        self, keys: Collection[bytes], seconds: float, max_bytes: int
    ) -> Mapping[bytes, Content]:
        asked = list(keys)
        rows = await self.connections.run(
            lambda one: one.fetch(_CONTENTS, asked, max_bytes), command=seconds, patience=seconds
        )
        return {key: Content(own, decoded(data)) for key, own, data in rows}

    async def release(self, sequences: Collection[int], why: Departure, now: int) -> int:
        async def work(connection: Connection) -> int:
            async with connection.transaction():
                return await release(connection, list(sequences), why, now)

        return await self._writing.run(work)

    async def close(self) -> None:
        await self._writing.close()
        await super().close()
