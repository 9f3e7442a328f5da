"""Rates of requests, events and bytes, of each tenant and of each device.

The generic cell rate algorithm (GCRA) keeps one time for each rate: when all that was
taken so far will be paid for. A request is let in while none of its rates owes more than
its burst; what it turns out to hold is then taken, even if that is more than was left, and
the next request waits until it is paid for. So a refusal costs no more than a request's head.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from gateway.errors import Reason, Refusal
from gateway.web.budget import Who

Measure = Literal["requests", "events", "bytes"]
_SWEEP = 10_000


class Rate(msgspec.Struct, frozen=True):
    """`rate` a second in the long run, and `burst` at once after a pause."""

    rate: int
    burst: int


class Rates:
    """Says whether a request may be let in now, and takes what it holds."""

    def __init__(
        self,
        tenant: Mapping[Measure, Rate],
        device: Mapping[Measure, Rate],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Limit each tenant by the rates of *tenant*, and each device by those of *device*."""
        self._limits = [(0, measure, rate) for measure, rate in tenant.items()]
        self._limits += [(1, measure, rate) for measure, rate in device.items()]
        self._clock = clock
        self._paid_at: dict[tuple[Who, str, Measure], float] = {}
        self._sweep_at = _SWEEP

    def inherit(self, earlier: "Rates") -> None:
        """Go on from what was taken of *earlier*, whose limits were others."""
        self._paid_at = earlier._paid_at

    def admit(self, who: Who, device: str) -> None:
        """Let a request in, which may be a device's; *device* is empty if it is not.

        Raises:
            Refusal: LIMITED, with the seconds to wait; nothing is taken.
        """
        wait = self.wait(who, device)
        if wait > 0:
            raise Refusal(Reason.LIMITED, retry_after=math.ceil(wait))
        self.take(who, device, "requests", 1)

    def wait(self, who: Who, device: str, behind: int = 0) -> float:
        """Seconds that a request has to wait before it is let in; 0 or less if it need not.

        It comes *behind* so many others that are not taken yet.
        """
        now = self._clock()
        waits = [
            self._paid_at.get((who, device * level, measure), now)
            - now
            - (rate.burst - 1 - (behind if measure == "requests" else 0)) / rate.rate
            for level, measure, rate in self._limits
            if device or not level
        ]
        return max(waits, default=0.0)

    def take(self, who: Who, device: str, measure: Measure, amount: int) -> None:
        """Take *amount* of what the request held that was let in."""
        now = self._clock()
        for level, name, rate in self._limits:
            if name == measure and (device or not level):
                key = (who, device * level, measure)
                paid_at = max(now, self._paid_at.get(key, now))
                self._paid_at[key] = paid_at + amount / rate.rate
        if len(self._paid_at) > self._sweep_at:
            self._paid_at = {key: at for key, at in self._paid_at.items() if at > now}
            self._sweep_at = max(_SWEEP, 2 * len(self._paid_at))
