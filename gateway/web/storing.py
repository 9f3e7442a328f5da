"""From a body to a receipt: its events are read and stored, at once or piece by piece."""

import msgspec

from gateway.adapter import AnyAdapter, AnyInbound, AnyIngest, ParseResult
from gateway.errors import Reason, Refusal
from gateway.intake.intake import Intake
from gateway.ops.metrics import Metrics
from gateway.record import Receipt
from gateway.web.body import Pieces
from gateway.web.budget import PER_EVENT, Share, Who
from gateway.web.context import RequestContext
from gateway.web.pieces import PieceByPiece
from gateway.web.rates import Rates
from gateway.web.reading import Pause, let_others, mask, read_on
from gateway.web.turns import LARGE, Turns
from schemas import Problem, TooMany, Unreadable


class Storing:
    """Stores what requests hold, and counts it; tells their context what became of it."""

    def __init__(
        self,
        intake: Intake,
        metrics: Metrics,
        rates: Rates | None,
        on_invalid: str,
        max_event: int,
    ) -> None:
        """*on_invalid* is what ``[ingest]`` says, *max_event* how many bytes an event may have."""
        self._intake = intake
        self._metrics = metrics
        self._rates = rates
        self._on_invalid = on_invalid
        self._max_event = max_event
        self._turns = Turns()

    async def whole(
        self,
        context: RequestContext,
        adapter: AnyAdapter,
        endpoint: AnyIngest,
        inbound: AnyInbound,
    ) -> Receipt:
        """Store a body that is here, all of it or nothing. Raises Refusal."""
        dialect, tenant, rates = adapter.dialect, inbound.tenant, self._rates
        share, size = context.share, len(inbound.body)
        assert share is not None
        context.size = size
        who = (dialect, tenant.name)
        if rates is not None:
            rates.take(who, tenant.limited_device, "bytes", size)
        on_invalid = adapter.on_invalid(self._on_invalid)
        try:
            if size > LARGE:
                reading = await self._read_in_turn(who, endpoint, inbound, share)
            elif endpoint.batch:
                reading = await self._read(endpoint, inbound, share, let_others)
            else:
                reading = self._read_event(endpoint, inbound, share)
            if rates is not None:
                rates.take(who, tenant.limited_device, "events", reading.elements)
        except TooMany as error:
            raise Refusal(Reason.BODY_TOO_LARGE, str(error)) from None
        except Unreadable as error:
            raise await self._not_json(adapter, endpoint, inbound, error) from None
        if reading.rejected:
            await mask(endpoint, reading)
        queue = endpoint.wants_queue is not None and endpoint.wants_queue(inbound)
        try:
            receipt = context.receipt = await self._intake.accept(
                dialect, inbound, reading, on_invalid=on_invalid, queue=queue
            )
        except Refusal as refusal:
            if refusal.reason is Reason.INVALID and on_invalid != "refuse":
                self._metrics.quarantined(dialect, tenant.name, reading.rejections)
            raise
        tally = context.tally = receipt.tally
        self._metrics.accepted(dialect, tenant.name, tally, receipt.rejected, size)
        return receipt

    async def in_pieces(
        self,
        context: RequestContext,
        adapter: AnyAdapter,
        endpoint: AnyIngest,
        inbound: AnyInbound,
        pieces: Pieces,
    ) -> Receipt:
        """Store a large batch while it arrives. Raises Refusal; a part may be stored then."""
        assert context.share is not None
        batch = PieceByPiece(
            adapter,
            endpoint,
            inbound,
            pieces,
            context.share,
            intake=self._intake,
            metrics=self._metrics,
            rates=self._rates,
            max_event=self._max_event,
        )
        try:
            await batch.run(adapter.on_invalid(self._on_invalid))
        except TooMany as error:
            raise Refusal(Reason.BODY_TOO_LARGE, str(error)) from None
        except Unreadable as error:
            raise await self._not_json(adapter, endpoint, batch.inbound, error) from None
        finally:
            context.size, receipt = pieces.size, batch.receipt
            if receipt.outcomes or receipt.rejected:
                context.receipt, context.tally = receipt, receipt.tally
        return receipt

    async def _not_json(
        self,
        adapter: AnyAdapter,
        endpoint: AnyIngest,
        inbound: AnyInbound,
        error: Unreadable,
    ) -> Refusal:
        """Quarantine a body that is not JSON; return the refusal. Raises as `Intake.accept`."""
        problem = Problem("", str(error))
        if adapter.on_invalid(self._on_invalid) != "refuse" and inbound.body:
            if endpoint.masked is not None:
                inbound = msgspec.structs.replace(inbound, body=endpoint.masked(inbound.body))
            await self._intake.quarantine_body(adapter.dialect, inbound, problem)
            self._metrics.quarantined(adapter.dialect, inbound.tenant.name, 1)
        return Refusal(Reason.NOT_JSON, problems=[problem])

    async def _read_in_turn(
        self, who: Who, endpoint: AnyIngest, inbound: AnyInbound, share: Share
    ) -> ParseResult:
        """Read a large body, after those that came before it."""
        turns = self._turns
        await turns.take(who)
        try:
            reading = await self._read(endpoint, inbound, share, lambda: turns.pass_on(who))
        finally:
            turns.give()
        await let_others()
        return reading

    def _read_event(self, endpoint: AnyIngest, inbound: AnyInbound, share: Share) -> ParseResult:
        """Read a small body that is no batch: it holds nobody up."""
        reading = ParseResult([], [], batch=False, max_event=self._max_event)
        for raws in endpoint.split(inbound):
            if endpoint.composed:
                share.grow(sum(map(len, raws)))
            if raws:
                endpoint.read(inbound, raws, reading)
        return reading

    async def _read(
        self, endpoint: AnyIngest, inbound: AnyInbound, share: Share, pause: Pause
    ) -> ParseResult:
        """Read a body, a few milliseconds at a time: between two slices others have their turn."""
        raws: list[bytes] = []
        for number, part in enumerate(endpoint.split(inbound)):
            if number:
                await pause()
            if endpoint.batch:
                share.grow(PER_EVENT * len(part))
            if endpoint.composed:
                share.grow(sum(map(len, part)))
            raws += part
        reading = ParseResult([], [], batch=endpoint.batch, max_event=self._max_event)
        if raws:
            endpoint.read(inbound, raws, reading)
            if endpoint.batch and reading.elements < len(raws):
                await read_on(endpoint, inbound, raws, reading, pause)
        return reading
