"""When each tenant last sent something, before this process did: the store is searched for it."""

import asyncio
from collections.abc import Sequence

import structlog

from gateway.errors import StoreError
from gateway.ops.metrics import Metrics
from gateway.query import Search
from gateway.store import Store

log = structlog.get_logger()

_SECONDS = 2.0
"""Seconds that a search for a tenant's last event may take."""


class LastEvents:
    """Tells *metrics* when each of *tenants*, a dialect and a name, last sent something."""

    def __init__(self, store: Store, metrics: Metrics, tenants: Sequence[tuple[str, str]]) -> None:
        self._store = store
        self._metrics = metrics
        self._tenants = tenants
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; needs a running loop."""
        self._task = asyncio.create_task(self._find(), name="last-events")

    async def close(self) -> None:
        """Let a search close what it has opened, if that does not take too long."""
        self._closing = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _find(self) -> None:
        for dialect, tenant in self._tenants:
            if self._closing:
                return
            wanted = Search(dialect=dialect, tenant=tenant, limit=1)
            try:
                page = await self._store.search(wanted, _SECONDS)
            except StoreError as error:
                log.warning("last_events_unknown", error=str(error))
                return
            for _, record in page.found:
                self._metrics.accepted_before(dialect, tenant, record.received_at / 1e6)
