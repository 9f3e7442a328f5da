"""How long what has arrived will keep the gateway busy, and who is refused because of it.

A queue that is bounded by a count makes clients of a slow machine wait longer. This one is
bounded by time. A request is work from the arrival of its body until its answer; how much
CPU time such work takes is measured while the gateway is busy. A burst may wait for a second.
A queue that stands is overload: then only as much is let in as keeps the gateway busy, and of
the tenants those are refused that have more than their share of the work.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

PER_REQUEST = 4096
"""What a request takes besides its bytes, in bytes that take as long."""

STANDING = 0.15
"""Seconds of work that may always wait: enough for large groups, too little to be noticed."""

_BURST = 1.0
"""Seconds of work that may wait for a moment. Agents give up on an answer after three."""

_PATIENCE = 0.5
"""Seconds after which what waits is no burst."""

_CALM = 1.0
"""Seconds without a refusal after which an overload is over."""

_LEAST, _USUAL, _MOST = 2.5e-9, 25e-9, 250e-9
"""CPU seconds that a byte may take. A batch of JSON takes the usual time on a slow core."""

_INTERVAL = 0.1
_BUSY = 0.5
_KEPT = 0.9


class Backlog:
    """The work that has arrived and is not done.

    Attributes:
        work: how much, in bytes and `PER_REQUEST` for each request.
        line: how much of it may always wait.
        tenants: how many tenants have some of it.
        done: how much was done since the start.
        refused: how many requests were refused because of it.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        """*clock* gives the time, *used* the CPU time of the process, both in seconds."""
        self._clock = clock
        self._used = used
        self.work = 0
        self.tenants = 0
        self.done = 0
        self.refused = 0
        self._cost = _USUAL
        self.line = STANDING / _USUAL
        self._since: float | None = None
        self._overload_until: float | None = None
        self._began = 0.0
        self._refused_before = 0
        self._last = (clock(), used(), 0)
        self._sums = [0.0, 0.0]

    @property
    def seconds(self) -> float:
        """How long the work will take."""
        return self.work * self._cost

    @property
    def overloaded(self) -> bool:
        """Whether requests are refused."""
        return self._overload_until is not None

    def refuses(self, own: int) -> bool:
        """Whether a request is refused whose tenant has *own* work waiting. Asked above the line.

        It is not counted: see `refuse`.
        """
        if own * max(self.tenants, 1) <= self.line:
            return False
        now = self._clock()
        if self._overload_until is not None:
            return True
        if self._since is None:
            self._since = now
        return now - self._since > _PATIENCE or self.work > self.line * (_BURST / STANDING)

    def refuse(self) -> None:
        """Count a request that was refused."""
        now = self._clock()
        if self._overload_until is None:
            self._began, self._refused_before = now, self.refused
            log.warning("overload_began", waiting_seconds=round(self.seconds, 3))
        self._overload_until = now + _CALM
        self.refused += 1

    async def watch(self) -> None:
        """Measure ten times a second, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            self.measure()

    def measure(self) -> None:
        """Learn what work costs, and whether an overload is over; to be called now and then."""
        now, used = self._clock(), self._used()
        if self.work <= self.line:
            self._since = None
        if self._overload_until is not None and now > self._overload_until:
            self._overload_until = self._since = None
            seconds, refused = round(now - self._began, 1), self.refused - self._refused_before
            log.warning("overload_ended", seconds=seconds, refused=refused)
        last, used_before, done_before = self._last
        self._last = (now, used, self.done)
        busy = used - used_before
        # What an idle gateway does has nothing to do with requests.
        if self.done == done_before or busy < _BUSY * (now - last):
            return
        self._sums = [
            self._sums[0] * _KEPT + busy,
            self._sums[1] * _KEPT + self.done - done_before,
        ]
        self._cost = min(max(self._sums[0] / self._sums[1], _LEAST), _MOST)
        self.line = STANDING / self._cost
