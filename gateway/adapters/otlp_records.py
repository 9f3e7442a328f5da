"""The records of OTLP, and how the attributes of an `EventRecord` follow from each.

The protocols name what the gateway reads of a document; the decoders are derived
from the schemas in `schemas.otlp`.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from schemas import Invalid, Problem, otlp
from schemas.decoders import Decoder
from schemas.fields import is_storable

DocumentT = TypeVar("DocumentT")

# The data model of logs names the numbers by four for each word (opentelemetry.io/docs/specs/
# otel/logs/data-model, "Displaying Severity").
_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


class LogRecord(Protocol):
    """What the gateway reads of a log record. Times are in nanoseconds since 1970 UTC."""

    time_unix_nano: int | None
    observed_time_unix_nano: int | None
    severity_number: int | None
    severity_text: str | None
    event_name: str | None


class Span(Protocol):
    """What the gateway reads of a span. Times are in nanoseconds since 1970 UTC."""

    trace_id: str
    span_id: str
    name: str | None
    kind: int | None
    start_time_unix_nano: int | None
    end_time_unix_nano: int | None


class Document(Protocol):
    """What every record comes with."""

    resource: otlp.Resource | None


class LogDocument(Document, Protocol):
    """A log record with its resource."""

    log_record: LogRecord


class SpanDocument(Document, Protocol):
    """A span with its resource."""

    span: Span


class RecordType(msgspec.Struct, Generic[DocumentT], frozen=True):
    """A type of OTLP record: its kind, its decoder, and how to get a record's attributes.

    `time` is in microseconds since 1970 UTC, or None. `identity` is text that only
    repetitions of the record share, or None where a record has no id of its own.
    """

    kind: str
    decoder: Decoder[DocumentT]
    type: Callable[[DocumentT], str]
    time: Callable[[DocumentT], int | None]
    identity: Callable[[DocumentT], str | None]


def subject_of(document: Document) -> str | None:
    """The name of the service that sent the record.

    Raises:
        Invalid: no store could read the name back unchanged.
    """
    resource = document.resource
    for attribute in (resource.attributes if resource else None) or ():
        if attribute.key == "service.name" and attribute.value is not None:
            name = attribute.value.string_value
            if name and not is_storable(name):
                told = "service.name contains a NUL or a lone surrogate."
                raise Invalid((Problem("resource.attributes", told),))
            return name or None
    return None


def body_digest(body: bytes) -> str:
    """What tells a request from every other one."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _log_type(document: LogDocument) -> str:
    record = document.log_record
    number = record.severity_number or 0
    if record.event_name or record.severity_text:
        return record.event_name or record.severity_text or ""
    if 0 < number <= 4 * len(_SEVERITIES):
        word, nth = divmod(number - 1, 4)
        return f"{_SEVERITIES[word]}{nth + 1 if nth else ''}"
    return "log"


def _log_time(document: LogDocument) -> int | None:
    record = document.log_record
    nanos = record.time_unix_nano or record.observed_time_unix_nano
    return nanos // 1000 if nanos else None


def _span_time(document: SpanDocument) -> int | None:
    nanos = document.span.start_time_unix_nano
    return nanos // 1000 if nanos else None


def _span_identity(document: SpanDocument) -> str:
    # Some tracers give both ends of a call one id, and some send a span again when it ends.
    span = document.span
    ids = f"{span.trace_id}/{span.span_id}".lower()
    times = f"{span.start_time_unix_nano or 0}/{span.end_time_unix_nano or 0}"
    return f"{ids}/{span.kind or 0}/{times}"


LOG: RecordType[LogDocument] = RecordType(
    "log",
    Decoder[LogDocument](otlp.LogDocument()),
    _log_type,
    _log_time,
    lambda _: None,
)
SPAN: RecordType[SpanDocument] = RecordType(
    "span",
    Decoder[SpanDocument](otlp.SpanDocument()),
    lambda document: document.span.name or "span",
    _span_time,
    _span_identity,
)

AnyRecordType = RecordType[Any]  # Any: each has documents of its own
