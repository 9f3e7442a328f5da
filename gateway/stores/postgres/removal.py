"""Deletes events, and keeps what has to be kept of them: keys, sums, and a record of it."""

from collections.abc import Sequence
from typing import Literal

from gateway.stores.postgres.connections import Connection

SEGMENT = 8192
"""Sequences whose sizes are added up together."""

Cause = Literal["age", "size", "request", "drop", "replay"]

# The key of a quarantined record is free at once.
_DELETE = """
WITH gone AS (
    DELETE FROM event WHERE seq = ANY($1::bigint[]) RETURNING seq, key, id
), freed AS (
    DELETE FROM quarantine WHERE seq = ANY($1::bigint[]) RETURNING seq
), outdated AS (
    DELETE FROM segment WHERE number IN (SELECT DISTINCT one / $3 FROM unnest($1::bigint[]) AS one)
)
INSERT INTO expired_key (key, id, expired_at)
SELECT CASE WHEN seq IN (SELECT seq FROM freed) THEN id ELSE key END, id, $2 FROM gone
ORDER BY 1 ON CONFLICT DO NOTHING
"""
_NOTE = """
INSERT INTO prune (cause, day, began, ended, events, last_seq) VALUES ($1, $2, $3, $3, $4, $5)
ON CONFLICT (cause, day) DO UPDATE SET ended = excluded.ended,
    events = prune.events + excluded.events, last_seq = greatest(prune.last_seq, excluded.last_seq)
"""
_DAY = 86_400_000_000


async def remove(connection: Connection, sequences: Sequence[int], cause: Cause, now: int) -> None:
    """Delete events, in a transaction of the caller, and note it for the day.

    Their keys stay known, except those of quarantined records. A request has a note of its own.
    """
    if not sequences:
        return
    await connection.execute(_DELETE, sequences, now, SEGMENT)
    if cause != "request":
        values = cause, now // _DAY, now, len(sequences), max(sequences)
        await connection.execute(_NOTE, *values)
