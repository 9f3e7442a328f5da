"""The fields that client documents are made of.

Each field has two uses: marshmallow loads it, and its `shape` tells what the fast decoder
accepts. What the shape accepts, the field must accept with the same value. The field may
accept more. Each class has a `shape` of its own: an inherited one could be wrong for what
the class adds.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec
from marshmallow import ValidationError, fields, validate

INT32 = validate.Range(min=-(2**31), max=2**31 - 1)
INT64 = validate.Range(min=-(2**63), max=2**63 - 1)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Shape(msgspec.Struct, frozen=True):
    """What the fast decoder takes for a field, before the field's validators.

    `type` is the type, as msgspec reads it, of what may stand in a document. Where
    it cannot say all, `accepts` tells whether a decoded value is right. Where the
    field makes another value of it, so does `resolve`, which leaves what the field
    itself made as it is. `rare` is what a second decoder takes, for right values that the
    first one refuses.
    """

    type: Any  # Any: type forms such as `str | None` have no common type
    resolve: Callable[[Any], Any] | None = None  # Any: values of that type
    accepts: Callable[[Any], bool] | None = None  # Any: values of that type
    rare: "Shape | None" = None


class Text(fields.String):
    """Optional text. ``null`` and ``""`` mean "not set"; a number counts as its digits."""

    def __init__(self, **kwargs: Any) -> None:  # Any: options
        super().__init__(load_default=None, allow_none=True, **kwargs)

    @property
    def shape(self) -> Shape:
        return Shape(str | int | float | None, resolve=_by_digits)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return super()._deserialize(_by_digits(value), attr, data, **kwargs)


def _by_digits(value: Any) -> Any:
    """A number as its digits, anything else as it is."""
    if type(value) is int or type(value) is float:
        return str(value)
    return value


class Name(Text):
    """Optional `Text` that becomes part of a record's `type` or `subject`.

    A NUL or a lone surrogate cannot be stored there, and is an error.
    """

    @property
    def shape(self) -> Shape:
        return super().shape  # the decoder takes no NUL and no lone surrogate anywhere

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return storable(super()._deserialize(value, attr, data, **kwargs))


class RequiredText(fields.String):
    """Required text that is not empty; NUL and lone surrogates are errors."""

    def __init__(self, **kwargs: Any) -> None:  # Any: options
        super().__init__(required=True, validate=validate.Length(min=1), **kwargs)

    @property
    def shape(self) -> Shape:
        return Shape(str)

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:  # Any: as marshmallow
        if value in (None, ""):
            raise self.make_error("required")
        return super().deserialize(value, *args, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return storable(super()._deserialize(value, attr, data, **kwargs))


def storable(text: str | None) -> str | None:
    """Return *text*; raise ValidationError if no store could read it back unchanged."""
    if text is not None and not is_storable(text):
        raise ValidationError("Contains a NUL or a lone surrogate.")
    return text


def is_storable(text: str) -> bool:
    """Whether a store can read *text* back unchanged as a type or a subject."""
    return _UNSTORABLE.search(text) is None


class Object(fields.Field[Any]):  # Any: a mapping or None
    """A JSON object with any content; ``null`` means "not set" unless it is required."""

    default_error_messages = {"invalid": "Not an object."}

    def __init__(self, *, required: bool = False, **kwargs: Any) -> None:  # Any: options
        if not required:
            kwargs.setdefault("load_default", None)
        super().__init__(required=required, allow_none=not required, **kwargs)

    @property
    def shape(self) -> Shape:
        if self.required:
            return Shape(dict[str, Any])
        return Shape(dict[str, msgspec.Raw] | Literal[""] | None, resolve=_none_for_empty)

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:  # Any: as marshmallow
        if value == "" and not self.required:
            value = None
        return super().deserialize(value, *args, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        return value


def _none_for_empty(value: Any) -> Any:
    return None if value == "" else value


MAX_FAULTS = 100
"""Faults of a table that are told; the last one counts the values that were not checked."""

MAX_CHECKED = 10_000
"""Values of a table that are checked one by one; to check one takes a microsecond."""


class Properties(fields.Field[Any]):  # Any: a mapping, or None where there is none
    """A table of properties: each name has one value, or an array of values, of one type.

    It has at most `MAX_CHECKED` values where they are not plainly right. The check stops
    after `MAX_FAULTS`.
    """

    default_error_messages = {
        "invalid": "Not an object of properties.",
        "many": "More than {limit} values.",
        "unchecked": "{faults} faults so far; {rest} more values are not checked.",
    }

    def __init__(self, values: fields.Field[Any], **kwargs: Any) -> None:  # Any: options
        super().__init__(load_default=None, allow_none=False, **kwargs)
        self.values = values

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        count = sum(len(one) if isinstance(one, list) else 1 for one in value.values())
        if count > MAX_CHECKED:
            raise self.make_error("many", limit=MAX_CHECKED)
        problems: dict[str, Any] = {}
        faults = 0
        for done, (name, at, one) in enumerate(_single_values(value)):
            if faults == MAX_FAULTS - 1:
                error = self.make_error("unchecked", faults=faults, rest=count - done)
                problems["_schema"] = error.messages
                break
            try:
                self.values.deserialize(one)
            except ValidationError as error:
                faults += 1
                where = problems.setdefault(name, {})
                where["_schema" if at is None else at] = error.messages
        if problems:
            raise ValidationError(problems)
        return value


def _single_values(section: Mapping[str, Any]) -> Iterator[tuple[str, int | None, Any]]:
    """Each value of a section with its name and, in an array, its place."""
    for name, given in section.items():
        if isinstance(given, list):
            for at, one in enumerate(given):
                yield name, at, one
        else:
            yield name, None, given


class Several(fields.List[Any]):  # Any: elements of whichever field
    """An array of at most *most* elements, none by default."""

    default_error_messages = {"many": "More than {limit} elements."}

    def __init__(self, of: fields.Field[Any], *, most: int, **kwargs: Any) -> None:  # Any: options
        super().__init__(of, load_default=list, **kwargs)
        self.most = most

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, list) and len(value) > self.most:
            raise self.make_error("many", limit=self.most)
        return super()._deserialize(value, attr, data, **kwargs)


class Whole(fields.Integer):
    """A whole number within a range; ``4.0`` counts as 4, ``1.9`` and ``true`` do not."""

    def __init__(self, within: validate.Range, **kwargs: Any) -> None:  # Any: options
        super().__init__(strict=True, validate=within, **kwargs)

    @property
    def shape(self) -> Shape:
        return Shape(int)

    def _validated(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        if isinstance(value, float):
            if not value.is_integer():
                raise self.make_error("invalid")
            value = int(value)
        return int(value)


class Real(fields.Field[Any]):  # Any: a number or the name of one
    """A number; ``NaN``, ``Infinity`` and ``-Infinity`` are numbers too, bare or quoted."""

    NOT_FINITE = ("NaN", "Infinity", "-Infinity")
    default_error_messages = {"invalid": "Not a number."}

    @property
    def shape(self) -> Shape:
        return Shape(int | float | Literal["NaN", "Infinity", "-Infinity"])

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool) or not (
            isinstance(value, int | float) or value in self.NOT_FINITE
        ):
            raise self.make_error("invalid")
        return value


class Boolean(fields.Field[bool]):
    """``true`` or ``false``, nothing else."""

    default_error_messages = {"invalid": "Not true or false."}

    @property
    def shape(self) -> Shape:
        return Shape(bool)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value
