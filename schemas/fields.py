"""The fields that client documents are made of.

Each field has two uses: marshmallow loads it, and its `shape` is the type from which the
fast decoder is derived. What the shape accepts, the field must accept with the same value.
The reverse need not hold.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from marshmallow import ValidationError, fields, validate

from schemas import times

INT32 = validate.Range(min=-(2**31), max=2**31 - 1)
INT64 = validate.Range(min=-(2**63), max=2**63 - 1)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Instant(int):
    """A time in microseconds since 1970 UTC; a missing zone meant UTC."""


class ZonedInstant(int):
    """A time in microseconds since 1970 UTC, whose text named its zone."""


def from_text(kind: type, text: Any) -> Any:
    """Parse text as an `Instant` or a `ZonedInstant`, for the fast decoder.

    Raises:
        ValueError: the text is not a valid time.
        TypeError: the value is not text.
    """
    if kind is Instant:
        return Instant(times.microseconds(text))
    if kind is ZonedInstant:
        return ZonedInstant(times.microseconds(text, zone_required=True))
    raise NotImplementedError(kind)


class Text(fields.String):
    """Optional text. ``null`` and ``""`` mean "not set"; a number counts as its digits."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=None, allow_none=True, **kwargs)

    shape: Any = str | None

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        return super()._deserialize(value, attr, data, **kwargs)


class Name(Text):
    """Optional `Text` that becomes part of a record's `type` or `subject`.

    A NUL or a lone surrogate cannot be stored there, and is an error.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return storable(super()._deserialize(value, attr, data, **kwargs))


class RequiredText(fields.String):
    """Required text that is not empty; NUL and lone surrogates are errors."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=True, validate=validate.Length(min=1), **kwargs)

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value in (None, ""):
            raise self.make_error("required")
        return super().deserialize(value, *args, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return storable(super()._deserialize(value, attr, data, **kwargs))


def storable(text: str | None) -> str | None:
    """Return *text*; raise ValidationError if no store could read it back unchanged."""
    if text is not None and _UNSTORABLE.search(text):
        raise ValidationError("Contains a NUL or a lone surrogate.")
    return text


class Timestamp(fields.Field[int]):
    """A time as text, loaded as `Instant` or, with *zone_required*, `ZonedInstant`."""

    default_error_messages = {"invalid": "Not a valid time."}

    def __init__(
        self, *, zone_required: bool = False, required: bool = False, **kwargs: Any
    ) -> None:
        if not required:
            kwargs.setdefault("load_default", None)
        super().__init__(required=required, allow_none=not required, **kwargs)
        self._kind: type = ZonedInstant if zone_required else Instant

    @property
    def shape(self) -> Any:
        return self._kind if self.required else self._kind | None

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value == "":
            value = None
        if value is None and self.required:
            raise self.make_error("required")
        return super().deserialize(value, *args, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str):
            raise ValidationError("Not a valid string.")
        try:
            return from_text(self._kind, value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class LenientTimestamp(Timestamp):
    """An optional time; an invalid one counts as "not set"."""

    shape = Any

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError:
            return None


class Object(fields.Field[Any]):
    """A JSON object with any content; ``null`` means "not set" unless it is required."""

    default_error_messages = {"invalid": "Not an object."}

    def __init__(self, *, required: bool = False, **kwargs: Any) -> None:
        if not required:
            kwargs.setdefault("load_default", None)
        super().__init__(required=required, allow_none=not required, **kwargs)

    @property
    def shape(self) -> Any:
        holds: Any = dict[str, Any] if self.required else dict[str, msgspec.Raw] | None
        return holds

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value == "" and not self.required:
            value = None
        return super().deserialize(value, *args, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        return value


class Properties(fields.Field[Any]):
    """A table of properties: each name has one value, or an array of values, of one type."""

    default_error_messages = {"invalid": "Not an object of properties."}

    def __init__(self, values: fields.Field[Any], **kwargs: Any) -> None:
        super().__init__(load_default=None, allow_none=True, **kwargs)
        self.values = values

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        problems: dict[str, Any] = {}
        for name, given in value.items():
            for at, one in enumerate(given) if isinstance(given, list) else ((None, given),):
                try:
                    self.values.deserialize(one)
                except ValidationError as error:
                    where = problems.setdefault(name, {})
                    where["_schema" if at is None else at] = error.messages
        if problems:
            raise ValidationError(problems)
        return value


class Whole(fields.Integer):
    """A whole number within a range; ``4.0`` counts as 4, ``1.9`` and ``true`` do not."""

    def __init__(self, within: validate.Range, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=within, **kwargs)
        self.shape: Any = Annotated[int, msgspec.Meta(ge=within.min, le=within.max)]

    def _validated(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        if isinstance(value, float):
            if not value.is_integer():
                raise self.make_error("invalid")
            value = int(value)
        return int(value)


class Real(fields.Field[Any]):
    """A number; ``NaN``, ``Infinity`` and ``-Infinity`` are numbers too, bare or quoted."""

    NOT_FINITE = ("NaN", "Infinity", "-Infinity")
    shape = float
    default_error_messages = {"invalid": "Not a number."}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool) or not (
            isinstance(value, int | float) or value in self.NOT_FINITE
        ):
            raise self.make_error("invalid")
        return value


class Boolean(fields.Field[bool]):
    """``true`` or ``false``, nothing else."""

    shape = bool
    default_error_messages = {"invalid": "Not true or false."}

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value
