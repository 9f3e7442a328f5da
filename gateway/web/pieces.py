"""A large batch is stored piece by piece while its body arrives.

While one piece is written, the next one arrives and is read. Only what is not yet on
disk is in memory, and the client sends no faster than the disk takes it.
"""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from gateway.adapter import AnyAdapter, AnyInbound, AnyIngest, ParseResult
from gateway.errors import Reason, Refusal
from gateway.intake import quarantine
from gateway.intake.intake import MAX_REPORTED_PROBLEMS, Intake
from gateway.ops.metrics import Metrics
from gateway.record import EventRecord, Outcome, Receipt, clock
from gateway.web.body import PIECE, Pieces
from gateway.web.budget import PER_EVENT, Share
from gateway.web.rates import Rates
from gateway.web.reading import mask, read_on
from schemas import Problem
from schemas.arrays import ArrayStream

RESERVED = 6 * PIECE
"""Bytes that are reserved for a body that is stored piece by piece.

One piece arrives, another waits to be cut, one is read and one is written; each may be
somewhat larger than `PIECE`.
"""

_PATIENCE = 2.0
"""Seconds for which a piece waits while too many events of others wait for the disk."""

_PAUSE = 0.02


class PieceByPiece:
    """Stores the events of one large batch.

    Attributes:
        inbound: the request; its body is the beginning of what arrived, as far as the
            quarantine keeps a body that is not JSON.
        receipt: what became of the events so far.
    """

    def __init__(
        self,
        adapter: AnyAdapter,
        endpoint: AnyIngest,
        inbound: AnyInbound,
        pieces: Pieces,
        share: Share,
        *,
        intake: Intake,
        metrics: Metrics,
        rates: Rates | None,
        max_event: int,
    ) -> None:
        """Take the body from *pieces*, within *share*."""
        self.inbound = inbound
        self._adapter = adapter
        self._endpoint = endpoint
        self._pieces = pieces
        self._share = share
        self._intake = intake
        self._metrics = metrics
        self._rates = rates
        self._max_event = max_event
        self._array = ArrayStream(max(max_event, quarantine.MAX_EVENT) + 1)
        self._raws: list[bytes] = []
        # Bytes of these texts, of those that are read, and of those that are written.
        self._cut = self._in_hand = self._in_store = 0
        self._taken = 0
        self._events_read = 0
        self._explained = self._different = 0
        self._storing: asyncio.Task[Receipt] | None = None
        self._outcomes: list[Outcome] = []
        self._rejected = 0
        self._problems: list[Problem] = []
        self._first_duplicate: EventRecord | None = None

    @property
    def receipt(self) -> Receipt:
        return Receipt(self._outcomes, self._rejected, self._problems, self._first_duplicate)

    async def run(self, on_invalid: str) -> None:
        """Store everything; return when it is durable.

        Raises:
            Refusal: as `Pieces.next` and `Intake.accept`; OVERLOADED or BODY_TOO_LARGE
                where the share cannot grow. The pieces before may be stored.
            Unreadable: the body is not a JSON array.
            TooMany: it has too many elements.
        """
        try:
            while data := await self._next():
                await self._take(self._array.feed(data))
            await self._take(self._array.close())
            await self._store()
            await self._settle()
        except BaseException:
            # What is being written is to be counted, whatever happened to the rest.
            with suppress(Refusal):
                await self._settle()
            raise
        if self._rejected and not self._outcomes and on_invalid != "accept":
            raise Refusal(Reason.INVALID, problems=self._problems)

    async def _next(self) -> bytes:
        self._reserve(PIECE)
        data = await self._pieces.next()
        missing = quarantine.MAX_BODY - len(self.inbound.body)
        if missing > 0:
            body = self.inbound.body + data[:missing]
            self.inbound = msgspec.structs.replace(self.inbound, body=body)
        return data

    async def _take(self, parts: Iterable[list[bytes]]) -> None:
        for part in parts:
            self._raws += part
            self._cut += sum(map(len, part))
            self._reserve(0)
            if self._cut >= PIECE:
                await self._store()
            await asyncio.sleep(0)

    def _reserve(self, more: int) -> None:
        """Have reserved what is held now, and *more* bytes."""
        held = self._pieces.held + self._array.held + self._cut + self._in_hand + self._in_store
        events = self._array.found - len(self._outcomes) - self._rejected
        wanted = held + PER_EVENT * events + more
        self._share.resize(max(wanted, RESERVED + self._pieces.held))

    async def _store(self) -> None:
        """Read the events that are cut, and begin to store them once those before are stored."""
        raws, self._raws = self._raws, []
        self._in_hand, self._cut = self._cut, 0
        if not raws:
            return
        inbound = msgspec.structs.replace(self.inbound, received_at=clock())
        reading = ParseResult(
            [],
            [],
            explained=self._explained,
            max_event=self._max_event,
            offset=self._events_read,
            rejected_before=self._different,
        )
        self._events_read += len(raws)
        self._endpoint.read(inbound, raws, reading)
        await read_on(self._endpoint, inbound, raws, reading)
        await mask(self._endpoint, reading)
        self._explained = reading.explained
        self._different += len(reading.rejected)
        self._report(reading)
        await self._settle()
        self._in_store, self._in_hand = self._in_hand, 0
        self._storing = asyncio.create_task(self._accept(inbound, reading))

    def _report(self, reading: ParseResult) -> None:
        """Keep the first problems for the answer, in case that no event is valid."""
        for one in reading.rejected:
            if len(self._problems) >= MAX_REPORTED_PROBLEMS:
                return
            self._problems += one.absolute_problems()
        del self._problems[MAX_REPORTED_PROBLEMS:]

    async def _settle(self) -> None:
        """Wait for the piece that is being stored, if any, and add up what became of it."""
        storing, self._storing = self._storing, None
        if storing is None:
            return
        receipt = await storing
        self._in_store = 0
        self._outcomes += receipt.outcomes
        self._rejected += receipt.rejected
        self._first_duplicate = self._first_duplicate or receipt.first_duplicate

    async def _accept(self, inbound: AnyInbound, reading: ParseResult) -> Receipt:
        dialect, tenant = self._adapter.dialect, inbound.tenant
        size, self._taken = self._pieces.size - self._taken, self._pieces.size
        if self._rates is not None:
            who = (dialect, tenant.name)
            self._rates.take(who, tenant.limited_device, "bytes", size)
            self._rates.take(who, tenant.limited_device, "events", reading.elements)
        wants_queue = self._endpoint.wants_queue
        queue = wants_queue is not None and wants_queue(inbound)
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                receipt = await self._intake.accept(
                    dialect, inbound, reading, on_invalid="accept", queue=queue
                )
            except Refusal as refusal:
                # Nothing was kept, and to send all again would cost everyone more than to wait.
                if refusal.reason is not Reason.OVERLOADED or time.monotonic() > until:
                    raise
                await asyncio.sleep(_PAUSE)
            else:
                break
        self._metrics.accepted(dialect, tenant.name, receipt.tally, receipt.rejected, size)
        return receipt
