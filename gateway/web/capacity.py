"""How many clients may be connected at a time.

A process without free file descriptors cannot open a file, and cannot tell its operators
either. So clients get all descriptors but some.
"""

import asyncio
import resource
import time
from typing import cast

import structlog

log = structlog.get_logger()

RESERVED = 64
"""Descriptors for files, readers of the store, operators and commands: about 30 are in use."""

_QUIET_SECONDS = 60.0
"""Seconds between two log lines: clients that are turned away come again at once."""


class Capacity:
    """Counts connections.

    Attributes:
        most: how many there may be.
        turned_away: how many clients found no room since the start.
    """

    def __init__(self) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # -1 stands for no limit.
        self.most = max(limit // 2, limit - RESERVED) if limit > 0 else 1 << 30
        self.turned_away = 0
        self._open = 0
        self._told_at = 0.0

    @property
    def full(self) -> bool:
        """Whether another client would be turned away."""
        return self._open >= self.most

    def opened(self) -> None:
        """A connection begins."""
        self._open += 1

    def closed(self) -> None:
        """A connection has ended."""
        self._open -= 1

    def turn_away(self) -> asyncio.Protocol:
        """What closes the connection of a client that has no room."""
        self.turned_away += 1
        now = time.monotonic()
        if not self._told_at or now - self._told_at >= _QUIET_SECONDS:
            self._told_at = now
            log.warning("client_turned_away", connections=self.most, count=self.turned_away)
        return _Closing()


class _Closing(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of this class, but not the class.
        cast(asyncio.WriteTransport, transport).abort()
