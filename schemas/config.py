"""The operator's configuration: each option's name, type, default and meaning, said once.

The tables of the dialects are declared beside their documents, and joined to
these by whoever knows which dialects there are.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate

from schemas.base import Strict
from schemas.options import Count, OnInvalid, Redaction, help_text

LEVELS = ("debug", "info", "warning", "error")


def split_address(text: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[v6]:port``.

    Raises:
        ValueError: with a sentence, for anything else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("Wants host:port, with a port from 0 to 65535.")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif ":" in host:
        raise ValueError("An IPv6 address stands in brackets: [::1]:8080.")
    return host, int(port)


class Address(fields.String):
    """``host:port`` to listen on."""

    def __init__(self, default: str, text: str) -> None:
        super().__init__(load_default=default, metadata=help_text(text))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        address = super()._deserialize(value, attr, data, **kwargs)
        try:
            split_address(address)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return address


class Server(Strict):
    """The public listener: nothing but the dialects."""

    listen = Address("127.0.0.1:8080", "Where clients connect.")
    body_timeout = Count(30, 1, "Seconds that a body may take to arrive.")
    keepalive_timeout = Count(75, 1, "Seconds that an idle connection stays open.")
    shutdown_timeout = Count(30, 1, "Seconds to answer who still waits when asked to stop.")


class Ops(Strict):
    """The operator's listener: /livez, /readyz, /metrics."""

    listen = Address("127.0.0.1:8081", "Where operators and probes connect.")


class StoreTable(Strict):
    """Where events are kept."""

    url = fields.String(
        load_default="sqlite:///events.db",
        metadata=help_text("sqlite:///relative.db, or sqlite:////absolute/path.db"),
    )


class SpoolTable(Strict):
    """Where events wait while the store is away."""

    path = fields.String(
        load_default=None,
        allow_none=True,
        metadata=help_text("A file on the local disk; by default spool.db beside the store."),
    )
    max_events = Count(1_000_000, 1, "Events that may wait there; beyond it 503.")


class IngestTable(Strict):
    """What is taken in, for every dialect."""

    on_invalid = OnInvalid(
        "quarantine",
        "quarantine: keep invalid events aside, store the others. refuse: one invalid event "
        "refuses its request. accept: as quarantine, and succeed even when none is valid.",
    )
    max_waiting_events = Count(20_000, 1, "Events that may wait for the disk; beyond it 503.")
    max_waiting_bytes = Count(67_108_864, 1, "Their text in bytes; beyond it 503.")


class QuarantineTable(Strict):
    """Refused content of known clients."""

    max_records = Count(10_000, 0, "Quarantined records kept; the oldest go.")


class LogTable(Strict):
    """What is written to stderr."""

    level = fields.String(
        load_default="info",
        validate=validate.OneOf(LEVELS, error="Not one of: debug, info, warning, error."),
        metadata=help_text("debug, info, warning or error; requests are logged at info."),
    )


_TABLES: dict[str, type[Strict]] = {
    "server": Server,
    "ops": Ops,
    "store": StoreTable,
    "spool": SpoolTable,
    "ingest": IngestTable,
    "quarantine": QuarantineTable,
    "redact": Redaction,
    "log": LogTable,
}


def schema(dialects: Mapping[str, type[Strict]]) -> Strict:
    """The schema of a whole file, with a table for each of *dialects*."""
    tables = _TABLES | dict(dialects)
    members: Any = {
        name: fields.Nested(table, load_default=lambda table=table: table().load({}))
        for name, table in tables.items()
    }
    made: type[Strict] = Strict.from_dict(members, name="Configuration")  # type: ignore[assignment]
    return made()
