"""The only path to the store: mask, commit, return a receipt.

The events of all dialects pass through `Intake.accept`.
"""

import asyncio
import copy
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from gateway.adapter import Inbound, ParseResult, Rejected, Tenant
from gateway.errors import Reason, Refusal, StoreError
from gateway.intake import quarantine
from gateway.intake.availability import Availability
from gateway.intake.commit import GroupCommitter
from gateway.intake.conflicts import Conflicts
from gateway.intake.counts import Counts
from gateway.intake.redact import Redactor
from gateway.record import EventRecord, Outcome, Receipt
from gateway.store import Store
from gateway.stores.spool import Spool
from schemas import Problem

log = structlog.get_logger()

ItemT = TypeVar("ItemT")
DoneT = TypeVar("DoneT")

_TURN = 0.005
"""Seconds for which a request works on its events before others have their turn."""

MAX_REPORTED_PROBLEMS = 100
"""How many problems an answer lists; the quarantined record has more."""

_PROBE_INTERVAL = 1.0
"""Seconds for which a write that succeeded shows that the next one would."""

_PROBE_SECONDS = 1.0
"""Seconds after which a store that does not answer a probe is unavailable."""

_LOOKUP_SECONDS = 0.25
"""Seconds that a question to the store may take before the spool goes on without its answer."""


class _Probe:
    """Writes a little, unless something was written a moment ago: anyone may ask, at any rate."""

    def __init__(
        self, write: Callable[[], Awaitable[None]], written_within: Callable[[float], bool]
    ) -> None:
        self._write = write
        self._written_within = written_within
        self._lock = asyncio.Lock()
        self._written_at = -math.inf

    async def run(self) -> None:
        """Return if a write works. Raises StoreError."""
        async with self._lock:
            recently = time.monotonic() - self._written_at < _PROBE_INTERVAL
            if not (recently or self._written_within(_PROBE_INTERVAL)):
                await self._write()
                self._written_at = time.monotonic()


class Intake:
    """Makes events durable, in the store or in the spool."""

    def __init__(
        self,
        *,
        store: Store,
        spool: Spool,
        to_store: GroupCommitter,
        to_spool: GroupCommitter,
        availability: Availability,
        redactor: Redactor,
        counts: Counts,
        conflicts: Conflicts,
    ) -> None:
        """*availability* says whether *store* takes events now."""
        self.counts = counts
        self._store = store
        self._spool = spool
        self._to_store = to_store
        self._to_spool = to_spool
        self._availability = availability
        self._redactor = redactor
        self.conflicts = conflicts
        self._store_probe = _Probe(self._probe_store, to_store.committed_within)

    def masking_with(self, redactor: Redactor) -> "Intake":
        """The same intake for requests whose secrets *redactor* masks."""
        made = copy.copy(self)
        made._redactor = redactor
        return made

    async def accept(
        self,
        dialect: str,
        inbound: Inbound[Tenant],
        reading: ParseResult,
        *,
        on_invalid: str,
        queue: bool,
    ) -> Receipt:
        """Store a request's events and quarantine its invalid ones, in one transaction.

        Args:
            on_invalid: ``quarantine``, ``refuse`` or ``accept``.
            queue: write to the spool instead of the store.

        Raises:
            Refusal: INVALID (for ``quarantine``, after the quarantine's commit);
                OVERLOADED, nothing was kept; UNAVAILABLE, it is unknown whether the
                events were kept, and a retry is recognised where they have keys.
        """
        rejected = reading.rejected
        if not rejected and not reading.repeated and not self._redactor.active:
            outcomes = await self._make_durable(reading.records, queue)
            if not outcomes or self.counts.events(reading.records, outcomes):
                return Receipt(outcomes)
            first = await self._compare_duplicates(inbound, reading.records, outcomes)
            return Receipt(outcomes, first_duplicate=first)
        if rejected and on_invalid == "refuse":
            raise _invalid(rejected)
        redactor = self._redactor
        records = await in_turns(redactor.redact, reading.records)
        quarantined = await in_turns(
            lambda one: quarantine.of_event(dialect, inbound, one, redactor, reading.request),
            rejected,
        )
        outcomes = await self._make_durable([*records, *quarantined], queue)
        first = None
        if records and not self.counts.events(records, outcomes[: len(records)]):
            first = await self._compare_duplicates(inbound, records, outcomes[: len(records)])
        if reading.rejections:
            self.counts.rejected(dialect, inbound.tenant.name, reading.rejections)
        if rejected and not records and on_invalid != "accept":
            raise _invalid(rejected)
        problems = _reported(rejected) if rejected else ()
        return Receipt(outcomes[: len(records)], reading.rejections, problems, first)

    async def _compare_duplicates(
        self, inbound: Inbound[Tenant], records: Sequence[EventRecord], outcomes: Sequence[Outcome]
    ) -> EventRecord | None:
        """Keep the content of reused ids, if that is wanted; return the first duplicate."""
        if Outcome.DUPLICATE not in outcomes:
            return None
        found = await self.conflicts.among(records, outcomes)
        path = inbound.head.path
        kept = await in_turns(
            lambda one: quarantine.of_conflict(one.event, one.stored, path), found
        )
        await self._make_durable(kept, False)
        return records[outcomes.index(Outcome.DUPLICATE)]

    async def quarantine_body(
        self, dialect: str, inbound: Inbound[Tenant], problem: Problem
    ) -> None:
        """Quarantine a body that is not JSON. Raises Refusal, as `accept` does."""
        await self._make_durable(
            [quarantine.of_body(dialect, inbound, problem, self._redactor)], False
        )
        self.counts.rejected(dialect, inbound.tenant.name, 1)

    def without_secrets(self, dialect: str, tenant: str, problem: Problem) -> Problem:
        """The problem as the log may show it."""
        return self._redactor.redact_problem(dialect, tenant, problem)

    async def probe(self) -> str:
        """Return if an event could be made durable now; say why the store cannot, if so.

        Raises:
            StoreError: neither the store nor the spool takes events.
        """
        if not self._availability.unavailable:
            try:
                await self._store_probe.run()
            except StoreError as error:
                self._availability.failed(error)
            else:
                return ""
        reason = self._availability.reason
        try:
            await self._spool.probe()
        except StoreError:
            await self._probe_store()
        return reason

    async def _probe_store(self) -> None:
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await self._store.probe()
        except TimeoutError:
            raise StoreError(f"no answer to a probe within {_PROBE_SECONDS:g} s") from None

    async def _make_durable(self, records: Sequence[EventRecord], queue: bool) -> Sequence[Outcome]:
        """Make *records* durable, in the store or else in the spool."""
        if not records:
            return ()
        if queue or self._spool.depth or self._availability.unavailable:
            return await self._store_or_queue(records, queue)
        try:
            return await self._to_store.append(records)
        except StoreError as error:
            self._availability.failed(error)
            if error.nothing_kept:
                return await self._store_or_queue(records, queue)
            return await self._to_spool_or_refuse(records)

    async def _store_or_queue(
        self, records: Sequence[EventRecord], queue: bool
    ) -> Sequence[Outcome]:
        identities = await in_turns(lambda record: record.identity, records)
        held = self._spool.known(set(identities))
        # A store that cannot be written can often still be read.
        if queue or self._availability.unavailable:
            held |= await self._known_to_store(records)
        if not held:
            return await self._keep(records, queue)
        # An identity is a hash, and a batch may have very many.
        known = [identity in held for identity in identities]
        fresh = [record for record, is_known in zip(records, known, strict=True) if not is_known]
        kept = iter(await self._keep(fresh, queue))
        return [Outcome.DUPLICATE if is_known else next(kept) for is_known in known]

    async def _known_to_store(self, records: Sequence[EventRecord]) -> set[bytes]:
        keys = dict.fromkeys(record.key for record in records if record.key is not None)
        if self._availability.silent:
            return set()
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                return await self._store.known(list(keys))
        except TimeoutError:
            self._availability.failed(StoreError("no answer to a question"), silent=True)
        except StoreError as error:
            self._availability.failed(error, silent=True)
        # The drain finds what was not found now.
        return set()

    async def _keep(self, records: Sequence[EventRecord], queue: bool) -> Sequence[Outcome]:
        spooling = True
        if queue and not self._availability.unavailable:
            try:
                return await self._to_spool.append(records)
            except StoreError as error:
                # Only the spool is in trouble: the store is better than a refusal.
                log.warning("spool_failed", events=len(records), error=str(error))
                # It may have kept them all the same, and drain them later.
                records = [record.with_key() for record in records]
                spooling = False
        if not self._availability.unavailable:
            try:
                return await self._to_store.append(records)
            except StoreError as error:
                self._availability.failed(error)
                if not spooling:
                    # It has waited for the spool before: too long to wait for that again.
                    raise _neither() from error
        return await self._to_spool_or_refuse(records)

    async def _to_spool_or_refuse(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        """Spool what the store did not take, or may have taken without saying so.

        The store is not asked what it knows of them: it may know our own attempt.
        """
        try:
            return await self._to_spool.append(records)
        except StoreError as error:
            log.error("spool_failed", events=len(records), error=str(error))
            raise _neither() from None


async def in_turns(work: Callable[[ItemT], DoneT], items: Sequence[ItemT]) -> list[DoneT]:
    """Do *work* on all *items*; others have their turn every few milliseconds."""
    done: list[DoneT] = []
    until = time.perf_counter() + _TURN
    for item in items:
        done.append(work(item))
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + _TURN
    return done


def _neither() -> Refusal:
    return Refusal(Reason.UNAVAILABLE, "Neither the store nor the spool can be written.")


def _reported(rejected: Sequence[Rejected]) -> tuple[Problem, ...]:
    """What an answer tells of the rejected elements."""
    problems = (problem for one in rejected for problem in one.absolute_problems())
    return tuple(itertools.islice(problems, MAX_REPORTED_PROBLEMS))


def _invalid(rejected: Sequence[Rejected]) -> Refusal:
    return Refusal(Reason.INVALID, problems=_reported(rejected))
