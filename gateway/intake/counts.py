"""Counts what becomes of events and requests, and has the store keep it, by the minute.

A request only adds to a dict. Once a second, while there is anything to write, one
transaction takes the counts along: a crash loses those of a second. While the store is
unavailable they wait here.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from gateway.errors import Reason, StoreError
from gateway.intake.availability import Availability
from gateway.record import EventRecord, Kind, Outcome
from gateway.store import Count, Store

log = structlog.get_logger()

INTERVAL = 1.0
"""Seconds from the first count to its transaction."""

_MAX_WAITING = 10_000
"""Counts of different minutes that wait for the store; later minutes are then counted as one."""

_LAST_SECONDS = 1.0
"""Seconds that the last transaction may take when the gateway stops."""

_STORED = Outcome.STORED
_MINUTE = 60_000_000
_DRAINED = {Outcome.STORED: "drained", Outcome.DUPLICATE: "drained_duplicate"}

Series = tuple[str, str, str, str]


class Counts:
    """Counts events by dialect, tenant, kind and outcome; see `gateway.store.Count`."""

    def __init__(self, store: Store, availability: Availability, clock: Callable[[], int]) -> None:
        """*clock* gives the time in microseconds since 1970 UTC."""
        self._store = store
        self._availability = availability
        self._clock = clock
        # A list of one number each: to look a series up once is half the cost of a count.
        self._current: dict[Series, list[int]] = {}
        # By the beginning of the minute: what the store does not have yet.
        self._waiting: Counter[tuple[int, Series]] = Counter()
        self._begun = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def add(self, dialect: str, tenant: str, kind: str, outcome: str, count: int = 1) -> None:
        """Count *count* events."""
        series = (dialect, tenant, kind, outcome)
        known = self._current.get(series)
        if known is None:
            self._current[series] = [count]
            self._begun.set()
        else:
            known[0] += count

    def events(self, records: Sequence[EventRecord], outcomes: Sequence[Outcome]) -> bool:
        """Count the *outcomes* of a request's events; return whether all were stored."""
        first = records[0]
        if len(records) == 1 and outcomes[0] is _STORED:
            # The usual case.
            self.add(first.dialect, first.tenant, first.kind, "stored")
            return True
        stored = outcomes.count(_STORED) == len(records)
        if stored and len({record.kind for record in records}) == 1:
            self.add(first.dialect, first.tenant, first.kind, "stored", len(records))
            return True
        kinds = [record.kind for record in records]
        for (kind, outcome), count in Counter(zip(kinds, outcomes, strict=True)).items():
            self.add(first.dialect, first.tenant, kind, outcome.value, count)
        return stored

    def rejected(self, dialect: str, tenant: str, count: int) -> None:
        """Count invalid elements that are in quarantine, repeats included."""
        self.add(dialect, tenant, Kind.REJECTED, "rejected", count)

    def refused(self, dialect: str, tenant: str, reason: Reason) -> None:
        """Count a refused request; *tenant* is empty if it is unknown."""
        self.add(dialect, tenant, "", reason.value)

    def malformed(self) -> None:
        """Count a request that the HTTP parser refused."""
        self.add("", "", "", "malformed")

    def drained(self, records: Sequence[EventRecord], outcomes: Sequence[Outcome]) -> None:
        """Count events that moved from the spool, where they were counted before, to the store."""
        for record, outcome in zip(records, outcomes, strict=True):
            self.add(record.dialect, record.tenant, record.kind, _DRAINED[outcome])

    def start(self) -> None:
        """Begin to write; needs a running loop."""
        self._task = asyncio.create_task(self._run(), name="counts")

    async def close(self) -> None:
        """Write what is left, if the store takes it."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                # A transaction under way ends first: with the task, its counts would go.
                async with self._writing:
                    await self._stop()
                self._collect()
                if self._waiting and not self._availability.unavailable:
                    await self._write()
        except TimeoutError:
            await self._stop()
            log.warning("counts_not_written", error="no answer from the store")

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            # Nothing to count, nothing to do: an idle gateway writes nothing.
            await self._begun.wait()
            await asyncio.sleep(INTERVAL)
            self._collect_bounded()
            if not self._availability.unavailable:
                await self._write()
            if not self._waiting and not self._current:
                self._begun.clear()

    def _collect_bounded(self) -> None:
        if len(self._waiting) < _MAX_WAITING:
            self._collect()

    def _collect(self) -> None:
        minute = self._clock() // _MINUTE * _MINUTE
        current, self._current = self._current, {}
        self._waiting.update({(minute, series): n for series, [n] in current.items()})

    async def _write(self) -> None:
        async with self._writing:
            await self._write_waiting()

    async def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, Counter()
        try:
            await self._store.add_counts(
                [Count(minute, *series, count) for (minute, series), count in waiting.items()]
            )
        except StoreError as error:
            # What may have been kept is not added again: rather too few than twice.
            if error.nothing_kept:
                self._waiting.update(waiting)
            else:
                log.warning("counts_lost", error=str(error))
        except Exception:
            log.exception("counts_lost")
