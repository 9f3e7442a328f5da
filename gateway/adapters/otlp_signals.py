"""The two signals of OTLP that the gateway takes, and how a request becomes texts of records.

Whatever the encoding of a request, each of its records becomes one JSON text that
stands for itself: ``{"resource": ..., "scope": ..., "logRecord": ...}``. So both
encodings have the same checks, and the same form in the store.
"""

import time
from collections.abc import Sequence

import msgspec

from schemas.arrays import MAX_ELEMENTS, TooMany
from schemas.cutting import PART, PAUSE


class Signal(msgspec.Struct, frozen=True):
    """What one address takes: its kind of record, and the names that OTLP/JSON has for its parts.

    `resources`, `scopes` and `records` are the arrays of a request, from the outer one
    to the inner one; `record` is the member of a text; `rejected` counts in an answer.
    `misnamed` are other names of the arrays: those of the .proto files, which JSON must not
    have, and those before OTLP 0.15. To ignore them, as unknown members, would lose what they
    hold.
    """

    path: str
    kind: str
    resources: str
    scopes: str
    records: str
    record: str
    rejected: str
    noun: str
    misnamed: frozenset[str]


LOGS = Signal(
    "/v1/logs",
    "log",
    "resourceLogs",
    "scopeLogs",
    "logRecords",
    "logRecord",
    "rejectedLogRecords",
    "log records",
    frozenset({"scope_logs", "log_records", "instrumentationLibraryLogs", "logs"}),
)
SPANS = Signal(
    "/v1/traces",
    "span",
    "resourceSpans",
    "scopeSpans",
    "spans",
    "span",
    "rejectedSpans",
    "spans",
    frozenset({"scope_spans", "instrumentationLibrarySpans"}),
)


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the records of one scope share, as JSON texts; empty where the request has none."""

    resource: bytes = b""
    resource_url: bytes = b""
    scope: bytes = b""
    scope_url: bytes = b""

    def before(self, signal: Signal) -> bytes:
        """The text before a record's own; a bracket follows the record."""
        members = (
            (b"resource", self.resource),
            (b"resourceSchemaUrl", self.resource_url),
            (b"scope", self.scope),
            (b"scopeSchemaUrl", self.scope_url),
        )
        given = b"".join(b'"%b":%b,' % (name, text) for name, text in members if text)
        return b'{%b"%b":' % (given, signal.record.encode())


class Parts:
    """The texts of a request's records, which are handed over a few milliseconds at a time."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._size = 0
        self._seen = 0
        self._until = time.perf_counter() + PAUSE

    def count(self) -> None:
        """Count a resource, a scope or a record; raises TooMany."""
        self._seen += 1
        if self._seen > MAX_ELEMENTS:
            raise TooMany(f"Limit: {MAX_ELEMENTS} records, scopes and resources.")

    def add(self, before: bytes, record: bytes) -> None:
        """Add the text of a record."""
        text = b"%b%b}" % (before, record)
        self._texts.append(text)
        self._size += len(text)

    @property
    def due(self) -> bool:
        """Whether others should have their turn."""
        return self._size > PART or time.perf_counter() > self._until

    def take(self) -> list[bytes]:
        """The texts since the last call."""
        taken, self._texts, self._size = self._texts, [], 0
        self._until = time.perf_counter() + PAUSE
        return taken


SIGNALS: Sequence[Signal] = (LOGS, SPANS)
