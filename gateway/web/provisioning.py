"""What requests create: recorded as a document once the event that created it is durable."""

import asyncio
from typing import Generic

import structlog

from gateway.adapter import Inbound, TenantT
from gateway.capabilities import Provisions
from gateway.errors import StoreError
from gateway.record import Outcome, Receipt
from gateway.store import Documents

log = structlog.get_logger()


class Provisioning(Generic[TenantT]):
    """Records what the requests of one dialect create."""

    def __init__(self, dialect: str, adapter: Provisions[TenantT], documents: Documents) -> None:
        self._dialect = dialect
        self._adapter = adapter
        self._documents = documents
        self._tasks: set[asyncio.Task[None]] = set()

    def inherit(self, earlier: "Provisioning[TenantT]") -> None:
        """Wait in `close` for what *earlier*, which this replaces, records still."""
        self._tasks = earlier._tasks

    async def record(self, inbound: Inbound[TenantT], receipt: Receipt) -> None:
        """Record what a request has created; *receipt* proves that its event is durable."""
        name = self._adapter.created_document(inbound)
        if name is None:
            return
        recorded = self._record(inbound, name)
        if not receipt.count(Outcome.QUEUED):
            await recorded
            return
        # The store may be unavailable, and the event is durable: the answer does not wait for it.
        task = asyncio.create_task(recorded)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, timeout: float) -> None:
        """Wait for what is being recorded, at most *timeout* seconds; then give it up."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            # Their next events create them again.
            log.warning("devices_not_remembered", dialect=self._dialect, count=len(late))

    async def _record(self, inbound: Inbound[TenantT], name: str) -> None:
        tenant = inbound.tenant.name
        try:
            await self._documents.put(self._dialect, tenant, name, "{}", inbound.received_at)
        except StoreError as error:
            # The next event of the same device creates it again.
            log.warning("device_not_remembered", tenant=tenant, error=str(error))
            return
        self._adapter.restore([(tenant, name)])
