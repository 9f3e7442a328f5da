"""Client documents for tests: valid ones, derived from a schema, and damaged ones."""

import json
from typing import Any

from hypothesis import strategies as st
from marshmallow import fields, validate

from schemas import otlp
from schemas.base import Lenient
from schemas.fields import Boolean, Object, Properties, Real, RequiredText, Text, Whole
from schemas.timestamps import LenientTimestamp, Timestamp


class Token(str):
    """Text that stands in a document as it is, quotes and all."""


ODD = st.sampled_from(
    [
        *map(Token, ("null", "true", "false", "0", "-0", "1.0", "-1", "6", "3.0", "3e0", "1e400")),
        *map(Token, ("NaN", "-Infinity", "01", "1.", "+1", "tru", "'a'", "[1,]", "", "/**/1")),
        *map(Token, ("1" * 400, "1" * 4300, "-" + "2" * 5000, "9.7E8", "1.0e5000", "1_0")),
        *map(Token, (str(2**31), str(2**63), str(-(2**63) - 1), str(2**64), str(2**80 + 1))),
        *map(Token, (r'"\ud800"', r'"\ud83d\ude00"', r'"\u0000"', '"\x01"', r'"\q"', '"\x7f"')),
        *map(Token, ("{}", "[]", '""', '" "', "[[]]", '{"a":1,"a":2}', "[1,2]", '{"":null}')),
        *map(Token, ("[" * 62 + "]" * 62, "[" * 63 + "]" * 63, "[" * 65 + "]" * 65)),
        *map(Token, ('"2015-05-18T14:07:00"', '"2015-05-18T14:07:00.1Z"', '"noon"', '"NaN"')),
        *map(Token, ('"' + "x" * 24 + '"', '"' + "x" * 25 + '"', '"' + "é" * 256 + '"')),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)
OBJECTS = st.dictionaries(st.text(max_size=5), JSON, max_size=3)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=12)
TIMES = st.builds(
    lambda moment, fraction, zone: f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{zone}",
    st.datetimes().filter(lambda moment: 1000 < moment.year < 9999),
    st.sampled_from(["", ".5", ".082", ".381621", ".016472581"]),
    st.sampled_from(["Z", "+02:00", "-0530"]),
)
NANOS = st.integers(0, 2**64 - 1) | st.integers(0, 2**64 - 1).map(str)
VALUES = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "stringValue": st.text(max_size=5),
            "intValue": st.integers(-(2**63), 2**63 - 1).map(str) | st.integers(-9, 9),
            "doubleValue": st.floats(allow_nan=False) | st.sampled_from(["NaN", "-Infinity"]),
            "boolValue": st.booleans(),
            "bytesValue": st.just("AA=="),
        },
    ),
    lambda inner: (
        st.builds(lambda one: {"arrayValue": {"values": one}}, st.lists(inner, max_size=2))
        | st.builds(
            lambda one: {"kvlistValue": {"values": [{"key": "k", "value": one}]}}, inner | st.none()
        )
    ),
    max_leaves=3,
)
ATTRIBUTES = st.lists(st.fixed_dictionaries({"key": WORDS, "value": VALUES}), max_size=2)
TYPED: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (otlp.AnyValue, VALUES),
    (list[otlp.KeyValue], ATTRIBUTES),
    (otlp.Resource, st.fixed_dictionaries({}, optional={"attributes": ATTRIBUTES})),
    (otlp.Scope, st.fixed_dictionaries({}, optional={"name": WORDS, "attributes": ATTRIBUTES})),
    (otlp.Status, st.fixed_dictionaries({}, optional={"code": st.integers(0, 2)})),
    (list[otlp.SpanEvent], st.lists(st.fixed_dictionaries({"timeUnixNano": NANOS}), max_size=2)),
    (list[otlp.SpanLink], st.lists(st.fixed_dictionaries({"traceId": WORDS}), max_size=2)),
]


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    """The ids of *digits* hexadecimal digits, not all of them zeros."""
    numbers = st.integers(1, 16**digits - 1)
    return numbers.map(lambda number: f"{number:0{digits}x}")


def valid(field: fields.Field[Any]) -> st.SearchStrategy[Any]:
    """Values that *field* takes."""
    if isinstance(field, fields.Nested):
        inner = documents(field.schema)
        return inner if field.required else inner | st.none()
    if isinstance(field, Properties):
        one = valid(field.values)
        return st.dictionaries(st.text(max_size=5), one | st.lists(one, max_size=2), max_size=2)
    if isinstance(field, Text):
        return WORDS | st.sampled_from([None, ""]) | st.integers()
    if (values := _valid_otlp(field)) is not None:
        return values
    for kind, strategy in _VALID:
        if isinstance(field, kind):
            return strategy
    if isinstance(field, Whole | fields.Integer):
        return st.integers(*_bounds(field, validate.Range, (-(2**40), 2**40)))
    if isinstance(field, fields.String):
        least, most = _bounds(field, validate.Length, (None, None))
        return WORDS.filter(lambda text: len(text) >= (least or 0)) | st.just("x" * (most or 20))
    raise TypeError(f"no values are known for {field!r}")


def _valid_otlp(field: fields.Field[Any]) -> st.SearchStrategy[Any] | None:
    if isinstance(field, otlp.Typed):
        return next(values for kind, values in TYPED if kind == field.kind) | st.none()
    if isinstance(field, otlp.RequiredHexId):
        return hexadecimal(field.digits)
    if isinstance(field, otlp.HexId):
        return hexadecimal(field.digits) | st.sampled_from([None, "", "0" * field.digits])
    return None


_VALID: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (LenientTimestamp, TIMES | st.sampled_from([None, "noon", 5])),
    (Timestamp, TIMES),
    (Object, OBJECTS),
    (Real, st.floats(allow_nan=False, allow_infinity=False) | st.integers()),
    (Boolean, st.booleans()),
    (otlp.UnixNano, NANOS | st.none()),
    (RequiredText, WORDS),
]


def _bounds(field: fields.Field[Any], kind: Any, default: Any) -> Any:
    for validator in field.validators:
        if isinstance(validator, kind):
            return validator.min, validator.max
    return default


def _names(field: fields.Field[Any]) -> list[str]:
    return [field.data_key or field.name, *field.metadata.get("aliases", ())]


@st.composite
def documents(draw: Any, schema: Lenient, *, spelled: bool = True) -> dict[str, Any]:
    """Documents that *schema* takes; with *spelled*, under any spelling of their members."""
    document: dict[str, Any] = {}
    for field in schema.fields.values():
        if field.required or draw(st.booleans()):
            name = draw(st.sampled_from(_names(field))) if spelled else _names(field)[0]
            document[name] = draw(valid(field))
    for name in draw(st.lists(st.sampled_from(["extra", "context", "é"]), max_size=1)):
        document[name] = draw(JSON)
    return document


@st.composite
def mutated(draw: Any, schema: Lenient) -> str:
    """Text of documents to which something happened, once or twice."""
    document = draw(documents(schema))
    for _ in range(draw(st.integers(1, 2))):
        target = draw(st.sampled_from(_objects(document)))
        names = [*target, *(n for field in schema.fields.values() for n in _names(field)), "new"]
        name = draw(st.sampled_from(names))
        if draw(st.integers(0, 3)):
            target[name] = draw(ODD)
        else:
            target.pop(name, None)
    text = written(document)
    if draw(st.booleans()):
        twice = f'"{draw(st.sampled_from(list(document) or ["x"]))}":{written(draw(ODD))},'
        text = text[:1] + twice + text[1:] if len(text) > 2 else text
    if not draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at] + draw(st.sampled_from(['"', "\\", ",", " ", "0", "}", "\x00"])) + text[at:]
        )
    return text


def _objects(node: Any) -> list[dict[str, Any]]:
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    found = [one for value in inner for one in _objects(value)]
    return [node, *found] if isinstance(node, dict) else found


def written(node: Any) -> str:
    """JSON text of *node*, tokens as they are."""
    if isinstance(node, Token):
        return str(node)
    if isinstance(node, dict):
        members = (f"{json.dumps(name)}:{written(value)}" for name, value in node.items())
        return "{" + ",".join(members) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(written, node)) + "]"
    return json.dumps(node, ensure_ascii=False)
