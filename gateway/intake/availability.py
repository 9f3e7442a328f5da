"""Whether the store takes events now, so that no request waits for a store that does not.

The first failure marks the store as unavailable. From then on one task asks it whether
it is back; requests and the spool's drain leave it alone until it is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from gateway.errors import StoreError

log = structlog.get_logger()

INTERVAL = 0.25
"""Seconds between two questions: the spool drains within a second of the store's return."""


class Availability:
    """Knows whether the store is unavailable.

    `reason` says why, and is empty while it is not. `silent` tells that it does not
    even answer what it holds.
    """

    def __init__(self, probe: Callable[[], Awaitable[None]]) -> None:
        """*probe* returns once a write would be durable, and raises StoreError otherwise."""
        self._probe = probe
        self._available = asyncio.Event()
        self._available.set()
        self._failed_at = 0.0
        self._watching: asyncio.Task[None] | None = None
        self.reason = ""
        self.silent = False

    @property
    def unavailable(self) -> bool:
        """Whether the store is to be left alone."""
        return bool(self.reason)

    async def wait(self) -> None:
        """Return as soon as the store is available."""
        await self._available.wait()

    def failed(self, error: StoreError, *, silent: bool = False) -> None:
        """The store has failed: it is unavailable until a probe succeeds."""
        self.silent = self.silent or silent
        if self.unavailable:
            return
        self.reason = _reason(error)
        self._failed_at = time.monotonic()
        self._available.clear()
        log.warning("store_unavailable", error=self.reason)
        self._watching = asyncio.create_task(self._watch(), name="store-watch")

    async def _watch(self) -> None:
        while self.unavailable:
            await asyncio.sleep(INTERVAL)
            try:
                await self._probe()
            except StoreError as error:
                self.reason = _reason(error)
            except Exception as error:
                log.exception("store_probe_failed")
                self.reason = repr(error)
            else:
                self.reason, self.silent = "", False
        self._available.set()
        log.info("store_recovered", seconds=round(time.monotonic() - self._failed_at, 1))

    async def close(self) -> None:
        """Ask no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)


def _reason(error: StoreError) -> str:
    # Never empty: an empty reason means that the store is back.
    return str(error) or type(error).__name__
