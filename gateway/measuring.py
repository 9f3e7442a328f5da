"""What has to be looked up to be measured: files, disks, the oldest event of the spool."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from gateway.errors import StoreError
from gateway.store import Measured, Measures, Store
from gateway.stores.spool import Spool

log = structlog.get_logger()

_SECONDS = 0.5
"""Seconds for which a scrape waits; after that it shows what was found before."""

_REST = 20
"""After a look nothing is looked up for so many times as long as it took."""


class Measurements:
    """Looks things up before a scrape, at most one at a time: a disk may hang.

    Attributes:
        file_bytes: the size of each file, by its name here.
        free_bytes: what is free on the disk of the store and of the spool.
        oldest: when the oldest event of the spool was received, in Unix seconds.
        store: what the store tells of itself; None before the first look.
    """

    def __init__(self, store: Store, spool: Spool, files: Mapping[str, Path]) -> None:
        """*files* are databases, by the names ``store`` and ``spool``."""
        self.file_bytes: Mapping[str, int] = {}
        self.free_bytes: Mapping[str, int] = {}
        self.oldest: float | None = None
        self.store: Measures | None = None
        self._measured = store if isinstance(store, Measured) else None
        self._spool = spool
        self._files = files
        self._task: asyncio.Task[None] | None = None
        self._next_at = 0.0

    async def refresh(self) -> None:
        """Look things up, unless that was done a moment ago."""
        if self._task is None or self._task.done():
            if time.monotonic() < self._next_at:
                return
            self._task = asyncio.create_task(self._look(), name="measurements")
        await asyncio.wait([self._task], timeout=_SECONDS)

    async def close(self) -> None:
        """Look nothing up any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        started = time.monotonic()
        try:
            self.file_bytes, self.free_bytes = await asyncio.to_thread(_sizes, self._files)
            # What cannot be read now keeps its last value.
            with suppress(StoreError):
                oldest = await self._spool.oldest()
                self.oldest = None if oldest is None else oldest / 1e6
            if self._measured is not None:
                with suppress(StoreError):
                    self.store = await self._measured.measures()
        except Exception:
            log.exception("measuring_failed")
        ended = time.monotonic()
        self._next_at = ended + _REST * (ended - started)


def _sizes(files: Mapping[str, Path]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    sizes: dict[str, int] = {}
    free: dict[str, int] = {}
    for name, path in files.items():
        for label, one in ((name, path), (f"{name}_wal", path.with_name(f"{path.name}-wal"))):
            try:
                sizes[label] = one.stat().st_size
            except OSError:
                sizes[label] = 0
        with suppress(OSError):
            disk = os.statvfs(path.absolute().parent)
            free[name] = disk.f_bavail * disk.f_frsize
    return sizes, free
