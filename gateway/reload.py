"""Reload: the configuration is read again while requests are answered.

Everything is read, checked and made ready in a thread of its own, then put in place at
once. A file that is bad changes nothing.
"""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import structlog

from gateway.adapters import ADAPTERS
from gateway.checks import AdapterClasses, load
from gateway.config import Overrides, Settings, find_doubts, report
from gateway.configured import Configured, changed_tables
from gateway.errors import ConfigError
from gateway.ops.log import set_level
from gateway.ops.metrics import Metrics
from gateway.ops.notify import notify

log = structlog.get_logger()

_MOST_TOLD = 20
"""Problems of a bad file that the log line has; `gateway check` has them all."""


class Reconfigurable(Protocol):
    """What a reload changes: a running gateway."""

    metrics: Metrics
    configured: Configured

    def reconfigure(self, configured: Configured) -> None:
        """Answer requests that begin from now on by *configured*."""

    def needs_restart(self, wanted: Settings) -> list[str]:
        """The options that *wanted* has otherwise and that only a start reads."""


class Reloads:
    """Reloads the configuration of *gateway*, one time after the other."""

    def __init__(
        self,
        gateway: Reconfigurable,
        file: Path,
        adapters: AdapterClasses = ADAPTERS,
        overrides: Overrides = MappingProxyType({}),
    ) -> None:
        self._gateway = gateway
        self._file = file
        self._adapters = adapters
        self._overrides = overrides
        self._wanted = asyncio.Event()

    def request(self) -> None:
        """Reload soon; requests that come while one waits are the same."""
        self._wanted.set()

    async def run(self) -> None:
        """Reload whenever it is requested, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            notify(f"READY=1\nSTATUS={await self._reload()}")

    async def _reload(self) -> str:
        """Reload once; return what to say of it in a line."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            configured, doubts = await asyncio.to_thread(self._prepare)
            self._put_in_place(configured)
        except ConfigError as error:
            lines = await asyncio.to_thread(report, error.file, error.problems)
            log.error("config_refused", problems=lines[:_MOST_TOLD], count=len(lines))
            said = f"Configuration of {now} refused, the former one is in use: {lines[0]}"
        except Exception as error:
            log.exception("config_not_reloaded")
            said = f"Configuration of {now} failed, the former one is in use: {error}"
        else:
            for line in doubts:
                log.warning("config_doubtful", problem=line)
            self._gateway.metrics.reloaded(success=True)
            return f"Configuration of {now} in use."
        self._gateway.metrics.reloaded(success=False)
        # The line ends where systemd's does.
        return said.partition("\n")[0]

    def _prepare(self) -> tuple[Configured, list[str]]:
        settings = load(self._file, self._adapters, self._overrides, to_serve=True)
        return Configured.of(settings, self._adapters), report(self._file, find_doubts(settings))

    def _put_in_place(self, configured: Configured) -> None:
        gateway, settings = self._gateway, configured.settings
        changed = changed_tables(gateway.configured.settings, settings)
        gateway.reconfigure(configured)
        set_level(settings.log.level)
        log.info("config_reloaded", changed=changed, hash=configured.fingerprint)
        if later := gateway.needs_restart(settings):
            log.warning("config_needs_restart", options=later)
