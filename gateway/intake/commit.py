"""Group commit: many waiting requests, one transaction.

There is no timer and nothing to tune. While one transaction is being written, the
next group collects requests. So the busier the gateway is, the larger the groups, until
a larger one would save little and delay everyone. Then tenants take turns to fill it.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from gateway.errors import Reason, Refusal, StoreError
from gateway.record import EventRecord, Outcome
from gateway.store import Appender

log = structlog.get_logger()

_MAX_TURNS = 32
"""Turns of the event loop for which a group may collect requests, some microseconds each."""

_MAX_GATHER = 0.01
"""Seconds for which it may: a turn is long where large requests are read."""

_BRIEF = 0.005
"""Seconds that a group may take while more waits: who comes next waits for all of it."""

_MANY = 4
"""How many times as long as the smallest groups others may take, where an fsync takes long."""

_FEW = 10
_LEAST, _MOST = 300, 1 << 20
"""Events that a group may always have, and that it never has more than."""

Observe = Callable[[int, float], None]


class _Waiter:
    """A request's records and the future that its handler awaits."""

    __slots__ = ("deadline", "done", "records", "size")

    def __init__(
        self,
        records: Sequence[EventRecord],
        size: int,
        done: asyncio.Future[Sequence[Outcome]],
        deadline: float,
    ) -> None:
        self.records = records
        self.size = size
        self.done = done
        self.deadline = deadline


def _utf8_len(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class GroupCommitter:
    """Writes the records of concurrent requests to a store or spool, in groups.

    It is the only writer of its target.
    """

    def __init__(
        self,
        target: Appender,
        *,
        max_events: int,
        max_bytes: int,
        deadline: float,
        observe: Observe | None = None,
    ) -> None:
        """Write to *target*; at most *max_events* events and *max_bytes* bytes may wait.

        Nobody waits longer than *deadline* seconds. *observe* is told the size and
        the seconds of each committed group.
        """
        self._target = target
        self.bound(max_events, max_bytes)
        self._deadline = deadline
        self._observe = observe
        self._waiting: list[_Waiter] = []
        self._background: list[_Waiter] = []
        self._held_events = 0
        self._held_bytes = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._overdue = False
        self._committed_at = -math.inf
        self._group_events: float = 1000
        self._smallest = 0.0
        self._writing_since: float | None = None
        # Ids of records that an append has kept or not: it failed, or it took too long.
        self._unsettled: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    def bound(self, max_events: int, max_bytes: int) -> None:
        """Let at most *max_events* events and *max_bytes* bytes wait from now on."""
        self._max_events = max_events
        self._max_bytes = max_bytes

    @property
    def held_events(self) -> int:
        """How many events wait for the disk now, including those being written."""
        return self._held_events

    @property
    def held_bytes(self) -> int:
        """How many bytes of text these events have."""
        return self._held_bytes

    def committed_within(self, seconds: float) -> bool:
        """Whether a group was committed within the last *seconds*."""
        return time.monotonic() - self._committed_at < seconds

    @property
    def writing_for(self) -> float:
        """For how many seconds the group that is being written has been; 0 without one."""
        since = self._writing_since
        return 0.0 if since is None else time.monotonic() - since

    def start(self) -> None:
        """Start writing; needs a running event loop."""
        self._task = asyncio.create_task(self._run(), name="group-committer")

    async def close(self) -> None:
        """Write what still waits, resolve all waiting requests, and stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        """Commit *records* together with others that wait; return their outcomes.

        Raises:
            Refusal: OVERLOADED, when too much waits already; nothing was taken.
            StoreError: the transaction failed or took too long. Unless the error says
                that nothing was kept, that is unknown; the same records may be appended
                again all the same, here or by the spool: nothing is kept twice.
        """
        if not records:
            return ()
        size = sum([_utf8_len(record.data) for record in records])
        # A request larger than the limit is still accepted if nothing else waits.
        if self._held_events and (
            self._held_events + len(records) > self._max_events
            or self._held_bytes + size > self._max_bytes
        ):
            raise Refusal(Reason.OVERLOADED, "Too many events are waiting for the disk; try again.")
        waiter = self._enqueue(self._waiting, records, size)
        self._held_events += len(records)
        self._held_bytes += size
        return await waiter.done

    async def append_in_background(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        """As `append`, for what can wait: one call's records a group, after everyone else's.

        They do not count against the bounds, so they never refuse a request; it is
        for the caller to bound them.
        """
        return await self._enqueue(self._background, records, 0).done

    def _enqueue(self, queue: list[_Waiter], records: Sequence[EventRecord], size: int) -> _Waiter:
        if self._closing:
            raise StoreError("The gateway is stopping.", nothing_kept=True)
        if self._overdue:
            raise StoreError(self._too_slow(), nothing_kept=True)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(records, size, loop.create_future(), loop.time() + self._deadline)
        queue.append(waiter)
        self._wake.set()
        return waiter

    def _too_slow(self) -> str:
        return f"no answer within {self._deadline:g} s"

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting or self._background:
                if self._held_events <= self._group_events:
                    await self._gather()
                background = self._background.pop(0) if self._background else None
                await self._commit(self._next_group(), background)
            if self._closing:
                return

    def _next_group(self) -> list[_Waiter]:
        """Take what waits; of more than a group may have, some of each tenant in turn."""
        waiting, self._waiting = self._waiting, []
        if self._held_events <= self._group_events or not waiting:
            return waiting
        if waiting[0].deadline - asyncio.get_running_loop().time() < self._deadline / 2:
            # The disk is slow: the fewer transactions, the better.
            return waiting
        queues: dict[tuple[str, str], deque[_Waiter]] = {}
        for one in waiting:
            queues.setdefault((one.records[0].dialect, one.records[0].tenant), deque()).append(one)
        group: list[_Waiter] = []
        events = 0
        while queues and events < self._group_events:
            for who, queue in list(queues.items()):
                group.append(queue.popleft())
                events += len(group[-1].records)
                if not queue:
                    del queues[who]
        taken = set(map(id, group))
        self._waiting = [one for one in waiting if id(one) not in taken]
        return group

    def _learn(self, events: int, seconds: float) -> None:
        """Learn from a group how large the next ones may be."""
        if events <= _FEW:
            self._smallest += (seconds - self._smallest) / _FEW
        elif 2 * events > self._group_events:
            wanted = max(_BRIEF, _MANY * self._smallest)
            change = min(max(wanted / max(seconds, 1e-6), 0.5), 2)
            self._group_events = min(max(self._group_events * change, _LEAST), _MOST)

    async def _gather(self) -> None:
        """Wait a few turns of the loop so that concurrent requests join this group."""
        idle = 0
        until = time.monotonic() + _MAX_GATHER
        for _ in range(_MAX_TURNS):
            waiting = len(self._waiting)
            await asyncio.sleep(0)
            # One turn without a request is normal: clients need a moment to send the next one.
            idle = idle + 1 if len(self._waiting) == waiting else 0
            if idle > 1 or time.monotonic() > until:
                return

    async def _commit(self, group: list[_Waiter], background: _Waiter | None) -> None:
        waiters = group if background is None else [*group, background]
        records = [record for waiter in waiters for record in waiter.records]
        alarm = asyncio.get_running_loop().call_at(
            min(waiter.deadline for waiter in waiters), self._give_up, waiters
        )
        started = time.perf_counter()
        self._writing_since = time.monotonic()
        try:
            outcomes = await self._write(records)
        except StoreError as error:
            _fail(waiters, str(error), nothing_kept=error.nothing_kept)
        except Exception as error:
            log.exception("commit_failed_unexpectedly", events=len(records))
            _fail(waiters, repr(error))
        else:
            seconds = time.perf_counter() - started
            self._committed_at = time.monotonic()
            at = 0
            for waiter in waiters:
                end = at + len(waiter.records)
                if not waiter.done.done():
                    waiter.done.set_result(outcomes[at:end])
                at = end
            self._learn(len(records), seconds)
            # After the answers: nobody waits for a metric.
            if self._observe is not None:
                self._observe(len(records), seconds)
        finally:
            alarm.cancel()
            self._writing_since = None
            self._overdue = False
            self._held_events -= sum(len(waiter.records) for waiter in group)
            self._held_bytes -= sum(waiter.size for waiter in group)

    async def _write(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        if self._unsettled:
            await self._target.reconcile(self._unsettled)
            self._unsettled = []
        try:
            outcomes = await self._target.append(records)
        except BaseException as error:
            if not (isinstance(error, StoreError) and error.nothing_kept):
                self._unsettled = [record.id for record in records]
            raise
        if self._overdue:
            # They were stored, but whoever sent them has been told otherwise.
            self._unsettled = [record.id for record in records]
        return outcomes

    def _give_up(self, group: list[_Waiter]) -> None:
        """Answer everyone who waits: the group being written has taken too long."""
        self._overdue = True
        log.warning("commit_overdue", seconds=self._deadline)
        waiting, self._waiting = self._waiting, []
        self._held_events -= sum(len(waiter.records) for waiter in waiting)
        self._held_bytes -= sum(waiter.size for waiter in waiting)
        background, self._background = self._background, []
        _fail(group, self._too_slow())
        _fail([*waiting, *background], self._too_slow(), nothing_kept=True)


def _fail(waiters: Sequence[_Waiter], message: str, *, nothing_kept: bool = False) -> None:
    for waiter in waiters:
        if not waiter.done.done():
            # One exception each: a shared one would share its traceback.
            waiter.done.set_exception(StoreError(message, nothing_kept=nothing_kept))
