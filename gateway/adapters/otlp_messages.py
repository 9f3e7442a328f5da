"""Messages of OTLP in protobuf, written as OTLP/JSON.

What is not set is left out, 64-bit integers are text, ids of traces and spans hexadecimal,
enums numbers. Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from opentelemetry.proto.common.v1 import common_pb2

from schemas.arrays import TooMany

MAX_VALUES = 5_000
"""Messages within one record: an attribute is one, and so is each element of an array."""

_HEXADECIMAL = ("trace_id", "span_id", "parent_span_id")


def json_of(message: Message) -> bytes | None:
    """A message as OTLP/JSON; None if it has more values than `MAX_VALUES`."""
    try:
        return msgspec.json.encode(_Writer().written(message))
    except TooMany:
        return None


class _Writer:
    """Writes one message and those within it as OTLP/JSON, and counts them."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def written(self, message: Message) -> dict[str, Any]:
        """The members of a message that are set."""
        members: dict[str, Any] = {}
        for field, value in message.ListFields():
            name, one, repeated, nested = _FIELDS.get(field) or _learn(field, value)
            if nested:
                if name == "attributes":
                    members[name] = self._pairs(value)
                elif repeated:
                    members[name] = [self._counted(each) for each in value]
                else:
                    members[name] = self._counted(value)
            elif one is None:
                members[name] = list(value) if repeated else value
            else:
                members[name] = [one(each) for each in value] if repeated else one(value)
        return members

    def _counted(self, message: Message) -> dict[str, Any]:
        self._count()
        return self.written(message)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooMany

    def _pairs(self, attributes: Sequence[common_pb2.KeyValue]) -> list[dict[str, Any]]:
        """As `written` for each attribute. They are most of a record, and mostly texts."""
        pairs = []
        for attribute in attributes:
            self._count()
            key, value = attribute.key, attribute.value
            if key and value.WhichOneof("value") == "string_value":
                plain: dict[str, Any] = {"stringValue": value.string_value}
                pairs.append({"key": key, "value": plain})
            else:
                pairs.append(self.written(attribute))
        return pairs


_Field = tuple[str, Callable[[Any], Any] | None, bool, bool]
_FIELDS: dict[FieldDescriptor, _Field] = {}


def _learn(field: FieldDescriptor, value: object) -> _Field:
    """The name of a field in JSON, how one value of it is written, and what sort it is."""
    repeated = not isinstance(value, Message | str | bytes | int | float)
    one = _WRITTEN.get(field.type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        one = bytes.hex if field.name in _HEXADECIMAL else _base64
    nested = field.type == FieldDescriptor.TYPE_MESSAGE
    learnt = _FIELDS[field] = (field.json_name, one, repeated, nested)
    return learnt


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _real(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


_WRITTEN: Mapping[int, Callable[[Any], Any]] = {
    FieldDescriptor.TYPE_INT64: str,
    FieldDescriptor.TYPE_UINT64: str,
    FieldDescriptor.TYPE_SINT64: str,
    FieldDescriptor.TYPE_FIXED64: str,
    FieldDescriptor.TYPE_SFIXED64: str,
    FieldDescriptor.TYPE_DOUBLE: _real,
    FieldDescriptor.TYPE_FLOAT: _real,
}
