"""The composition root: the only module that knows all parts."""

import asyncio
import gc
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from gateway.adapter import Adapter, Credential
from gateway.adapters import ADAPTERS
from gateway.auth import Keyring, digest_of
from gateway.config import Section
from gateway.errors import ConfigError, StoreError
from gateway.intake.commit import GroupCommitter
from gateway.intake.intake import Intake
from gateway.intake.redact import Redactor, Rules
from gateway.ops.listener import ops_app
from gateway.ops.metrics import Metrics
from gateway.ops.notify import notify
from gateway.stores import STORES, open_store, scheme_of
from gateway.stores.documents import FolderDocuments
from gateway.stores.spool import open_spool
from gateway.stores.sqlite import path_of
from gateway.web.ingest import IngestHandler
from gateway.web.server import PublicServer
from schemas import Problem, Strict
from schemas.config import split_address

log = structlog.get_logger()

AdapterClasses = Sequence[type[Adapter]]


def dialects(adapters: AdapterClasses = ADAPTERS) -> dict[str, type[Strict]]:
    """The schema of each dialect's table in the configuration."""
    return {adapter.dialect: adapter.options for adapter in adapters}


def faults(name: str, table: Section, adapters: AdapterClasses = ADAPTERS) -> list[Problem]:
    """Find what only the parts themselves can tell of the table *name* of a configuration."""
    if name == "store":
        return _store_faults(table.url)
    problems: list[Problem] = []
    for adapter in adapters:
        if adapter.dialect == name:
            problems.extend(_credential_faults(adapter(table)))
    return problems


def check(settings: Section, file: str, adapters: AdapterClasses = ADAPTERS) -> None:
    """Look for `faults` in every table, and for what two tables both want.

    Raises:
        ConfigError: with every fault found.
    """
    problems = [
        problem.prefixed(name)
        for name in settings
        for problem in faults(name, settings[name], adapters)
    ]
    problems += [] if problems else _clashes(settings)
    if problems:
        raise ConfigError(file, problems)


def _clashes(settings: Section) -> Iterator[Problem]:
    """What two tables want for themselves alone."""
    url = settings.store.url
    if scheme_of(url) == "sqlite" and _spool_path(settings).absolute() == path_of(url).absolute():
        yield Problem("spool.path", "This is the store's file; the spool needs one of its own.")
    public, ops = settings.server.listen, settings.ops.listen
    if split_address(public) == split_address(ops) and split_address(ops)[1]:
        yield Problem("ops.listen", "The public listener has this address.")


def _credential_faults(adapter: Adapter) -> Iterator[Problem]:
    seen: dict[bytes, Credential] = {}
    for credential in adapter.credentials():
        try:
            first = seen.setdefault(digest_of(credential.secret), credential)
        except ValueError as error:
            yield Problem("", str(error))
            continue
        if (first.tenants, first.detail) != (credential.tenants, credential.detail):
            owners = [", ".join(one.tenants) for one in (first, credential)]
            yield Problem(
                "", f"The same credential is given twice, to '{owners[0]}' and to '{owners[1]}'."
            )


def _store_faults(url: str) -> list[Problem]:
    scheme = scheme_of(url)
    if scheme not in STORES:
        return [Problem("url", f"Unknown scheme '{scheme}'; known here: {', '.join(STORES)}.")]
    try:
        _beside(url)
    except ValueError as error:
        return [Problem("url", str(error))]
    return []


def _beside(url: str) -> Path:
    return path_of(url).parent if scheme_of(url) == "sqlite" else Path()


def _spool_path(settings: Section) -> Path:
    path = settings.spool.path
    return Path(path) if path else _beside(settings.store.url) / "spool.db"


def _redactor(settings: Section, adapters: AdapterClasses) -> Redactor:
    tenants: dict[tuple[str, str], Rules] = {}
    for adapter in adapters:
        for one in tenants_of(settings[adapter.dialect]):
            if "redact" in one:
                tenants[adapter.dialect, one.tenant] = _rules(one.redact)
    return Redactor(_rules(settings.redact), tenants)


def _rules(table: Section) -> Rules:
    return Rules.of(table.headers, table.keys)


def tenants_of(table: Section) -> list[Section]:
    """The tenants that a dialect's table configures, whatever that dialect calls them."""
    lists = [table[name] for name in table if isinstance(table[name], tuple)]
    return [one for found in lists for one in found if isinstance(one, Section) and "tenant" in one]


class Gateway:
    """A running gateway: `start`, then `stop`. `address` and `ops_address` are (host, port)."""

    def __init__(self, settings: Section, adapters: AdapterClasses = ADAPTERS) -> None:
        self._settings = settings
        self._classes = adapters
        self._adapters = [adapter(settings[adapter.dialect]) for adapter in adapters]
        self.metrics = Metrics()
        self.address: tuple[str, int] = ("", 0)
        self.ops_address: tuple[str, int] = ("", 0)
        self._stack: list[Any] = []

    async def start(self) -> None:
        """Open the files, then the listeners; what was opened is closed again on failure.

        Raises:
            StoreError: the store or the spool cannot be opened.
            OSError: an address cannot be listened on.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings, ingest = self._settings, self._settings.ingest
        self._store = store = await open_store(settings.store.url, settings.quarantine.max_records)
        self._stack.append(store.close)
        spool = await open_spool(_spool_path(settings), settings.spool.max_events)
        self._stack.append(spool.close)
        bounds = {"max_events": ingest.max_waiting_events, "max_bytes": ingest.max_waiting_bytes}
        to_store = GroupCommitter(store, **bounds, observe=self.metrics.committed)
        to_spool = GroupCommitter(spool, **bounds)
        for committer in (to_store, to_spool):
            committer.start()
            self._stack.append(committer.close)
        spool.start(to_store, self.metrics.drained)
        self._intake = Intake(
            store=store,
            spool=spool,
            to_store=to_store,
            to_spool=to_spool,
            redactor=_redactor(settings, self._classes),
        )
        watch = self.metrics.watch
        watch("spool_depth", "Events that wait in the spool.", lambda: spool.depth)
        watch("waiting_events", "Events that wait for the disk.", lambda: to_store.held_events)
        watch("quarantine_trimmed", "Quarantined records let go.", lambda: store.evicted)
        lag = asyncio.create_task(self.metrics.watch_loop(), name="loop-lag")
        self._stack.append(lambda: _cancel(lag))
        await self._receive()
        await self._listen()

    async def _receive(self) -> None:
        keyring = Keyring()
        for adapter in self._adapters:
            keyring.add(adapter.dialect, adapter.credentials())
            adapter.recall(await self._store.names(adapter.dialect, "device/"))
        self._reception = IngestHandler(
            adapters=self._adapters,
            keyring=keyring,
            intake=self._intake,
            documents=FolderDocuments(self._store, self._folders()),
            metrics=self.metrics,
            on_invalid=self._settings.ingest.on_invalid,
            body_timeout=self._settings.server.body_timeout,
        )

    def _folders(self) -> dict[tuple[str, str], Path]:
        return {
            (adapter.dialect, prefix): Path(folder)
            for adapter in self._adapters
            for prefix, folder in adapter.folders().items()
        }

    async def _listen(self) -> None:
        server = self._settings.server
        self._ops = web.AppRunner(ops_app(self.metrics, self.probe), access_log=None)
        await self._ops.setup()
        self._stack.append(self._ops.cleanup)
        self.ops_address = await _site(self._ops, self._settings.ops.listen)
        self._public = web.ServerRunner(
            PublicServer(
                self._reception.handle,  # type: ignore[arg-type]
                access_log=None,
                auto_decompress=False,
                keepalive_timeout=server.keepalive_timeout,
            ),
            # Whoever could be answered has been by then: see _close_public.
            shutdown_timeout=1.0,
        )
        await self._public.setup()
        self._stack.append(self._close_public)
        self.address = await _site(self._public, server.listen)

    async def probe(self) -> None:
        """Return if an event would be taken now; raises StoreError otherwise."""
        if self._reception.closing:
            raise StoreError("The gateway is stopping.")
        await self._intake.probe()

    async def _close_public(self) -> None:
        """Stop accepting, let every request that has begun be answered, then close."""
        self._reception.closing = True
        # Whoever the kernel has connected already is accepted before the door closes.
        for _ in range(3):
            await asyncio.sleep(0)
        for site in list(self._public.sites):
            await site.stop()
        server = self._public.server
        assert server is not None
        # Answers now end their connections; wait for those that are being made.
        deadline = time.monotonic() + self._settings.server.shutdown_timeout
        # aiohttp has no event for "no request is being answered".
        while time.monotonic() < deadline and any(map(_busy, server.connections)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await self._public.cleanup()

    async def stop(self) -> None:
        """Close everything in the reverse order of its opening; safe after a failed start."""
        while self._stack:
            close = self._stack.pop()
            try:
                await close()
            except Exception:
                log.exception("close_failed")


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _busy(connection: Any) -> bool:
    # aiohttp stops reading a connection that it closes, even within a request: so ask first.
    return bool(connection._request_in_progress or connection._messages)


async def _site(runner: web.AppRunner | web.ServerRunner, listen: str) -> tuple[str, int]:
    host, port = split_address(listen)
    site = web.TCPSite(runner, host or None, port, backlog=1024)
    await site.start()
    bound: tuple[str, int] = runner.addresses[0][:2]
    return bound


async def serve(settings: Section, adapters: AdapterClasses = ADAPTERS) -> None:
    """Run a gateway until SIGTERM or SIGINT, then stop it in order.

    Raises:
        StoreError, OSError: as `Gateway.start`.
    """
    gateway = Gateway(settings, adapters)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await gateway.start()
    # What was made so far stays; looking through it for garbage costs each request its share.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    log.info(
        "gateway_started",
        address=":".join(map(str, gateway.address)),
        ops=":".join(map(str, gateway.ops_address)),
        store=settings.store.url,
    )
    notify("READY=1")
    await stop.wait()
    log.info("gateway_stopping")
    notify("STOPPING=1")
    await gateway.stop()
    log.info("gateway_stopped")
