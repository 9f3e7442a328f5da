"""Documents of OpenTelemetry: log records and spans in the JSON mapping of OTLP 1.x.

What is read here is one record with its resource and its scope, as
`gateway.adapters.otlp` cuts them out of a request. The mapping is that of proto3,
except that ids of traces and spans are hexadecimal and enums are numbers
(opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"). 64-bit integers are
text, and numbers are accepted. null means "not set".
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, TypeAlias

import msgspec
from marshmallow import ValidationError, fields, validate

from schemas import moesif
from schemas.base import Lenient
from schemas.fields import INT32, Name, Shape, Text
from schemas.options import (
    Choice,
    Count,
    Flag,
    OnInvalid,
    Secret,
    TenantName,
    TenantTable,
)
from schemas.table import Table, items, option, tables

_UINT32 = validate.Range(min=0, max=2**32 - 1)
_MAX_NANOS = 2**64 - 1
_DIGITS = re.compile("[0-9]{1,20}")
_HEX = re.compile("[0-9a-fA-F]*")

_Nanos: TypeAlias = (
    Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}$")] | Annotated[int, msgspec.Meta(ge=0)]
)
_Int64: TypeAlias = Annotated[str, msgspec.Meta(pattern="^-?[0-9]{1,19}$")] | int
_Double: TypeAlias = (
    float
    | Annotated[
        str, msgspec.Meta(pattern=r"^(NaN|-?Infinity|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?)$")
    ]
)


class _Message(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A message of OTLP whose members the gateway checks and mostly does not interpret."""


class AnyValue(_Message, frozen=True, gc=False):
    """``opentelemetry.proto.common.v1.AnyValue``."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Int64 | None = None
    double_value: _Double | None = None
    array_value: "ArrayValue | None" = None
    kvlist_value: "KeyValueList | None" = None
    bytes_value: str | None = None


class KeyValue(_Message, frozen=True, gc=False):
    """An attribute: a name and its value."""

    key: str = ""
    value: AnyValue | None = None


class ArrayValue(_Message, frozen=True, gc=False):
    """A value that is an array."""

    values: list[AnyValue] | None = None


class KeyValueList(_Message, frozen=True, gc=False):
    """A value that is an object."""

    values: list[KeyValue] | None = None


class Resource(_Message, frozen=True, gc=False):
    """What sends: a service, a host, a container."""

    attributes: list[KeyValue] | None = None


class Scope(_Message, frozen=True, gc=False):
    """The library that made the record."""

    name: str | None = None
    version: str | None = None
    attributes: list[KeyValue] | None = None


class SpanEvent(_Message, frozen=True, gc=False):
    """Something that happened during a span."""

    time_unix_nano: _Nanos | None = None
    name: str | None = None
    attributes: list[KeyValue] | None = None


class SpanLink(_Message, frozen=True, gc=False):
    """Another span that this one belongs to."""

    trace_id: str | None = None
    span_id: str | None = None
    attributes: list[KeyValue] | None = None


class Status(_Message, frozen=True, gc=False):
    """How a span ended."""

    message: str | None = None
    code: int | None = None


class Typed(fields.Field[Any]):  # Any: a value of the type that it is made with
    """A value of a type of msgspec, or null."""

    def __init__(self, kind: Any) -> None:  # Any: type forms have no common type
        super().__init__(load_default=None, allow_none=True)
        self.kind = kind

    @property
    def shape(self) -> Shape:
        return Shape(self.kind | None)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return msgspec.convert(value, self.kind)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ValidationError(f"{error}.") from None


class UnixNano(fields.Field[int]):
    """Nanoseconds since 1970 UTC, as text or as a number, read as an integer; 0 is "not set"."""

    default_error_messages = {"invalid": "Not a number of nanoseconds."}

    def __init__(self, **kwargs: Any) -> None:  # Any: options
        super().__init__(load_default=None, allow_none=True, **kwargs)

    @property
    def shape(self) -> Shape:
        return Shape(str | int | None, resolve=_nanos, accepts=_is_nanos)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not _is_nanos(value):
            raise self.make_error("invalid")
        return int(value)


def _is_nanos(value: object) -> bool:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value) <= _MAX_NANOS
    return type(value) is int and 0 <= value <= _MAX_NANOS


def _nanos(value: Any) -> int | None:
    return None if value is None else int(value)


class HexId(fields.Field[str]):
    """The id of a trace or span: *size* bytes in hexadecimal. Empty is "not set"."""

    default_error_messages = {"invalid": "Not {digits} hexadecimal digits."}

    def __init__(self, size: int, **kwargs: Any) -> None:  # Any: options
        super().__init__(load_default=None, allow_none=True, **kwargs)
        self.digits = 2 * size

    @property
    def shape(self) -> Shape:
        return Shape(str | None, accepts=self._accepts)

    def _accepts(self, value: object) -> bool:
        return isinstance(value, str) and (
            not value or (len(value) == self.digits and _HEX.fullmatch(value) is not None)
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not self._accepts(value):
            raise self.make_error("invalid", digits=self.digits)
        return str(value)


class RequiredHexId(fields.Field[str]):
    """The id of a span, or of its trace; zeros are none."""

    default_error_messages = {"invalid": "Not {digits} hexadecimal digits, or only zeros."}

    def __init__(self, size: int, **kwargs: Any) -> None:  # Any: options
        super().__init__(required=True, **kwargs)
        self.digits = 2 * size

    @property
    def shape(self) -> Shape:
        return Shape(str, accepts=self._accepts)

    def _accepts(self, value: object) -> bool:
        return (
            isinstance(value, str)
            and len(value) == self.digits
            and _HEX.fullmatch(value) is not None
            and value.strip("0") != ""
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not self._accepts(value):
            raise self.make_error("invalid", digits=self.digits)
        return str(value)


def _number(within: validate.Range, name: str) -> fields.Integer:
    return fields.Integer(
        strict=True, load_default=None, allow_none=True, validate=within, data_key=name
    )


class LogRecord(Lenient):
    """``opentelemetry.proto.logs.v1.LogRecord``."""

    time_unix_nano = UnixNano(data_key="timeUnixNano")
    observed_time_unix_nano = UnixNano(data_key="observedTimeUnixNano")
    severity_number = _number(INT32, "severityNumber")
    severity_text = Name(data_key="severityText")
    event_name = Name(data_key="eventName")
    body = Typed(AnyValue)
    attributes = Typed(list[KeyValue])
    flags = _number(_UINT32, "flags")
    trace_id = HexId(16, data_key="traceId")
    span_id = HexId(8, data_key="spanId")


class Span(Lenient):
    """``opentelemetry.proto.trace.v1.Span``."""

    trace_id = RequiredHexId(16, data_key="traceId")
    span_id = RequiredHexId(8, data_key="spanId")
    parent_span_id = HexId(8, data_key="parentSpanId")
    trace_state = Text(data_key="traceState")
    name = Name()
    kind = _number(INT32, "kind")
    start_time_unix_nano = UnixNano(data_key="startTimeUnixNano")
    end_time_unix_nano = UnixNano(data_key="endTimeUnixNano")
    attributes = Typed(list[KeyValue])
    events = Typed(list[SpanEvent])
    links = Typed(list[SpanLink])
    status = Typed(Status)
    flags = _number(_UINT32, "flags")


_NOT_READ: dict[str, Any] = {
    "null": "It is null, or in protobuf it is too large or has too many values."
}
"""A protobuf record that is not converted has null in its place."""


class LogDocument(Lenient):
    """A log record with its resource and its scope: what is stored of it."""

    resource = Typed(Resource)
    scope = Typed(Scope)
    log_record = fields.Nested(
        LogRecord, required=True, data_key="logRecord", error_messages=_NOT_READ
    )


class SpanDocument(Lenient):
    """A span with its resource and its scope: what is stored of it."""

    resource = Typed(Resource)
    scope = Typed(Scope)
    span = fields.Nested(Span, required=True, error_messages=_NOT_READ)


class Application(TenantTable):
    """An application whose exporters may report."""

    tenant: str = option(TenantName(), "The name of the application in records.")
    ids: tuple[str, ...] = items(
        Secret(), "What X-Moesif-Application-Id may be; plain or sha256:<hex>."
    )


class Shared(Application):
    """An application of ``[moesif]``."""

    written: ClassVar[bool] = False


class Options(Table):
    """The table ``[otlp]``."""

    max_body: int = option(
        Count(1), "Largest body after decompression, in bytes.", default=16_777_216
    )
    on_invalid: OnInvalid | None = option(
        Choice(OnInvalid), "As in [ingest], for this dialect alone.", default=None
    )
    recognize_retries: bool = option(
        Flag(),
        "Store the log records of a request that is repeated byte for byte once.",
        default=True,
    )
    moesif_applications: bool = option(
        Flag(),
        "The applications of [moesif] may report too, with the same ids and rules of masking.",
        default=True,
    )
    applications: tuple[Application, ...] = tables(Application, "Who may report.", unique="tenant")

    def completed(self, others: Mapping[str, Table]) -> Self:
        """Add the applications of ``[moesif]`` that have no table of their own here."""
        known = others.get("moesif")
        if not self.moesif_applications or not isinstance(known, moesif.Options):
            return self
        own = {one.tenant for one in self.applications}
        shared = tuple(
            Shared(tenant=one.tenant, ids=one.ids, redact=one.redact)
            for one in known.applications
            if one.tenant not in own
        )
        return dataclasses.replace(self, applications=self.applications + shared)
