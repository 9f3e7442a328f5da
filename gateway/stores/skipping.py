"""Reads past what is damaged in a store's file."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from gateway.errors import Damaged
from gateway.record import EventRecord
from gateway.store import Selection, Skipped

Fetch = Callable[[int, int, int], Awaitable[Sequence[Any]]]  # Any: rows of several types
"""Gives rows of events above a sequence, up to another one, but at most so many."""

_PAGE = 100
_FURTHEST = 1 << 40
"""Sequences beyond what can be read at which nothing more is expected."""


async def read_past(
    fetch: Fetch, wanted: Selection, end: int, skipped: Skipped
) -> AsyncGenerator[tuple[int, EventRecord], None]:
    """Yield each record up to *end* that *wanted* selects and that can be read.

    *skipped* is told the sequences that cannot be, range by range.
    """
    after, size = wanted.after, _PAGE
    while after < end:
        try:
            rows = await fetch(after, end, size)
        except Damaged:
            if size > 1:
                size = max(1, size // 8)
                continue
            readable = await _next_readable(fetch, after, end)
            skipped(after + 1, readable)
            after = readable
            continue
        for row in rows:
            record = EventRecord(*row[1:])
            if not sound(record):
                skipped(row[0], row[0])
            elif wanted.selects(record):
                yield row[0], record
        if len(rows) < size:
            return
        after, size = rows[-1][0], min(_PAGE, size * 2)


async def _next_readable(fetch: Fetch, after: int, end: int) -> int:
    """The smallest sequence found, above *after*, beyond which a row can be read; or *end*."""

    async def readable(at: int) -> bool:
        try:
            return bool(await fetch(at, end, 1))
        except Damaged:
            return False

    bad, step = after, 1
    while not await readable(min(after + step, end)):
        bad, step = after + step, step * 2
        if bad >= end or step > _FURTHEST:
            return end
    good = min(after + step, end)
    while good - bad > 1:
        middle = (bad + good) // 2
        bad, good = (bad, middle) if await readable(middle) else (middle, good)
    return good


def sound(record: EventRecord) -> bool:
    """Whether a row is what the gateway writes: damage may hide in a well-formed page."""
    texts = record.dialect, record.tenant, record.kind, record.type, record.client_address
    return (
        isinstance(record.id, bytes)
        and len(record.id) == 16
        and isinstance(record.time, int)
        and isinstance(record.received_at, int)
        and all(isinstance(text, str) for text in texts)
        and isinstance(record.subject, str | None)
        and isinstance(record.data, str)
    )
