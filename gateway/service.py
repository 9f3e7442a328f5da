"""A gateway as the service of a system: what it does at each signal."""

import asyncio
import gc
import signal
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import structlog

from gateway.adapters import ADAPTERS
from gateway.app import Gateway
from gateway.checks import AdapterClasses
from gateway.config import Overrides, Settings
from gateway.ops.activation import inherited_sockets
from gateway.ops.log import LoopErrors
from gateway.ops.notify import notify
from gateway.reload import Reloads
from gateway.stores import without_password

log = structlog.get_logger()


async def serve(
    settings: Settings,
    file: Path,
    adapters: AdapterClasses = ADAPTERS,
    overrides: Overrides = MappingProxyType({}),
    when_started: Callable[[Gateway], None] = lambda _: None,
) -> None:
    """Run a gateway until SIGTERM or SIGINT, then stop it in order.

    It listens on the sockets that systemd passes, else on those that *settings* name.
    At SIGHUP it reads its configuration in *file* again, and *overrides* count in place of
    what stands there; see `gateway.reload`.

    Raises:
        StoreError, OSError: as `Gateway.start`.
    """
    gateway = Gateway(settings, adapters, inherited_sockets())
    reloads = Reloads(gateway, file, adapters, overrides)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reloads.request)
    await gateway.start()
    # What was made so far stays; looking through it for garbage costs each request its share.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    log.info(
        "gateway_started",
        address=":".join(map(str, gateway.address)),
        ops=":".join(map(str, gateway.ops_address)),
        store=without_password(settings.store.url),
    )
    notify("READY=1")
    when_started(gateway)
    reloading = asyncio.create_task(reloads.run(), name="reloads")
    await stop.wait()
    reloading.cancel()
    await asyncio.gather(reloading, return_exceptions=True)
    log.info("gateway_stopping")
    notify("STOPPING=1")
    await gateway.stop()
    log.info("gateway_stopped")
