"""The composition root: the only module that knows all parts."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any, cast

import structlog
from aiohttp import web

from gateway.adapter import Reply
from gateway.adapters import ADAPTERS
from gateway.capabilities import Provisions
from gateway.checks import AdapterClasses, control_path, spool_path
from gateway.commands import commands_of
from gateway.config import Settings
from gateway.configured import Configured, needs_restart
from gateway.errors import StoreError
from gateway.gauges import (
    watch_connections,
    watch_events,
    watch_files,
    watch_limits,
    watch_requests,
)
from gateway.indexing import Indexing
from gateway.intake.assembly import SPOOL_DEADLINE, Assembly, Bounds, assemble
from gateway.intake.documents import MaskedDocuments
from gateway.lastevents import LastEvents
from gateway.ops.activation import OPS, PUBLIC, Sockets
from gateway.ops.control import ControlServer
from gateway.ops.listener import REQUEST_LOG, ops_app
from gateway.ops.metrics import Metrics
from gateway.ops.notify import feed_watchdog
from gateway.replay import Replay
from gateway.retention import Retention, policy_of
from gateway.stores import open_store
from gateway.stores.documents import FolderDocuments
from gateway.stores.spool import open_spool
from gateway.web.again import Again
from gateway.web.application import application
from gateway.web.budget import Budget
from gateway.web.capacity import Capacity
from gateway.web.forwarded import TrustedProxies
from gateway.web.ingest import IngestHandler
from gateway.web.listener import PublicListener, listen_on
from gateway.web.server import PublicServer
from gateway.web.tls import Renewable

log = structlog.get_logger()

_BUSY = 1.0
"""Seconds after a commit for which the gateway counts as busy."""


class Gateway:
    """A running gateway: `start`, then `stop`. `address` and `ops_address` are (host, port)."""

    def __init__(
        self,
        settings: Settings,
        adapters: AdapterClasses = ADAPTERS,
        sockets: Sockets = MappingProxyType({}),
    ) -> None:
        """*sockets* are used in the place of the addresses that *settings* name."""
        self._sockets = sockets
        # What the gateway has started with; `configured` has what requests follow now.
        self._settings = settings
        self.configured = Configured.of(settings, adapters)
        self.metrics = Metrics()
        self.metrics.configured(self.configured.fingerprint, self.configured.tenants)
        limits = settings.limits
        self._budget = Budget(
            limits.inflight_bytes, limits.tenant_inflight_bytes, limits.tenant_inflight_requests
        )
        self.address: tuple[str, int] = ("", 0)
        self.ops_address: tuple[str, int] = ("", 0)
        self._capacity: Capacity | None = None
        self._server: PublicServer | None = None
        self._tls: Renewable | None = None
        self._stack = AsyncExitStack()
        self._stopped = False

    async def start(self) -> None:
        """Open the files, then the listeners; what was opened is closed again on failure.

        Raises:
            StoreError: the store or the spool cannot be opened.
            OSError: an address cannot be listened on.
        """
        await self.open()
        try:
            await self._listen()
        except BaseException:
            await self.stop()
            raise

    async def open(self) -> None:
        """Open the files and make ready to `respond`, without a listener.

        Raises:
            StoreError: the store or the spool cannot be opened.
        """
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise

    async def respond(
        self, request: web.BaseRequest
    ) -> tuple[Reply, Mapping[str, str], Again | None]:
        """Give the reply to *request*, more headers for it, and whether it can be given again.

        Raises:
            ConnectionError: the client is gone.
        """
        return await self._reception.handle(request)

    async def _open(self) -> None:
        settings, ingest = self._settings, self._settings.ingest
        kept = settings.quarantine
        self._store = store = await open_store(settings.store.url, kept.max_records, kept.max_bytes)
        self._stack.push_async_callback(store.close)
        self._spool = spool = await open_spool(spool_path(settings), settings.spool.max_events)
        self._stack.push_async_callback(spool.close)
        assembly = await assemble(
            self._stack,
            store=store,
            spool=spool,
            bounds=Bounds(
                ingest.max_waiting_events, ingest.max_waiting_bytes, settings.store.deadline
            ),
            redactor=self.configured.redactor,
            metrics=self.metrics,
            client_ids={one.dialect: one.client_id for one in self.configured.adapters},
        )
        assembly.intake.conflicts.keep = ingest.on_conflict == "keep"
        self._assembly, self._intake = assembly, assembly.intake
        self._keep_running(feed_watchdog(lambda: assembly.healthy), "watchdog")
        self._retention = retention = Retention(store, policy_of(settings.retention))
        self._watch(assembly, retention)
        self._keep_running(self._budget.backlog.watch(), "backlog")
        self._keep_running(self.metrics.watch_loop(), "loop-lag")
        await self._receive()
        await self._take_commands()
        retention.start()
        self._stack.push_async_callback(retention.close)
        indexing = Indexing(store, lambda: assembly.to_store.committed_within(_BUSY))
        indexing.start()
        self._stack.push_async_callback(indexing.close)
        last = LastEvents(store, self.metrics, self.configured.tenants)
        last.start()
        self._stack.push_async_callback(last.close)

    def _watch(self, assembly: Assembly, retention: Retention) -> None:
        """Tell the metrics where to read what nobody counts."""
        metrics, store, spool = self.metrics, self._store, self._spool
        budget = self._budget
        watch_events(metrics, store, spool, assembly, retention)
        watch_requests(metrics, budget, lambda: self.configured.skewed)
        watch_limits(
            metrics,
            assembly,
            spool,
            budget,
            lambda: self.configured.settings,
            lambda: self._capacity,
        )
        found = watch_files(metrics, store, spool, self._settings, spool_path(self._settings))
        self._stack.push_async_callback(found.close)

    def _keep_running(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run *work* until the gateway stops."""
        task = asyncio.create_task(work, name=name)
        self._stack.push_async_callback(_cancel, task)

    async def _receive(self) -> None:
        for adapter in self.configured.adapters:
            if isinstance(adapter, Provisions):
                created = await self._store.names(adapter.dialect, adapter.created_prefix)
                adapter.restore(created)
        self._reception = self._handler(self.configured)

        async def close() -> None:
            await self._reception.close(self._settings.store.deadline)

        self._stack.push_async_callback(close)

    def _handler(self, configured: Configured) -> IngestHandler:
        ingest, masked = configured.settings.ingest, configured.redactor
        return IngestHandler(
            adapters=configured.adapters,
            keyring=configured.keyring,
            intake=self._intake.masking_with(masked),
            documents=FolderDocuments(MaskedDocuments(self._store, masked), configured.folders),
            metrics=self.metrics,
            on_invalid=ingest.on_invalid,
            max_event=ingest.max_event,
            body_timeout=self._settings.server.body_timeout,
            budget=self._budget,
            rates=configured.rates,
        )

    def reconfigure(self, configured: Configured) -> None:
        """Answer requests that begin from now on by *configured*; those before keep theirs.

        Nothing is awaited here, and what can fail comes first.
        """
        handler, earlier = self._handler(configured), self.configured
        handler.inherit(self._reception)
        for now, before in zip(configured.adapters, earlier.adapters, strict=True):
            if isinstance(now, Provisions):
                now.inherit(cast(Any, before))  # the same dialect's
        if configured.rates is not None and earlier.rates is not None:
            configured.rates.inherit(earlier.rates)
        settings = configured.settings
        limits, ingest = settings.limits, settings.ingest
        self._budget.limit(
            limits.inflight_bytes, limits.tenant_inflight_bytes, limits.tenant_inflight_requests
        )
        self._assembly.bound(ingest.max_waiting_events, ingest.max_waiting_bytes)
        self._intake.conflicts.keep = ingest.on_conflict == "keep"
        self._retention.follow(policy_of(settings.retention))
        if self._capacity is not None:
            self._capacity.limit(limits.connections, limits.connections_per_address)
        if self._tls is not None and configured.tls is not None:
            self._tls.use(configured.tls)
        self._reception, self.configured = handler, configured
        if self._server is not None:
            self._server.respond_by(handler.handle)
        self.metrics.configured(configured.fingerprint, configured.tenants)

    def needs_restart(self, wanted: Settings) -> list[str]:
        """The options that *wanted* has otherwise and that only a start reads."""
        return needs_restart(self._settings, wanted)

    async def _take_commands(self) -> None:
        settled = self._settings.store.deadline + SPOOL_DEADLINE
        commands = commands_of(self._store, self._spool, self.probe, self.replaying, settled)
        control = ControlServer(control_path(self._settings), commands)
        self._stack.push_async_callback(control.close)
        await control.start()

    def replaying(self) -> Replay:
        """What replays events of the quarantine as requests are answered now."""
        configured = self.configured
        return Replay(
            configured.adapters,
            self._intake.masking_with(configured.redactor),
            self._store,
            self._store,
            self.metrics,
            configured.settings.ingest.max_event,
        )

    async def _listen(self) -> None:
        server = self._settings.server
        self._ops = web.AppRunner(
            ops_app(self.metrics, self.probe, self._settings.ops.hosts),
            access_log=None,
            logger=REQUEST_LOG,
        )
        await self._ops.setup()
        self._stack.push_async_callback(self._ops.cleanup)
        self.ops_address = await listen_on(
            self._ops, self._settings.ops.listen, sockets=self._sockets.get(OPS, ())
        )
        limits = self._settings.limits
        self._capacity = capacity = Capacity(limits.connections, limits.connections_per_address)
        self._server = answering = PublicServer(
            self._reception.handle,
            write_timeout=server.write_timeout,
            on_malformed=self._malformed,
            keepalive_timeout=server.keepalive_timeout,
            proxies=TrustedProxies(server.trusted_proxies, server.forwarded_header),
            capacity=capacity,
        )
        watch_connections(self.metrics, capacity)
        public = PublicListener(answering)
        self._stack.push_async_callback(self._close_public, public)
        if self.configured.tls is not None:
            self._tls = Renewable(self.configured.tls)
        tls = self._tls.context if self._tls else None
        await public.open(server.listen, tls, self._sockets.get(PUBLIC, ()))
        self.address = public.address

    def _malformed(self) -> None:
        self.metrics.malformed()
        self._intake.counts.malformed()

    async def probe(self) -> str:
        """Return if an event would be taken now; say why the store is unavailable, if it is.

        Raises:
            StoreError: no event would be taken.
        """
        if self._stopped or self._reception.closing:
            raise StoreError("The gateway is stopping.")
        if self._capacity is not None and self._capacity.full:
            raise StoreError(f"All {self._capacity.most} connections are in use.")
        return await self._intake.probe()

    async def _close_public(self, public: PublicListener) -> None:
        self._reception.closing = True
        await public.close(self._settings.server.shutdown_timeout)

    async def stop(self) -> None:
        """Close everything, last opened first, whatever fails; safe after a failed start."""
        self._stopped = True
        try:
            await self._stack.aclose()
        except Exception:
            log.exception("close_failed")


GATEWAY: web.AppKey[Gateway] = web.AppKey("gateway", Gateway)


def make_app(settings: Settings, adapters: AdapterClasses = ADAPTERS) -> web.Application:
    """The whole gateway as one application, which answers the addresses of all adapters.

    It opens its files when it starts and closes them when it is cleaned up. The
    `Gateway` is in ``app[GATEWAY]``: pass its metrics and its probe to
    `gateway.ops.listener.ops_app` for what operators need. The listeners that
    *settings* name are not opened.
    """
    gateway = Gateway(settings, adapters)

    async def opened(_: web.Application) -> AsyncIterator[None]:
        await gateway.open()
        yield
        await gateway.stop()

    app = application(gateway.respond)
    app[GATEWAY] = gateway
    app.cleanup_ctx.append(opened)
    return app


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
