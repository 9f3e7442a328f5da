"""What a configuration says of requests, made ready apart from those that are being answered."""

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.adapter import AnyAdapter
from gateway.adapters import ADAPTERS
from gateway.auth import Keyring
from gateway.capabilities import ComparesClocks, HasFolders
from gateway.checks import AdapterClasses, tenants_of
from gateway.config import Settings
from gateway.intake.redact import Redactor
from gateway.rules import rates_of, redactor_of
from gateway.web.rates import Rates
from gateway.web.tls import context_of

_AT_START = ("server", "ops", "store", "spool", "quarantine")
"""Tables whose options are read at the start alone."""

_AT_ANY_TIME = ("server.certificate", "server.key")


@dataclass(frozen=True, slots=True)
class Configured:
    """One immutable object, which a reload replaces as a whole.

    Attributes:
        fingerprint: 48 bits of a hash of all settings, those of named files included.
    """

    settings: Settings
    adapters: Sequence[AnyAdapter]
    keyring: Keyring
    redactor: Redactor
    rates: Rates | None
    tls: ssl.SSLContext | None
    fingerprint: int

    @property
    def folders(self) -> dict[tuple[str, str], Path]:
        """Folders of documents that an operator writes, by dialect and prefix of their names."""
        return {
            (adapter.dialect, prefix): Path(folder)
            for adapter in self.adapters
            if isinstance(adapter, HasFolders)
            for prefix, folder in adapter.folders().items()
        }

    @property
    def tenants(self) -> list[tuple[str, str]]:
        """The dialect and the name of each tenant."""
        tables = self.settings.dialects.items()
        return [(dialect, one.tenant) for dialect, table in tables for one in tenants_of(table)]

    @property
    def skewed(self) -> dict[tuple[str, str, str], int]:
        """Events with a clock far off, by dialect, tenant and direction."""
        return {
            (adapter.dialect, *of): count
            for adapter in self.adapters
            if isinstance(adapter, ComparesClocks)
            for of, count in adapter.skewed().items()
        }

    @classmethod
    def of(cls, settings: Settings, adapters: AdapterClasses = ADAPTERS) -> "Configured":
        """Make everything ready. This takes a second where there are many tenants.

        Raises:
            ValueError: the certificate cannot be used.
        """
        made = [adapter(settings.dialects[adapter.dialect]) for adapter in adapters]
        keyring = Keyring()
        for adapter in made:
            keyring.add(adapter.dialect, adapter.credentials())
        server = settings.server
        return cls(
            settings,
            made,
            keyring,
            redactor_of(settings, adapters),
            rates_of(settings.limits),
            context_of(server.certificate, server.key) if server.certificate else None,
            _fingerprint(settings),
        )


def needs_restart(started: Settings, wanted: Settings) -> list[str]:
    """The paths of options that differ and that a running gateway does not change."""
    before, after = started.tables(), wanted.tables()
    found = [
        f"{name}.{option}"
        for name in _AT_START
        for option, _, value in after[name].options()
        if value != getattr(before[name], option)
    ]
    found = [path for path in found if path not in _AT_ANY_TIME]
    if (started.server.certificate is None) != (wanted.server.certificate is None):
        found.append("server.certificate")
    return found


def changed_tables(before: Settings, after: Settings) -> list[str]:
    """The names of the tables that differ."""
    known = before.tables()
    return [name for name, table in after.tables().items() if table != known[name]]


def _fingerprint(settings: Settings) -> int:
    text = msgspec.json.encode(settings, enc_hook=_plain)
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big")


def _plain(value: Any) -> object:
    # The rest is what the addresses and networks of the configuration are.
    return dict(value) if isinstance(value, MappingProxyType) else str(value)
