"""The intake and what it stands on, put together from a store and a spool."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType

from gateway.intake.availability import Availability
from gateway.intake.commit import GroupCommitter
from gateway.intake.conflicts import Conflicts
from gateway.intake.counts import Counts
from gateway.intake.drain import Drain
from gateway.intake.intake import Intake
from gateway.intake.redact import Redactor
from gateway.ops.metrics import Metrics
from gateway.record import EventRecord, Outcome, clock
from gateway.store import Store
from gateway.stores.spool import Spool

SPOOL_DEADLINE = 0.8
"""Seconds for the spool: with those for the store less than the 3 after which agents give up."""

_HANGS_AFTER = 60.0
"""Seconds after which a write to the disk is not slow, but hangs."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may wait for the disk, in events and bytes of text, and for how many seconds."""

    max_events: int
    max_bytes: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Assembly:
    """An intake that runs, and the parts that metrics look into."""

    intake: Intake
    to_store: GroupCommitter
    to_spool: GroupCommitter
    availability: Availability

    def bound(self, max_events: int, max_bytes: int) -> None:
        """Let so many events and bytes wait for each disk from now on."""
        self.to_store.bound(max_events, max_bytes)
        self.to_spool.bound(max_events, max_bytes)

    @property
    def healthy(self) -> bool:
        """Whether events reach a disk: no write hangs, or only the store's, and the spool works."""
        if self.to_spool.writing_for > _HANGS_AFTER:
            return False
        return self.availability.unavailable or self.to_store.writing_for <= _HANGS_AFTER


async def assemble(
    stack: AsyncExitStack,
    *,
    store: Store,
    spool: Spool,
    bounds: Bounds,
    redactor: Redactor,
    metrics: Metrics,
    client_ids: Mapping[str, Callable[[EventRecord], str]] = MappingProxyType({}),
    clock: Callable[[], int] = clock,
) -> Assembly:
    """Start everything between requests and *store*; *stack* closes it in reverse order.

    *clock* gives the time in microseconds since 1970 UTC. *client_ids* are as `Conflicts` has them.

    Raises:
        StoreError: the store cannot be asked what it holds of the spool's records.
    """
    # The last transaction of an earlier run may have stored them: then they are no new events.
    if spool.depth:
        await store.reconcile(spool.identities)
    max_events, max_bytes = bounds.max_events, bounds.max_bytes
    to_store = GroupCommitter(
        store,
        max_events=max_events,
        max_bytes=max_bytes,
        deadline=bounds.deadline,
        observe=metrics.committed,
    )
    to_spool = GroupCommitter(
        spool, max_events=max_events, max_bytes=max_bytes, deadline=SPOOL_DEADLINE
    )
    availability = Availability(store.probe)
    counts = Counts(store, availability, clock)
    counts.start()
    stack.push_async_callback(counts.close)
    for committer in (to_store, to_spool):
        committer.start()
        stack.push_async_callback(committer.close)
    stack.push_async_callback(availability.close)

    def drained(records: Sequence[EventRecord], outcomes: Sequence[Outcome]) -> None:
        metrics.drained(records, outcomes)
        counts.drained(records, outcomes)

    conflicts = Conflicts(store, spool, availability, metrics.compared, client_ids)
    conflicts.start()
    stack.push_async_callback(conflicts.close)
    drain = Drain(spool, to_store, availability, conflicts, drained)
    drain.start()
    stack.push_async_callback(drain.close)
    intake = Intake(
        store=store,
        spool=spool,
        to_store=to_store,
        to_spool=to_spool,
        availability=availability,
        redactor=redactor,
        counts=counts,
        conflicts=conflicts,
    )
    return Assembly(intake, to_store, to_spool, availability)
