"""Requests of OTLP in protobuf, cut into the JSON texts of their records; and answers.

The messages around the records are cut by their lengths, so that a body is never
decoded as a whole: two bytes of it can be a message, which takes fifty. Each record
is decoded by `opentelemetry-proto`, and written as OTLP/JSON (`otlp_messages`).

This module imports protobuf, which takes 25 ms; `gateway.adapters.otlp` imports it
when the dialect has a credential.
"""

from collections.abc import Generator, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from gateway.adapter import MAX_EVENT
from gateway.adapters.otlp_messages import MAX_VALUES, json_of
from gateway.adapters.otlp_signals import LOGS, SPANS, Envelope, Parts, Signal
from schemas import Unreadable
from schemas.arrays import TooMany

# opentelemetry-proto: ResourceLogs and ResourceSpans, ScopeLogs and ScopeSpans have the
# same numbers for their fields.
_RESOURCES = 1
_SCOPES = 2
_RECORDS = 2
# Scopes had this number, and another form, before OTLP 0.15.
_OLD_SCOPES = 1000

_LENGTH_DELIMITED = 2
_FIXED = {1: 8, 5: 4}
_LARGE = 1 << 16
_NOT_READ = b"null"

T = TypeVar("T")
Span = tuple[int, int]
Steps = Generator[list[bytes], None, T]


class _Types(msgspec.Struct, frozen=True):
    """The messages of one signal."""

    resource: Any
    scope: Any
    record: Any
    answer: Any
    rejected: str


_TYPES: Mapping[str, _Types] = {
    LOGS.kind: _Types(
        logs_pb2.ResourceLogs,
        logs_pb2.ScopeLogs,
        logs_pb2.LogRecord,
        logs_service_pb2.ExportLogsServiceResponse,
        "rejected_log_records",
    ),
    SPANS.kind: _Types(
        trace_pb2.ResourceSpans,
        trace_pb2.ScopeSpans,
        trace_pb2.Span,
        trace_service_pb2.ExportTraceServiceResponse,
        "rejected_spans",
    ),
}


def answer_of(signal: Signal, rejected: int, message: str) -> bytes:
    """The answer to a request some of whose records were rejected."""
    types = _TYPES[signal.kind]
    partial = {types.rejected: rejected, "error_message": message}
    encoded: bytes = types.answer(partial_success=partial).SerializeToString()
    return encoded


def split_protobuf(body: bytes, signal: Signal) -> Iterator[list[bytes]]:
    """Cut a request in protobuf into the JSON texts of its records, part by part.

    Raises:
        Unreadable: the body is not protobuf, or no request of this signal.
        TooMany: there are too many records, or a resource or a scope is too large.
    """
    return _Request(body, signal).texts()


class _Request:
    """One request, which is cut message by message."""

    def __init__(self, body: bytes, signal: Signal) -> None:
        self._body = body
        self._signal = signal
        self._types = _TYPES[signal.kind]
        self._parts = Parts()

    def texts(self) -> Steps[None]:
        """The texts of the records, part by part."""
        resources, _ = yield from self._cut((0, len(self._body)), _RESOURCES)
        for one in resources:
            scopes, rest = yield from self._cut(one, _SCOPES, _OLD_SCOPES)
            about = self._decoded(self._types.resource, rest)
            resource = _text_of(about.resource, about.HasField("resource")), _url(about)
            for scope in scopes:
                yield from self._scope(resource, scope)
                if self._parts.due:
                    yield self._parts.take()
            if self._parts.due:
                yield self._parts.take()
        yield self._parts.take()

    def _scope(self, resource: tuple[bytes, bytes], within: Span) -> Steps[None]:
        parts = self._parts
        records, rest = yield from self._cut(within, _RECORDS)
        about = self._decoded(self._types.scope, rest)
        scope = _text_of(about.scope, about.HasField("scope")), _url(about)
        before = Envelope(*resource, *scope).before(self._signal)
        for start, end in records:
            if end - start > MAX_EVENT:
                parts.add(before, _NOT_READ)
                continue
            record = self._decoded(self._types.record, self._body[start:end])
            if end - start > _LARGE:
                # That may have taken some milliseconds, and so may what follows.
                yield parts.take()
            parts.add(before, json_of(record) or _NOT_READ)
            if parts.due:
                yield parts.take()

    def _cut(
        self, within: Span, wanted: int, refused: int = 0
    ) -> "Steps[tuple[list[Span], bytes]]":
        """Cut a message into its fields, of which none may be *refused*.

        Returns where the contents of the fields *wanted* stand, which are messages, and
        the message without them.
        """
        body, (at, end), parts = self._body, within, self._parts
        tag_wanted = wanted << 3 | _LENGTH_DELIMITED
        found: list[Span] = []
        rest: list[bytes] = []
        while at < end:
            start = at
            tag, at = _varint(body, at, end)
            size, at = _size_of(body, tag & 7, at, end)
            at += size
            if at > end:
                raise Unreadable(f"Not protobuf: the field at byte {start} is not complete.")
            parts.count()
            if tag == tag_wanted:
                found.append((at - size, at))
            elif tag >> 3 == refused:
                # To ignore it, as an unknown field, would lose what it holds.
                raise Unreadable("Records in the form before OTLP 0.15 are not read.")
            else:
                rest.append(body[start:at])
            if parts.due:
                yield parts.take()
        return found, b"".join(rest)

    def _decoded(self, kind: Any, raw: bytes) -> Any:
        if len(raw) > MAX_EVENT:
            raise TooMany(f"Limit: {MAX_EVENT} bytes of a resource or a scope.")
        try:
            return kind.FromString(raw)
        except DecodeError as error:
            raise Unreadable(f"Not protobuf: {error}.") from None


def _size_of(body: bytes, kind: int, at: int, end: int) -> Span:
    """How many bytes the content of a field of this *kind* has, and where it starts."""
    if kind == _LENGTH_DELIMITED:
        return _varint(body, at, end)
    if kind == 0:
        return 0, _varint(body, at, end)[1]
    if kind not in _FIXED:
        raise Unreadable(f"Not protobuf: the field before byte {at} is of no known kind.")
    return _FIXED[kind], at


def _varint(body: bytes, at: int, end: int) -> Span:
    """A number, and where it ends."""
    value = shift = 0
    while at < end:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            break
    raise Unreadable(f"Not protobuf: byte {at} is not the end of a number.")


def _url(message: Any) -> bytes:
    return msgspec.json.encode(message.schema_url) if message.schema_url else b""


def _text_of(message: Message, given: bool) -> bytes:
    if not given:
        return b""
    text = json_of(message)
    if text is None:
        raise TooMany(f"Limit: {MAX_VALUES} values of a resource or a scope.")
    return text
