"""Group commit: many waiting requests, one transaction.

There is no timer and nothing to tune. While one transaction is being written, the
next group collects requests. So the busier the gateway is, the larger the groups.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from gateway.errors import Reason, Refusal, StoreError
from gateway.record import EventRecord, Outcome
from gateway.store import Appender

log = structlog.get_logger()

_MAX_TURNS = 32
"""Turns of the event loop for which a group may collect requests, some microseconds each."""

Observe = Callable[[int, float], None]


class _Waiter:
    """A request's records and the future that its handler awaits."""

    __slots__ = ("done", "records", "size")

    def __init__(
        self, records: Sequence[EventRecord], size: int, done: asyncio.Future[Sequence[Outcome]]
    ) -> None:
        self.records = records
        self.size = size
        self.done = done


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
        observe: Observe | None = None,
    ) -> None:
        """Write to *target*; at most *max_events* events and *max_bytes* bytes may wait.

        *observe* is called with the size and the duration in seconds of each group.
        """
        self._target = target
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._observe = observe
        self._waiting: list[_Waiter] = []
        self._held_events = 0
        self._held_bytes = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def held_events(self) -> int:
        """How many events wait for the disk now, including those being written."""
        return self._held_events

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
            Refusal: OVERLOADED: too much waits already; nothing was accepted.
            StoreError: the transaction failed; nothing was stored.
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
        if self._closing:
            raise StoreError("The gateway is stopping.")
        waiter = _Waiter(records, size, asyncio.get_running_loop().create_future())
        self._held_events += len(records)
        self._held_bytes += size
        self._waiting.append(waiter)
        self._wake.set()
        return await waiter.done

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._gather()
                group, self._waiting = self._waiting, []
                await self._commit(group)
            if self._closing:
                return

    async def _gather(self) -> None:
        """Wait a few turns of the loop, so that concurrent requests join this group."""
        idle = 0
        for _ in range(_MAX_TURNS):
            waiting = len(self._waiting)
            await asyncio.sleep(0)
            # One turn without a request is normal: clients need a moment to send the next one.
            idle = idle + 1 if len(self._waiting) == waiting else 0
            if idle > 1:
                return

    async def _commit(self, group: list[_Waiter]) -> None:
        records = [record for waiter in group for record in waiter.records]
        started = time.perf_counter()
        try:
            outcomes = await self._target.append(records)
        except StoreError as error:
            self._fail_group(group, str(error))
        except Exception as error:
            log.exception("commit_failed_unexpectedly", events=len(records))
            self._fail_group(group, repr(error))
        else:
            if self._observe is not None:
                self._observe(len(records), time.perf_counter() - started)
            at = 0
            for waiter in group:
                end = at + len(waiter.records)
                if not waiter.done.done():
                    waiter.done.set_result(outcomes[at:end])
                at = end
        finally:
            self._held_events -= len(records)
            self._held_bytes -= sum(waiter.size for waiter in group)

    def _fail_group(self, group: list[_Waiter], message: str) -> None:
        for waiter in group:
            if not waiter.done.done():
                # Each request gets its own exception: a shared one would collect all tracebacks.
                waiter.done.set_exception(StoreError(message))
