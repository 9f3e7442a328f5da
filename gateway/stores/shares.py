"""How much of the quarantine each tenant may keep.

Where it is full, whoever has most of it loses the oldest record, again and again
until the rest fits. So a tenant that has less than an equal share loses nothing.
"""

import heapq
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

OwnerT = TypeVar("OwnerT", int, tuple[str, str])

NO_LIMIT = 1 << 62
"""More bytes than any store has."""

_MEASURE = """
UPDATE quarantine SET (stream, size) = (
    SELECT stream, length(CAST(data AS BLOB)) FROM event WHERE event.seq = quarantine.seq
) WHERE stream IS NULL
"""
_TOTALS = "SELECT stream, count(*), sum(size) FROM quarantine GROUP BY stream"
_OLDEST = "SELECT seq, size FROM quarantine WHERE stream IS ? ORDER BY seq"
_OWNER = "SELECT dialect, tenant FROM stream WHERE id = ?"


class Rejected(NamedTuple):
    """A quarantined record: its sequence, key, stream, and the bytes of its text."""

    seq: int
    key: bytes | None
    stream: int
    size: int


class Bound(NamedTuple):
    """How many quarantined records a store keeps, and how many bytes of text they may have."""

    records: int
    size: int


class Excess(NamedTuple):
    """Sequences of records to remove, how many of each tenant, and the room left then."""

    sequences: list[int]
    by_tenant: Mapping[tuple[str, str], int]
    room: Bound


def excess(
    held: Mapping[OwnerT, tuple[int, int]],
    oldest: Callable[[OwnerT], Iterator[tuple[int, int]]],
    bound: Bound,
) -> tuple[dict[OwnerT, list[int]], Bound]:
    """The sequences to remove, by owner, so that what is *held* fits *bound*; and the room left.

    *held* has the records and the bytes of each owner; *oldest* yields the
    sequence and the bytes of an owner's records, oldest first.
    """
    left = {owner: list(amounts) for owner, amounts in held.items()}
    totals = [sum(one[0] for one in left.values()), sum(one[1] for one in left.values())]
    queues = {owner: oldest(owner) for owner in held}
    chosen: dict[OwnerT, list[int]] = {}
    for measure, most in ((1, bound.size), (0, bound.records)):
        largest = [(-amounts[measure], owner) for owner, amounts in left.items()]
        heapq.heapify(largest)
        while totals[measure] > most and largest:
            _, owner = heapq.heappop(largest)
            found = next(queues[owner], None)
            if found is None:
                continue
            chosen.setdefault(owner, []).append(found[0])
            for at, amount in enumerate((1, found[1])):
                left[owner][at] -= amount
                totals[at] -= amount
            heapq.heappush(largest, (-left[owner][measure], owner))
    return chosen, Bound(bound.records - totals[0], bound.size - totals[1])


def excess_of(db: sqlite3.Connection, bound: Bound) -> Excess:
    """What an SQLite store is to remove of its quarantine, in a transaction of the caller."""
    db.execute(_MEASURE)
    # A record without its event has no stream and no size: only a damaged file has one.
    held = {stream or 0: (count, size or 0) for stream, count, size in db.execute(_TOTALS)}

    def oldest(stream: int) -> Iterator[tuple[int, int]]:
        for seq, size in db.execute(_OLDEST, (stream or None,)):
            yield seq, size or 0

    chosen, room = excess(held, oldest, bound)
    by_tenant: Counter[tuple[str, str]] = Counter()
    for stream, sequences in chosen.items():
        for owner in db.execute(_OWNER, (stream,)):
            by_tenant[owner] += len(sequences)
    return Excess([seq for one in chosen.values() for seq in one], by_tenant, room)
