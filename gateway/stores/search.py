"""Finds records in an SQLite file, newest first, and passes over blocks that hold none of them."""

import sqlite3
import time
import uuid
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, NamedTuple

from gateway.query import Page, Search
from gateway.record import EventRecord, key_of
from gateway.stores.blocks import BLOCK, key_token, stream_token, subject_token, type_token

Rows = Callable[[str, Iterable[object] | Mapping[str, object]], Awaitable[Sequence[sqlite3.Row]]]
"""Runs a statement with its values."""

Progress = Callable[[int, int], None]
"""Is told how many sequences were passed, and how many there are."""

_FOUND = """
SELECT seq, event.id, dialect, tenant, kind, type, subject, time, received_at, client_address,
    event.key, data, credential || ' ' || user_agent
FROM event CROSS JOIN stream ON stream.id = event.stream
LEFT JOIN sender ON sender.id = event.sender
WHERE seq BETWEEN :low AND :high AND {} ORDER BY seq DESC LIMIT :limit
"""
_STREAMS = "SELECT id, dialect, tenant, kind FROM stream"
_BOUNDS = """
SELECT (SELECT coalesce(min(seq), 1) FROM event), (SELECT coalesce(max(seq), 0) FROM event)
"""
_BLOCKS = """
SELECT number, first_received, last_received, tokens FROM block
WHERE number <= ? AND number > ? ORDER BY number DESC
"""
_RUNS = "SELECT run, last_seq FROM sealed_run ORDER BY last_seq"
_KEYS = "SELECT keys FROM key_run WHERE run = ? AND bucket = ?"

_AT_ONCE = 64
"""Blocks whose tokens are read at once."""

_SCANNED = 16
"""Blocks that one statement scans at most: between two statements the time is looked at."""

_KEY = 16
_SLACK = 2_000_000
"""Microseconds between the time in an id and that of the receipt of its event, at most."""


class _Range(NamedTuple):
    """Sequences, both ends included."""

    low: int
    high: int


async def search(
    rows: Rows, wanted: Search, seconds: float, progress: Progress | None = None
) -> Page:
    """As `gateway.store.Reader.search`, with *rows* to read from a file."""
    return await _Searching(rows, wanted, seconds, progress).run()


class _Searching:
    def __init__(
        self, rows: Rows, wanted: Search, seconds: float, progress: Progress | None
    ) -> None:
        self._rows = rows
        self._wanted = wanted
        self._until = time.monotonic() + seconds
        self._progress = progress
        self._found: list[tuple[int, EventRecord]] = []
        self._streams: Sequence[int] = ()

    async def run(self) -> Page:
        wanted = self._wanted
        named = await self._rows(_STREAMS, ())
        chosen = [row for row in named if wanted.is_of(*row[1:])]
        self._streams = [row[0] for row in chosen]
        [(oldest, newest)] = await self._rows(_BOUNDS, ())
        if wanted.before is not None:
            newest = min(newest, wanted.before - 1)
        if wanted.limit == 0 or not chosen:
            return Page([], None)
        whole = _Range(oldest, newest)
        if wanted.id is None:
            return await self._page(whole, {})
        as_uuid = _uuid(wanted.id)
        if as_uuid is not None:
            received = int.from_bytes(as_uuid[:6], "big") * 1000
            page = await self._page(whole, {"id": as_uuid}, (received - _SLACK, received + _SLACK))
            if page.found or page.before is not None:
                return page
        keys = [key_of(*row[1:], wanted.id) for row in chosen]
        for part in await self._with_keys(whole, keys):
            page = await self._page(part, {"keys": keys})
            if len(self._found) >= wanted.limit or page.before is not None:
                return page
        return Page(self._found, None)

    async def _page(
        self,
        within: _Range,
        values: Mapping[str, object],
        received: tuple[int, int] | None = None,
    ) -> Page:
        """What is found *within* a range; *values* are ids or keys that it has to have."""
        sql, bound = self._statement(values)
        left = self._wanted.limit - len(self._found)
        async for low, high in self._candidates(within, received, keyed="keys" in values):
            if low <= high:
                bound |= {"low": low, "high": high, "limit": left}
                found = await self._rows(sql, bound)
                self._found += [(row[0], EventRecord(*row[1:])) for row in found]
                left -= len(found)
            if left == 0:
                return Page(self._found, self._found[-1][0])
            if self._progress is not None:
                self._progress(within.high - low + 1, within.high - within.low + 1)
            if time.monotonic() > self._until and low > within.low:
                return Page(self._found, low)
        return Page(self._found, None)

    async def _candidates(
        self, within: _Range, received: tuple[int, int] | None, *, keyed: bool
    ) -> AsyncGenerator[_Range, None]:
        """Ranges, the newest first, outside of which nothing can be found; some are empty."""
        lowest, above = within.low // BLOCK, within.high // BLOCK + 1
        while above > lowest:
            below = max(above - _AT_ONCE, lowest)
            known = {row[0]: row for row in await self._rows(_BLOCKS, (above - 1, below - 1))}
            hopeful = [
                number
                for number in range(above - 1, below - 1, -1)
                if number not in known or self._may_hold(known[number], received, keyed=keyed)
            ]
            for first, last in _adjoining(hopeful):
                yield _Range(
                    max(last * BLOCK, within.low), min(first * BLOCK + BLOCK - 1, within.high)
                )
            # Whoever looks at the time learns that all of this was passed.
            yield _Range(max(below * BLOCK, within.low), below * BLOCK - 1)
            above = below

    def _may_hold(
        self, block: sqlite3.Row, received: tuple[int, int] | None, *, keyed: bool
    ) -> bool:
        wanted = self._wanted
        _, first, last, tokens = block
        if (wanted.since is not None and last < wanted.since) or (
            wanted.until is not None and first >= wanted.until
        ):
            return False
        if received is not None and (last < received[0] or first > received[1]):
            return False
        return any(
            (key_token(stream) if keyed else stream_token(stream)) in tokens
            and (wanted.type is None or type_token(stream, wanted.type) in tokens)
            and (wanted.subject is None or subject_token(stream, wanted.subject) in tokens)
            for stream in self._streams
        )

    def _statement(self, values: Mapping[str, object]) -> tuple[str, dict[str, object]]:
        wanted = self._wanted
        streams = ", ".join(f"{stream:d}" for stream in self._streams)
        conditions = [f"event.stream IN ({streams})"]
        bound: dict[str, object] = {}
        for condition, name in (
            ("type = :type", "type"),
            ("subject = :subject", "subject"),
            ("received_at >= :since", "since"),
            ("received_at < :until", "until"),
            ("instr(data, :text) > 0", "text"),
        ):
            value = getattr(wanted, name)
            if value is not None:
                conditions.append(condition)
                bound[name] = value
        if "id" in values:
            conditions.append("event.id = :id")
            bound["id"] = values["id"]
        keys: Any = values.get("keys", ())
        if keys:
            names = {f"key{at}": key for at, key in enumerate(keys)}
            conditions.append(f"event.key IN ({', '.join(f':{name}' for name in names)})")
            bound |= names
        return _FOUND.format(" AND ".join(conditions)), bound

    async def _with_keys(self, whole: _Range, keys: Sequence[bytes]) -> Sequence[_Range]:
        """The ranges that may hold events with one of *keys*, the newest first."""
        ranges: list[_Range] = []
        after = whole.low - 1
        for run, last in await self._rows(_RUNS, ()):
            for key in keys:
                held = await self._rows(_KEYS, (run, key[0]))
                if held and _has(held[0][0], key):
                    ranges.append(_Range(max(after + 1, whole.low), min(last, whole.high)))
                    break
            after = max(after, last)
        # The newest keys are in no run yet.
        ranges.append(_Range(max(after + 1, whole.low), whole.high))
        return [one for one in reversed(ranges) if one.low <= one.high]


def _adjoining(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and the last of *numbers*, which fall, wherever they fall by one."""
    at = 0
    while at < len(numbers):
        end = at
        while (
            end + 1 < len(numbers)
            and numbers[end + 1] == numbers[end] - 1
            and end - at + 1 < _SCANNED
        ):
            end += 1
        yield numbers[at], numbers[end]
        at = end + 1


def _uuid(text: str) -> bytes | None:
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        return None


def _has(keys: bytes, key: bytes) -> bool:
    at = keys.find(key)
    while at >= 0 and at % _KEY:
        at = keys.find(key, at + 1)
    return at >= 0
