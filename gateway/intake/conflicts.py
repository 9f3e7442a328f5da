"""Reused ids: duplicates whose content differs from that of the stored event.

A retry sends the same content again. A client that gives two events one id loses the
second one, and is not told: that is found here. Only duplicates are looked at.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

import msgspec
import structlog

from gateway.errors import StoreError
from gateway.intake.availability import Availability
from gateway.record import EventRecord, Kind, Outcome
from gateway.store import Content, Store
from gateway.stores.spool import Spool
from schemas import Unreadable, jsontext

log = structlog.get_logger()

_SLICE = 4000
"""Records of a request that are looked through in one go."""

_SECONDS = 0.25
"""Seconds for which the stored events of a question are looked for."""

_AT_ONCE = 500
_AT_ONCE_BYTES = 1 << 20
"""Duplicates of a question to the store, and characters of their texts."""

_STORED_BYTES = 8 << 20
"""Characters of stored texts that are read for a question."""

_WAITING = 5_000
_WAITING_BYTES = 4 << 20
"""Duplicates that wait to be compared, and characters of their texts; more are not compared."""

_REST = 4
"""After a question nobody waits for, so many times as long as it took nothing is asked."""

_QUIET_SECONDS = 60.0
_ID_SHOWN = 200

_AS_JSON = 128 << 10
"""Characters of a text that is compared as JSON: more would hold the event loop."""

Report = Callable[[Counter[tuple[str, str]], Counter[tuple[str, str]]], None]
"""Is told the conflicts of each dialect and tenant, and the duplicates that were not compared."""


class Conflict(msgspec.Struct, frozen=True):
    """An event, already masked, and the id of the stored event that has its key."""

    event: EventRecord
    stored: bytes


class Conflicts:
    """Compares duplicates with what is stored, and tells what differs.

    `keep` says whether the content that differs has to be kept. It is then looked for
    before the client has its answer, and otherwise later, with little of the machine.
    """

    def __init__(
        self,
        store: Store,
        spool: Spool,
        availability: Availability,
        report: Report,
        client_ids: Mapping[str, Callable[[EventRecord], str]],
    ) -> None:
        """*client_ids* tell for each dialect the client's own id of an event."""
        self.keep = False
        self._store = store
        self._spool = spool
        self._availability = availability
        self._report = report
        self._client_ids = client_ids
        self._waiting: deque[EventRecord] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._told_at: dict[tuple[str, str], float] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to compare what can wait; needs a running loop."""
        self._task = asyncio.create_task(self._run(), name="conflicts")

    async def close(self) -> None:
        """Compare nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def among(
        self, records: Sequence[EventRecord], outcomes: Sequence[Outcome]
    ) -> Sequence[Conflict]:
        """Find the conflicts among a request's *records* that have to be kept.

        If none has to be, they are found later, and only told.
        """
        found: list[Conflict] = []
        duplicates: list[EventRecord] = []
        for start in range(0, len(records), _SLICE):
            if start:
                await asyncio.sleep(0)
            some = zip(
                records[start : start + _SLICE], outcomes[start : start + _SLICE], strict=True
            )
            part = [
                record
                for record, outcome in some
                if outcome is Outcome.DUPLICATE and record.key is not None
                if record.kind != Kind.REJECTED
            ]
            if self.keep:
                duplicates += part
            else:
                self._compare_later(part)
        if not duplicates:
            return found
        until = _now() + _SECONDS
        for part in _parts(duplicates):
            found += await self._find(part, max(0.0, until - _now()))
        return found

    def _compare_later(self, duplicates: Sequence[EventRecord]) -> None:
        left: Counter[tuple[str, str]] = Counter()
        for one in duplicates:
            if (
                len(self._waiting) < _WAITING
                and self._waiting_bytes + len(one.data) <= _WAITING_BYTES
            ):
                self._waiting.append(one)
                self._waiting_bytes += len(one.data)
            else:
                left[one.dialect, one.tenant] += 1
        if left:
            self._report(Counter(), left)
        if self._waiting:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                part = next(_parts(self._waiting))
                for one in part:
                    self._waiting.popleft()
                    self._waiting_bytes -= len(one.data)
                started = _now()
                try:
                    await self._find(part, _SECONDS)
                except Exception:
                    log.exception("conflicts_not_found")
                await asyncio.sleep(_REST * (_now() - started))

    async def _find(self, events: Sequence[EventRecord], seconds: float) -> Sequence[Conflict]:
        """Compare *events* with what is stored, and tell of what differs."""
        stored = await self._contents(events, seconds)
        found: list[Conflict] = []
        unknown: Counter[tuple[str, str]] = Counter()
        for event in events:
            content = stored.get(event.identity)
            if content is None:
                unknown[event.dialect, event.tenant] += 1
            elif content.id != event.id and not await _same(content.data, event.data):
                found.append(Conflict(event, content.id))
        self._report(Counter((one.event.dialect, one.event.tenant) for one in found), unknown)
        for one in found:
            self._tell(one)
        return found

    async def _contents(
        self, events: Sequence[EventRecord], seconds: float
    ) -> Mapping[bytes, Content]:
        keys, own = {event.identity for event in events}, {event.id for event in events}
        found: dict[bytes, Content] = {}
        # What cannot be read now counts as unknown.
        with suppress(StoreError, TimeoutError):
            # The spool first: what has left it then is in the store. What drains is still in it.
            waiting = await self._spool.contents(keys, _STORED_BYTES)
            found |= {key: content for key, content in waiting.items() if content.id not in own}
            if not self._availability.silent:
                async with asyncio.timeout(2 * seconds + 0.001):
                    wanted = keys - found.keys()
                    found |= await self._store.contents(wanted, seconds, _STORED_BYTES)
        return found

    def _tell(self, one: Conflict) -> None:
        """Log a conflict, at most one a minute for each tenant."""
        event, now = one.event, _now()
        who = (event.dialect, event.tenant)
        self._counts[who] += 1
        if now - self._told_at.get(who, -_QUIET_SECONDS) < _QUIET_SECONDS:
            return
        self._told_at[who] = now
        log.warning(
            "id_reused",
            dialect=event.dialect,
            tenant=event.tenant,
            kind=event.kind,
            id=self._client_id(event),
            stored=str(UUID(bytes=one.stored)),
            client=event.client_address,
            count=self._counts[who],
        )

    def _client_id(self, event: EventRecord) -> str:
        # The spool may have events of a dialect that an earlier version spoke.
        find = self._client_ids.get(event.dialect)
        return "" if find is None else find(event)[:_ID_SHOWN]


def _parts(events: Sequence[EventRecord] | deque[EventRecord]) -> Iterator[list[EventRecord]]:
    """*events* in parts that one question may have; each has at least one event."""
    part: list[EventRecord] = []
    size = 0
    for event in events:
        if part and (len(part) == _AT_ONCE or size + len(event.data) > _AT_ONCE_BYTES):
            yield part
            part, size = [], 0
        part.append(event)
        size += len(event.data)
    if part:
        yield part


async def _same(one: str, other: str) -> bool:
    """Whether two texts are the same JSON value, however it is written."""
    if one == other:
        return True
    if max(len(one), len(other)) > _AS_JSON:
        return False
    await asyncio.sleep(0)
    try:
        first, second = (
            jsontext.canonical(jsontext.loads(text.encode("utf-8", "surrogatepass"), constants=str))
            for text in (one, other)
        )
    except (Unreadable, ValueError):
        return False
    return first == second


def _now() -> float:
    # The event loop's clock: under a simulated one, a history is the same each time.
    return asyncio.get_running_loop().time()
