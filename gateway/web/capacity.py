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

UNLIMITED = 1 << 30
"""More connections than any system has."""

_QUIET_SECONDS = 60.0
"""Seconds between two log lines: clients that are turned away come again at once."""


class Capacity:
    """Counts connections.

    Attributes:
        most: how many there may be.
        turned_away: how many clients found no room since the start.
    """

    def __init__(self, most: int | None = None, per_address: int | None = None) -> None:
        """At most *most* connections, where files allow as many, and *per_address* of one client.

        None is no limit.
        """
        self.limit(most, per_address)
        self._by_address: dict[str, int] = {}
        self.turned_away = 0
        self._open = 0
        self._told_at = 0.0

    def limit(self, most: int | None, per_address: int | None) -> None:
        """Allow so many from now on, as at the start; nobody is disconnected."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # -1 stands for no limit.
        files = max(limit // 2, limit - RESERVED) if limit > 0 else UNLIMITED
        self.most = files if most is None else min(most, files)
        self._per_address = per_address

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

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return self._open

    def enter(self, address: str) -> bool:
        """Count a connection from *address*; False, and not counted, where it has too many."""
        held = self._by_address.get(address, 0)
        # Without a limit they are counted too: a reload may set one.
        if self._per_address is not None and held >= self._per_address:
            self._tell(self._per_address, address)
            return False
        self._by_address[address] = held + 1
        return True

    def leave(self, address: str) -> None:
        """A connection that could `enter` has ended."""
        held = self._by_address.get(address, 0)
        if held > 1:
            self._by_address[address] = held - 1
        else:
            self._by_address.pop(address, None)

    def turn_away(self) -> asyncio.Protocol:
        """What closes the connection of a client that has no room."""
        self._tell(self.most)
        return _Closing()

    def _tell(self, most: int, address: str = "") -> None:
        self.turned_away += 1
        now = time.monotonic()
        if not self._told_at or now - self._told_at >= _QUIET_SECONDS:
            self._told_at = now
            client = {"client": address} if address else {}
            log.warning("client_turned_away", connections=most, count=self.turned_away, **client)


class _Closing(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of this class, but not the class.
        cast(asyncio.WriteTransport, transport).abort()
