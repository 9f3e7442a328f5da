"""Indexing: the store prepares, in the background, what a search uses."""

import asyncio
import time
from collections.abc import Callable

import structlog

from gateway.errors import StoreError
from gateway.store import Store

log = structlog.get_logger()

_STEP = 0.02
"""Seconds of one step."""

_IDLE = 1.0
"""Seconds between two looks whether there is something to do."""

_SHARE = 20
"""For each second of work there are so many of rest while events come in, else as much."""

_AFTER_FAILURE = 5.0


class Indexing:
    """Lets *store* index its events, with a twentieth of a core while it *is_busy*."""

    def __init__(self, store: Store, is_busy: Callable[[], bool]) -> None:
        self._store = store
        self._is_busy = is_busy
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; needs a running loop."""
        self._task = asyncio.create_task(self._run(), name="indexing")

    async def close(self) -> None:
        """Stop; the next start goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failed = ""
        while True:
            began = time.perf_counter()
            try:
                more = await self._store.index(_STEP)
            except StoreError as error:
                # Once for each cause: a damaged page is met again and again.
                if str(error) != failed:
                    log.warning("indexing_waits", error=str(error))
                failed, pause = str(error), _AFTER_FAILURE
            except Exception:
                log.exception("indexing_failed")
                pause = _AFTER_FAILURE
            else:
                failed = ""
                took = time.perf_counter() - began
                pause = took * (_SHARE if self._is_busy() else 1) if more else _IDLE
            await asyncio.sleep(pause)
