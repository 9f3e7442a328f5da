"""Retention of a PostgreSQL store: small transactions, one gateway at a time.

How large the store is, is added up from the texts of its events and what a row takes
besides; free pages do not count, as PostgreSQL uses them again. The sum of a range of
sequences is kept, and made again only when something in the range was deleted.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.policy import EVENT_BYTES, Expired, RetentionPolicy
from gateway.stores.postgres.connections import BACKGROUND, Connection, Connections, changed
from gateway.stores.postgres.removal import SEGMENT, remove

ROW = 270
"""Bytes that a row takes in the table and its indexes besides its text."""

KEYS_KEPT = 24 * 3600 * 1_000_000
"""Microseconds for which the key of a deleted event stays known."""

_ROWS = 1000
"""Rows that one step deletes at most."""

_SEGMENTS = 32
"""Ranges that one step adds up at most."""

_TAKE_TURN = "SELECT pg_try_advisory_xact_lock(hashtext('event-gateway retention'))"
_STREAMS = "SELECT id, dialect, tenant, kind FROM stream"
_AHEAD = """
SELECT seq, received_at FROM event WHERE stream = $1 AND seq > $2 ORDER BY seq LIMIT $3
"""
_FORGET_KEYS = """
DELETE FROM expired_key WHERE key IN (
    SELECT key FROM expired_key WHERE expired_at < $1 LIMIT $2
)
"""
_RANGE = "SELECT min(seq), max(seq) FROM event"
_MISSING = """
SELECT number FROM generate_series($1::bigint, $2::bigint) AS number
WHERE NOT EXISTS (SELECT FROM segment WHERE segment.number = number.number) LIMIT $3
"""
_MEASURE = """
SELECT stream, count(*), sum(octet_length(data))::bigint
FROM event WHERE seq >= $1 AND seq < $2 GROUP BY stream
"""
_KEEP = "INSERT INTO segment SELECT $1, * FROM unnest($2::integer[], $3::bigint[], $4::bigint[])"
_TOTALS = "SELECT stream, sum(events)::bigint, sum(bytes)::bigint FROM segment GROUP BY stream"
_PASSED = "DELETE FROM segment WHERE number < $1"
_OLDEST = """
SELECT seq, size FROM unnest($1::integer[]) AS chosen, LATERAL (
    SELECT seq, octet_length(data) AS size FROM event
    WHERE event.stream = chosen ORDER BY seq LIMIT $2
) AS oldest ORDER BY seq LIMIT $2
"""


class _Cursor:
    """How far the events of a stream are looked at, and when the next one is due."""

    def __init__(self) -> None:
        self.after = 0
        self.due = 0


class Retention:
    """Makes the steps for one gateway."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._cursors: dict[int, _Cursor] = {}
        self._policy = RetentionPolicy()

    async def step(self, policy: RetentionPolicy, now: int) -> Expired:
        """Do some of what is to be done at *now* microseconds.

        Raises:
            StoreError: nothing was deleted, or that is unknown.
        """
        if policy != self._policy:
            self._policy, self._cursors = policy, {}

        async def work(connection: Connection) -> Expired:
            async with connection.transaction():
                if not await connection.fetchval(_TAKE_TURN):
                    return Expired()
                return await self._step(connection, policy, now)

        return await self._connections.run(work, command=BACKGROUND)

    async def _step(self, connection: Connection, policy: RetentionPolicy, now: int) -> Expired:
        started = time.monotonic()

        def done(*, by_age: int = 0, by_size: int = 0, more: bool, pressing: bool) -> Expired:
            seconds = time.monotonic() - started
            return Expired(by_age, by_size, seconds, more, pressing)

        streams = await connection.fetch(_STREAMS)
        for number, *names in streams:
            max_age = policy.max_age_of(*names)
            cursor = self._cursors.setdefault(number, _Cursor())
            if max_age is not None and cursor.due <= now:
                gone = await self._expire_stream(connection, number, cursor, now, max_age)
                return done(by_age=gone, more=True, pressing=False)
        bounds = _bounds(policy, streams)
        if bounds:
            held = await _measure(connection)
            if held is None:
                return done(more=True, pressing=False)
            for one in bounds:
                over = one.excess(held)
                if over > 0:
                    gone = await _trim(connection, one, over, now)
                    pressing = one.whole and gone > 0
                    return done(by_size=gone, more=gone > 0, pressing=pressing)
        status = await connection.execute(_FORGET_KEYS, now - KEYS_KEPT, _ROWS)
        return done(more=changed(status) == _ROWS, pressing=False)

    async def _expire_stream(
        self, connection: Connection, stream: int, cursor: _Cursor, now: int, max_age: int
    ) -> int:
        """Delete what is too old among the next rows; move the cursor past what was looked at."""
        limit = now - max_age
        rows = await connection.fetch(_AHEAD, stream, cursor.after, _ROWS)
        gone: list[int] = []
        for seq, received_at in rows:
            # What seems to come from the future was received while the clock was wrong.
            if limit < received_at <= now:
                cursor.due = received_at + max_age
                break
            cursor.after = seq
            if received_at <= limit:
                gone.append(seq)
        else:
            # A young event may come at once: look again soon.
            cursor.due = now + (0 if len(rows) == _ROWS else min(max_age, 1_000_000))
        if gone:
            await remove(connection, gone, "age", now)
        return len(gone)


Held = Mapping[int, tuple[int, int]]
"""The events of each stream, and the bytes of their texts."""


class _Bound(NamedTuple):
    """How many bytes the events of some streams may have; `row` counts for each beside its text."""

    size: int
    streams: Sequence[int]
    row: int
    whole: bool

    def excess(self, held: Held) -> int:
        """By how many bytes they have more than that."""
        found = (held.get(stream, (0, 0)) for stream in self.streams)
        return sum(events * self.row + size for events, size in found) - self.size


def _bounds(policy: RetentionPolicy, streams: Sequence[Any]) -> list[_Bound]:
    by_rule: dict[int | None, list[int]] = {}
    for number, *names in streams:
        by_rule.setdefault(policy.rule_of(*names), []).append(number)
    bounds = [
        _Bound(rule.max_bytes, by_rule[at], EVENT_BYTES, whole=False)
        for at, rule in enumerate(policy.rules)
        if rule.max_bytes is not None and at in by_rule
    ]
    if policy.max_bytes is not None:
        everything = [row[0] for row in streams]
        bounds.append(_Bound(policy.max_bytes, everything, ROW, whole=True))
    return bounds


async def _measure(connection: Connection) -> Held | None:
    """How much there is of each stream; None if it is not all added up yet."""
    first, last = await connection.fetchrow(_RANGE)
    if first is None:
        return {}
    # The newest range still grows.
    lowest, newest = first // SEGMENT, last // SEGMENT
    missing = await connection.fetch(_MISSING, lowest, newest - 1, _SEGMENTS + 1)
    for (number,) in missing[:_SEGMENTS]:
        found = await _sums(connection, number) or [(0, 0, 0)]
        await connection.execute(_KEEP, number, *map(list, zip(*found, strict=True)))
    if len(missing) > _SEGMENTS:
        return None
    await connection.execute(_PASSED, lowest)
    held: dict[int, tuple[int, int]] = {}
    for stream, events, size in (
        *await connection.fetch(_TOTALS),
        *await _sums(connection, newest),
    ):
        before = held.get(stream, (0, 0))
        held[stream] = before[0] + events, before[1] + size
    return held


async def _sums(connection: Connection, number: int) -> Sequence[Any]:
    return await connection.fetch(_MEASURE, number * SEGMENT, (number + 1) * SEGMENT)


async def _trim(connection: Connection, bound: _Bound, over: int, now: int) -> int:
    """Delete the oldest events until *over* bytes are gone, or as many as a step may."""
    gone: list[int] = []
    for seq, size in await connection.fetch(_OLDEST, bound.streams, _ROWS):
        if over <= 0:
            break
        gone.append(seq)
        over -= size + bound.row
    await remove(connection, gone, "size", now)
    return len(gone)
