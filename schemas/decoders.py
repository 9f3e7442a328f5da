"""Fast decoders, derived from the schemas.

A schema is the one declaration of a document. From it a typed decoder is made
at import: what the decoder accepts, the schema accepts with the same values.
What the decoder refuses goes to the schema, which decides and explains. A field
class takes part by its `shape`, the type that the decoder may take unasked.
"""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from marshmallow import Schema, fields, validate

from schemas import jsontext
from schemas.base import Lenient, load
from schemas.fields import Properties, ZonedInstant, from_text

_MISSING = object()


class Decoder:
    """Checks documents of one schema and returns them as frozen structs.

    A struct has an attribute for each field of the schema that has a shape,
    named as in the schema.
    """

    def __init__(self, schema: Lenient, *, not_finite: bool = False, finite: bool = False) -> None:
        """Check documents of *schema*.

        With *not_finite*, bare ``NaN`` and infinities are read, and kept as JSON
        strings. With *finite*, a number too large for a double is refused.
        """
        self.schema = schema
        self.struct = _struct_of(schema)
        self._not_finite = not_finite
        self._finite = finite
        # A rule over several fields is code, which no decoder can be derived from.
        has_rules = bool(schema._hooks.get("validates_schema"))
        self.decode = _always_slow if has_rules else _fast_decoder(self.struct, finite)
        """The document of some text if it is plainly right; None leaves it to `explain`."""

    def check(self, raw: bytes) -> tuple[Any, str]:
        """Check one document; return it, and its text as it is to be kept.

        The text is the one that came, except for numbers that JSON has no word for.

        Raises:
            Unreadable: not JSON, or nested too deeply.
            Invalid: the schema finds faults.
        """
        document = self.decode(raw)
        if document is not None:
            return document, raw.decode()
        return self.explain(raw)

    def explain(self, raw: bytes) -> tuple[Any, str]:
        """Check one document by the schema itself; as `check`, but never the fast way."""
        odd: list[str] = []

        def constant(name: str) -> float:
            odd.append(name)
            return float(name)

        document = jsontext.loads(
            raw, constants=constant if self._not_finite else None, finite=self._finite
        )
        struct = _fill(self.struct, load(self.schema, document))
        if not odd:
            return struct, raw.decode()
        return struct, jsontext.dumps(document)


def _always_slow(raw: bytes) -> Any | None:
    return None


def _fast_decoder(struct: type[msgspec.Struct], finite: bool) -> Callable[[bytes], Any | None]:
    typed = msgspec.json.Decoder(struct, dec_hook=from_text).decode

    def decode(raw: bytes) -> Any | None:
        # Text fields may refuse NUL, and the decoder cannot tell them from others.
        # (One byte is found much sooner than six.)
        if b"\\" in raw and b"\\u0000" in raw:
            return None
        # Few brackets settle the depth of nearly every event.
        if raw.count(b"{") + raw.count(b"[") > jsontext.MAX_DEPTH and jsontext.depth_exceeds(raw):
            return None
        # Nor does it look at numbers in members that nothing names.
        if finite and jsontext.may_overflow(raw):
            return None
        try:
            return typed(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None

    return decode


def _fill(struct: type[msgspec.Struct], loaded: dict[str, Any]) -> Any:
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        value = loaded.get(field.name, _MISSING)
        if value is _MISSING:
            continue
        inner = _nested(field.type)
        values[field.name] = _fill(inner, value) if inner and value is not None else value
    return struct(**values)


def _nested(kind: Any) -> type[msgspec.Struct] | None:
    for candidate in getattr(kind, "__args__", (kind,)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _struct_of(schema: Schema) -> type[msgspec.Struct]:
    members: list[Any] = []
    spelled: dict[str, str] = {}
    for name, field in schema.fields.items():
        shape = _shape_of(field)
        members.append((name, shape) if field.required else (name, shape, None))
        spelled[name] = field.data_key or name
        for alias in field.metadata.get("aliases", ()):
            # Another spelling in use is for the schema to sort out.
            members.append((f"alias_{alias}", None, None))
            spelled[f"alias_{alias}"] = alias
    return msgspec.defstruct(
        type(schema).__name__, members, rename=spelled, kw_only=True, frozen=True, gc=False
    )


def _shape_of(field: fields.Field[Any]) -> Any:
    if isinstance(field, fields.Nested):
        nested = _struct_of(field.schema)
        return nested if field.required else nested | None
    if isinstance(field, Properties):
        one = _shape_of(field.values)
        # The decoder cannot choose between a type of ours and a list of them.
        return None if one is ZonedInstant else dict[str, one | list[one]] | None  # type: ignore[valid-type]
    shape = getattr(field, "shape", None)
    if shape is not None:
        return shape
    if isinstance(field, fields.String):
        return Annotated[str, msgspec.Meta(**_limits(field))] if field.validators else str
    if isinstance(field, fields.Integer) and field.strict:
        return Annotated[int, msgspec.Meta(**_limits(field))] if field.validators else int
    raise TypeError(f"{field.name}: no decoder can be derived from {type(field).__name__}.")


def _limits(field: fields.Field[Any]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for validator in field.validators:
        if isinstance(validator, validate.Length):
            limits |= {"min_length": validator.min, "max_length": validator.max}
        elif isinstance(validator, validate.Range):
            limits |= {"ge": validator.min, "le": validator.max}
        elif isinstance(validator, validate.Regexp):
            limits["pattern"] = validator.regex.pattern
        else:
            raise TypeError(f"{field.name}: no decoder can be derived from {validator!r}.")
    return {name: limit for name, limit in limits.items() if limit is not None}
