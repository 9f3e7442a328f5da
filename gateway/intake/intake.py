"""The one way in: redact, then commit, then a receipt.

Every dialect's events pass here, and nothing else writes records.
"""

import itertools
import time
from collections.abc import Sequence

import structlog

from gateway.adapter import Inbound, ParseResult, Rejected
from gateway.errors import Reason, Refusal, StoreError
from gateway.intake import quarantine
from gateway.intake.commit import GroupCommitter
from gateway.intake.redact import Redactor
from gateway.record import EventRecord, Outcome, Receipt
from gateway.store import Store
from gateway.stores.spool import Spool
from schemas import Problem

log = structlog.get_logger()

_MAX_REPORTED_PROBLEMS = 100
"""Faults that an answer names; the quarantine has all of them."""

_STORE_BACKOFF = 0.5
"""Seconds for which what a store has just failed to do is not tried again by requests."""


class Intake:
    """Takes readings in and says what became of them."""

    def __init__(
        self,
        *,
        store: Store,
        spool: Spool,
        to_store: GroupCommitter,
        to_spool: GroupCommitter,
        redactor: Redactor,
    ) -> None:
        self._store = store
        self._spool = spool
        self._to_store = to_store
        self._to_spool = to_spool
        self._redactor = redactor
        self._store_retry_at = 0.0
        self._lookup_retry_at = 0.0

    async def accept(
        self, dialect: str, inbound: Inbound, reading: ParseResult, *, on_invalid: str, queue: bool
    ) -> Receipt:
        """Make a request's events durable, its invalid ones as quarantine, in one transaction.

        Args:
            on_invalid: ``quarantine``, ``refuse`` or ``accept``.
            queue: answer from the spool, before the store has the events.

        Raises:
            Refusal: INVALID (for ``quarantine``, after the quarantine's commit),
                OVERLOADED, UNAVAILABLE. Except for INVALID, nothing was kept.
        """
        rejected = reading.rejected
        if not rejected and not self._redactor.active:
            return Receipt(await self._store_fast(reading.records, queue))
        if rejected and on_invalid == "refuse":
            raise _invalid(rejected)
        records = [self._redactor.redact(record) for record in reading.records]
        aside = [quarantine.of_event(dialect, inbound, one, self._redactor) for one in rejected]
        outcomes = await self._store_or_queue([*records, *aside], queue)
        if rejected and not records and on_invalid != "accept":
            raise _invalid(rejected)
        return Receipt(outcomes[: len(records)], reading.rejections)

    async def quarantine_body(self, dialect: str, inbound: Inbound, problem: Problem) -> None:
        """Quarantine a body that is not JSON. Raises Refusal as `accept` does."""
        await self._store_or_queue(
            [quarantine.of_body(dialect, inbound, problem, self._redactor)], False
        )

    async def probe(self) -> None:
        """Return if an event could be made durable now; raises StoreError otherwise."""
        try:
            await self._store.probe()
        except StoreError:
            await self._spool.probe()

    async def _store_fast(self, records: Sequence[EventRecord], queue: bool) -> Sequence[Outcome]:
        """As `_keep`, in fewer steps where nothing is out of the ordinary."""
        if queue or self._spool.depth or self._store_retry_at:
            return await self._store_or_queue(records, queue)
        try:
            return await self._to_store.append(records)
        except StoreError as error:
            self._store_failed(records, error)
            return await self._queue(records)

    def _store_failed(self, records: Sequence[EventRecord], error: StoreError) -> None:
        log.warning("store_failed", events=len(records), error=str(error))
        self._store_retry_at = time.monotonic() + _STORE_BACKOFF

    async def _store_or_queue(
        self, records: Sequence[EventRecord], queue: bool
    ) -> Sequence[Outcome]:
        if queue:
            return await self._queue(records)
        if self._spool.depth:
            waiting = self._spool.known({r.key for r in records if r.key is not None})
            if waiting:
                return await self._store_except(records, waiting, queue=False)
        if time.monotonic() >= self._store_retry_at:
            try:
                outcomes = await self._to_store.append(records)
            except StoreError as error:
                self._store_failed(records, error)
            else:
                self._store_retry_at = 0.0
                return outcomes
        return await self._queue(records)

    async def _queue(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        """Spool what neither the spool nor, where it can be asked, the store has already."""
        keys = {record.key for record in records if record.key is not None}
        held = self._spool.known(keys)
        # A store that cannot be written can often be asked all the same.
        if time.monotonic() >= self._lookup_retry_at:
            try:
                held |= await self._store.known(keys - held)
            except StoreError:
                self._lookup_retry_at = time.monotonic() + _STORE_BACKOFF
        if held:
            return await self._store_except(records, held, queue=True)
        return await self._append_to_spool(records)

    async def _store_except(
        self, records: Sequence[EventRecord], held: set[bytes], *, queue: bool
    ) -> Sequence[Outcome]:
        fresh = [record for record in records if record.key not in held]
        kept = await (self._append_to_spool(fresh) if queue else self._store_or_queue(fresh, False))
        outcomes = iter(kept)
        return [Outcome.DUPLICATE if record.key in held else next(outcomes) for record in records]

    async def _append_to_spool(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        try:
            return await self._to_spool.append(records)
        except StoreError as error:
            log.error("spool_failed", events=len(records), error=str(error))
            raise Refusal(
                Reason.UNAVAILABLE, "Neither the store nor the spool can be written."
            ) from None


def _invalid(rejected: Sequence[Rejected]) -> Refusal:
    problems = (problem for one in rejected for problem in one.absolute_problems())
    return Refusal(
        Reason.INVALID, problems=tuple(itertools.islice(problems, _MAX_REPORTED_PROBLEMS))
    )
