"""One handler for every adapter: the path of a request, from its head to its answer."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from aiohttp.web import BaseRequest

from gateway.adapter import AnyAdapter, Document, Head, Inbound, Ingest, Reply, Tenant
from gateway.auth import Keyring
from gateway.capabilities import Provisions
from gateway.errors import Reason, Refusal, StoreError
from gateway.intake.intake import Intake
from gateway.ops.metrics import Metrics
from gateway.record import clock, sender_of
from gateway.store import Documents
from gateway.web.again import Again
from gateway.web.backlog import PER_REQUEST
from gateway.web.body import BodyReader, Pieces, announced, arrived
from gateway.web.budget import Budget
from gateway.web.codings import inflater
from gateway.web.context import RequestContext, headers_of, shown
from gateway.web.lines import RequestLines
from gateway.web.pieces import RESERVED
from gateway.web.provisioning import Provisioning
from gateway.web.rates import Rates
from gateway.web.routes import Routes, normal
from gateway.web.storing import Storing

log = structlog.get_logger()

_OPEN_BODY = 4096
"""Bytes of a body that needs no credential: none of these addresses takes one."""


class IngestHandler:
    """Answers every request of the public listener."""

    def __init__(
        self,
        *,
        adapters: Sequence[AnyAdapter],
        keyring: Keyring,
        intake: Intake,
        documents: Documents,
        metrics: Metrics,
        on_invalid: str,
        max_event: int,
        body_timeout: float,
        budget: Budget,
        rates: Rates | None,
    ) -> None:
        self._routes = Routes(adapters)
        self._keyring = keyring
        self._intake = intake
        self._storing = Storing(intake, metrics, rates, on_invalid, max_event)
        self._documents = documents
        self._metrics = metrics
        self._on_invalid = on_invalid
        self._max_event = max_event
        self._lines = RequestLines(intake, metrics)
        self._bodies = BodyReader(body_timeout)
        self._budget = budget
        self._rates = rates
        self.closing = False
        self._provisioning = {
            one.dialect: Provisioning(one.dialect, one, documents)
            for one in adapters
            if isinstance(one, Provisions)
        }

    def inherit(self, earlier: "IngestHandler") -> None:
        """Go on recording what requests create where *earlier*, which this replaces, began."""
        for dialect, provisioning in self._provisioning.items():
            provisioning.inherit(earlier._provisioning[dialect])
        self.closing = earlier.closing

    async def close(self, timeout: float) -> None:
        """Wait until what requests have created is recorded, at most *timeout* seconds."""
        async with asyncio.TaskGroup() as group:
            for one in self._provisioning.values():
                group.create_task(one.close(timeout))

    async def handle(self, request: BaseRequest) -> tuple[Reply, dict[str, str], Again | None]:
        """Give the reply to one request, more headers for it, and whether it can be given again.

        Raises:
            ConnectionError: the client is gone.
        """
        path = request.raw_path
        if not self._routes.has(path):
            path = normal(path)
        headers = request.headers

        def every(name: str) -> Sequence[str]:
            return headers.getall(name, ())

        context = RequestContext(Head(request.method, path, {}, headers.get, every))
        again = None
        try:
            reply = await self._answer(request, context)
            if context.share is not None:
                context.share.done()
        except Refusal as refusal:
            reply = self._refuse(context, refusal)
            if refusal.reason in _PASSING:
                again = self._again(context, refusal.reason)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("request_failed", request_id=context.id, path=shown(path))
            reply = self._refuse(context, Refusal(Reason.INTERNAL))
        finally:
            share = context.share
            if share is not None:
                share.release()
        self._lines.write(request, context, reply)
        return reply, headers_of(context), again

    async def _answer(self, request: BaseRequest, context: RequestContext) -> Reply:
        match = self._routes.find(context.head.path)
        if match is None:
            context.adapter = self._routes.owner(context.head.path)
            raise Refusal(Reason.NO_SUCH_ADDRESS)
        context.adapter = adapter = match.adapter
        if match.params:
            context.head = msgspec.structs.replace(context.head, params=match.params)
        endpoint = match.endpoint(request.method)
        if isinstance(endpoint, Document):
            return await self._document(request, context, adapter, endpoint)
        tenant = self._admit(context, adapter)
        rates, who = self._rates, (adapter.dialect, tenant.name)
        if rates is not None:
            rates.admit(who, tenant.limited_device)
        limit = endpoint.max_body
        if limit > self._max_event and not endpoint.batch:
            limit = self._max_event
        body = arrived(request, limit)
        headers = request.headers
        if endpoint.media_types and not endpoint.media_types(headers.get("Content-Type", "")):
            raise Refusal(Reason.MEDIA_TYPE_UNSUPPORTED)
        if body is None or "Content-Encoding" in headers:
            body, pieces = await self._begin(request, context, adapter, endpoint, limit, body)
        else:
            pieces = None
            context.share = self._budget.reserve(who, len(body))
        sender = sender_of(context.credential, headers.get("User-Agent", ""))
        inbound = Inbound(context.head, tenant, body, clock(), request.remote or "", sender)
        if pieces is None:
            receipt = await self._storing.whole(context, adapter, endpoint, inbound)
        else:
            receipt = await self._storing.in_pieces(context, adapter, endpoint, inbound, pieces)
        if adapter.dialect in self._provisioning:
            await self._provisioning[adapter.dialect].record(inbound, receipt)
        return adapter.accepted(inbound, receipt)

    def _admit(self, context: RequestContext, adapter: AnyAdapter) -> Tenant:
        credential, name = self._keyring.find(adapter.dialect, adapter.secret(context.head))
        context.credential = name
        context.tenant = adapter.admit(context.head, credential)
        return context.tenant

    def _identify(self, context: RequestContext, adapter: AnyAdapter) -> Tenant:
        """The tenant where the request shows a good credential although it needs none."""
        try:
            return self._admit(context, adapter)
        except Refusal:
            return Tenant("")

    async def _document(
        self, request: BaseRequest, context: RequestContext, adapter: AnyAdapter, endpoint: Document
    ) -> Reply:
        tenant = (
            self._identify(context, adapter) if endpoint.open else self._admit(context, adapter)
        )
        # What has no tenant shares one budget: nobody may take all of it.
        limit = endpoint.max_body if tenant.name else min(endpoint.max_body, _OPEN_BODY)
        rates, who = self._rates, (adapter.dialect, tenant.name)
        # Nobody's requests have no rate: those of one client would count for all.
        if rates is not None and tenant.name:
            rates.admit(who, tenant.limited_device)
        raw = arrived(request, limit)
        size = announced(request) if raw is None else len(raw)
        share = context.share = self._budget.reserve(who, size)
        body = await self._bodies.read(request, limit, share, raw)
        if rates is not None and tenant.name:
            rates.take(who, tenant.limited_device, "bytes", len(body))
        inbound = Inbound(context.head, tenant, body, clock(), request.remote or "")
        try:
            return await endpoint.answer(inbound, self._documents)
        except StoreError as error:
            log.warning("document_unavailable", error=str(error), path=shown(context.head.path))
            raise Refusal(Reason.UNAVAILABLE) from None

    async def _begin(
        self,
        request: BaseRequest,
        context: RequestContext,
        adapter: AnyAdapter,
        endpoint: Ingest[Any],
        limit: int,
        raw: bytes | None,
    ) -> tuple[bytes, Pieces | None]:
        """Read a body that did not come with its head, or begin to read that of a large batch."""
        whole, size = limit, announced(request) if raw is None else len(raw)
        if endpoint.whole is not None and adapter.on_invalid(self._on_invalid) != "refuse":
            whole = min(limit, endpoint.whole)
            if (request.content_length or 0) > whole and inflater(request) is None:
                size = RESERVED
        who = (adapter.dialect, context.tenant.name if context.tenant else "")
        share = context.share = self._budget.reserve(who, size)
        body = await self._bodies.begin(request, limit, share, raw, whole)
        return (b"", body) if isinstance(body, Pieces) else (body, None)

    def _refuse(self, context: RequestContext, refusal: Refusal) -> Reply:
        context.refusal = refusal
        # Their frames hold the body, and the context: until garbage is collected, or from now on.
        refusal.__traceback__ = refusal.__context__ = None
        if (
            context.adapter is not None
            and context.tenant is None
            and refusal.reason in _BEFORE_ADMISSION
        ):
            self._identify(context, context.adapter)
        dialect = context.adapter.dialect if context.adapter else ""
        tenant = context.tenant.name if context.tenant else ""
        self._metrics.refused(dialect, tenant, refusal.reason)
        self._intake.counts.refused(dialect, tenant, refusal.reason)
        if context.adapter is None:
            return _NOT_FOUND
        return context.adapter.refused(refusal, context.head, context.tenant)

    def _again(self, context: RequestContext, reason: Reason) -> Again | None:
        """How to refuse the same request again."""
        adapter, tenant, rates = context.adapter, context.tenant, self._rates
        if adapter is None or tenant is None:
            return None
        dialect, name, device = adapter.dialect, tenant.name, tenant.limited_device
        who = (dialect, name)
        limited = rates is not None and reason is Reason.LIMITED

        def holds(requests: int, size: int) -> bool:
            if limited:
                return rates is not None and rates.wait(who, device, requests) > 0
            return self._budget.refuses(who, size + requests * PER_REQUEST)

        def count() -> None:
            if not limited:
                self._budget.backlog.refuse()
            self._metrics.refused(dialect, name, reason)
            self._intake.counts.refused(dialect, name, reason)

        return Again(holds, count, 1.0 if limited else 10.0)


_PASSING = (Reason.LIMITED, Reason.OVERLOADED)
_BEFORE_ADMISSION = (Reason.NO_SUCH_ADDRESS, Reason.METHOD_NOT_ALLOWED)

_NOT_FOUND = Reply(
    404,
    b'{"type":"about:blank","title":"Unknown address.","status":404}',
    content_type="application/problem+json",
)
