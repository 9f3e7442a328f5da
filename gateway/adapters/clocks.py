"""Devices whose clocks are far off: their events are kept as they are, counted and told.

Refusing them would lose what a device does before it has set its clock, and correcting
them would hide that it has not.
"""

import time
from collections import Counter
from typing import Literal

import structlog

log = structlog.get_logger()

Direction = Literal["behind", "ahead", "seconds"]
"""`seconds` stands for a timestamp that is probably one of seconds, not milliseconds."""

_BEHIND = 24 * 3600 * 1000
_AHEAD = 5 * 60 * 1000
_SECONDS = 10**11
"""Milliseconds since 1970 that are in March 1973, and seconds that are in the year 5138."""

_QUIET_SECONDS = 60.0


class Clocks:
    """Compares timestamps with the time of receipt.

    Attributes:
        skewed: events with a clock far off so far, by tenant and direction, repeats included.
    """

    def __init__(self) -> None:
        self.skewed: Counter[tuple[str, str]] = Counter()
        self._told_at: dict[str, float] = {}

    def compare(self, tenant: str, device: str, timestamp: int, received_at: int) -> None:
        """Note it if *timestamp*, in milliseconds, is far from *received_at*, in microseconds."""
        ahead = timestamp - received_at // 1000
        if not -_BEHIND <= ahead <= _AHEAD:
            self._note(tenant, device, timestamp, ahead)

    def _note(self, tenant: str, device: str, timestamp: int, ahead: int) -> None:
        direction: Direction = "ahead" if ahead > 0 else "behind"
        if timestamp < _SECONDS:
            direction = "seconds"
        self.skewed[tenant, direction] += 1
        now = time.monotonic()
        # One device of the tenant a minute: the others come again.
        if now - self._told_at.get(tenant, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._told_at[tenant] = now
            log.info(
                "device_clock_skewed",
                tenant=tenant,
                device=device,
                direction=direction,
                seconds=ahead // 1000,
                count=sum(self.skewed[tenant, one] for one in _DIRECTIONS),
            )


_DIRECTIONS: tuple[Direction, ...] = ("behind", "ahead", "seconds")
