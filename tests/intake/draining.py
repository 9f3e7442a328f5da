"""A drain with all that it stands on, for tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from gateway.intake.availability import Availability
from gateway.intake.commit import GroupCommitter
from gateway.intake.conflicts import Conflicts
from gateway.intake.drain import Drain
from gateway.record import Outcome
from gateway.store import Store
from gateway.stores.spool import Spool
from tests.records import closing, eventually


@asynccontextmanager
async def draining(
    spool: Spool, store: Store, *, keep_conflicts: bool = False, **bounds: Any
) -> AsyncIterator[tuple[list[Outcome], GroupCommitter]]:
    """Drain *spool* into *store*; gives what became of each record so far, and the committer."""
    settings = {"max_events": 10_000, "max_bytes": 1 << 20, "deadline": 2, **bounds}
    outcomes: list[Outcome] = []
    async with AsyncExitStack() as stack:
        committer = GroupCommitter(store, **settings)
        committer.start()
        await stack.enter_async_context(closing(committer))
        availability = await stack.enter_async_context(closing(Availability(store.probe)))
        conflicts = Conflicts(store, spool, availability, lambda *_: None, {})
        conflicts.keep = keep_conflicts
        drain = Drain(
            spool, committer, availability, conflicts, lambda _, told: outcomes.extend(told)
        )
        drain.start()
        await stack.enter_async_context(closing(drain))
        yield outcomes, committer


async def drained(spool: Spool, store: Store) -> list[Outcome]:
    """Drain *spool* into *store*; return what became of each record."""
    async with draining(spool, store) as (outcomes, _):
        await eventually(lambda: not spool.depth)
        return outcomes
