"""The spool's way to the store: oldest first, a bounded piece at a time.

A record leaves the spool only after the store has committed it.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from gateway.errors import StoreError
from gateway.intake import quarantine
from gateway.intake.availability import Availability
from gateway.intake.commit import GroupCommitter
from gateway.intake.conflicts import Conflicts
from gateway.record import EventRecord, Outcome
from gateway.stores.spool import Spool

log = structlog.get_logger()

MAX_RECORDS = 500
MAX_BYTES = 1 << 20
"""A piece of the spool: what each group commit of the store carries besides requests."""

_PAUSE = 0.25
"""Seconds between tries where the spool itself cannot be read."""


class Drain:
    """Moves what the spool holds into the store, as long as the store is available."""

    def __init__(
        self,
        spool: Spool,
        to_store: GroupCommitter,
        availability: Availability,
        conflicts: Conflicts,
        drained: Callable[[Sequence[EventRecord], Sequence[Outcome]], None],
    ) -> None:
        """*drained* is told the records of each piece, and what became of them."""
        self._conflicts = conflicts
        self._spool = spool
        self._to_store = to_store
        self._availability = availability
        self._drained = drained
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to drain; needs a running loop."""
        self._task = asyncio.create_task(self._run(), name="spool-drain")

    async def close(self) -> None:
        """Stop; what is left in the spool waits for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._spool.filled.wait()
            await self._availability.wait()
            try:
                async with self._spool.moving:
                    await self._move()
            except Exception as error:
                if not isinstance(error, StoreError):
                    log.exception("spool_drain_failed", depth=self._spool.depth)
                elif not self._availability.unavailable:
                    log.warning("spool_drain_failed", depth=self._spool.depth, error=str(error))
                await asyncio.sleep(_PAUSE)

    async def _move(self) -> None:
        piece = await self._spool.peek(MAX_RECORDS, MAX_BYTES)
        if not piece.records:
            # A piece was dropped although its COMMIT failed.
            await self._spool.reconcile(())
            return
        try:
            outcomes = await self._to_store.append_in_background(piece.records)
            if Outcome.DUPLICATE in outcomes:
                await self._keep_conflicts(piece.records, outcomes)
        except StoreError as error:
            self._availability.failed(error)
            raise
        await self._spool.drop(piece)
        self._drained(piece.records, outcomes)

    async def _keep_conflicts(
        self, records: Sequence[EventRecord], outcomes: Sequence[Outcome]
    ) -> None:
        found = await self._conflicts.among(records, outcomes)
        if found:
            kept = [quarantine.of_conflict(one.event, one.stored) for one in found]
            await self._to_store.append_in_background(kept)
