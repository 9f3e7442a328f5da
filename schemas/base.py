"""The base classes of all schemas, and the form of problems.

`Lenient` is for documents of clients: unknown members are allowed and stay in the event.
`Strict` is for operators: an unknown member is a typing mistake. Only this module turns
marshmallow's errors into problems.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import msgspec
from marshmallow import (
    EXCLUDE,
    RAISE,
    Schema,
    ValidationError,
    fields,
    pre_load,
    validates_schema,
)


class Problem(msgspec.Struct, frozen=True):
    """What is wrong in a document: a path (``[3].request.time``; empty for the whole) and why."""

    path: str
    message: str

    def prefixed(self, prefix: str) -> "Problem":
        """Return the problem with a path from an outer document."""
        if not self.path:
            return Problem(prefix, self.message)
        joint = "" if self.path.startswith("[") else "."
        return Problem(f"{prefix}{joint}{self.path}", self.message)


class Invalid(ValueError):
    """A document is invalid; `problems` lists everything that is wrong."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"{p.path}: {p.message}" for p in problems))
        self.problems = problems


# What Python itself, marshmallow and `Lenient` read in the body of a class.
_DECLARATIONS = frozenset({"Meta", "any_of", "error_messages"})
_OF_THE_CLASS = frozenset(
    {
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__conditional_annotations__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__qualname__",
        "__static_attributes__",
    }
)


class Lenient(Schema):
    """The schema of a client's document: unknown members are ignored, and stay in the raw text.

    A field may have other names in ``metadata={"aliases": (...)}``. The first of them that
    is set is used if the field itself is not set: missing, null or ``""``.

    A decoder is derived from such a schema, and none can be derived from code. So a class
    holds only fields, ``Meta``, ``error_messages`` and ``any_of``. A method, hook or
    validator, its own or inherited, is a TypeError when the class is made.
    """

    any_of: ClassVar[tuple[str, ...]] = ()
    """Names of fields one of which must be set; the first is named where none is."""

    error_messages = {"type": "Not an object."}

    class Meta:
        unknown = EXCLUDE

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in cls.__mro__:
            if base not in Lenient.__mro__ and not issubclass(base, Lenient):
                raise TypeError(f"{cls.__name__}: {base.__name__} is no Lenient schema.")
        # marshmallow has taken the fields out already.
        for name in vars(cls).keys() - _DECLARATIONS - _OF_THE_CLASS:
            raise TypeError(
                f"{cls.__name__}.{name}: a Lenient schema holds fields, Meta, "
                "error_messages and any_of, nothing else."
            )
        if isinstance(cls.any_of, str):
            raise TypeError(f"{cls.__name__}.any_of: Expected a tuple of names.")

    def __init__(self, **options: Any) -> None:  # Any: marshmallow checks its own options
        """Make the schema; *options* are those of marshmallow.

        Raises:
            TypeError: `any_of` names what is no field.
        """
        super().__init__(**options)
        for name in self.any_of:
            if name not in self.fields:
                raise TypeError(f"{type(self).__name__}.any_of: There is no field {name!r}.")

    @pre_load
    def _resolve_aliases(self, document: Any, **_: Any) -> Any:
        if not isinstance(document, Mapping):
            return document
        resolved: dict[str, Any] | None = None
        for field in self.fields.values():
            key = key_of_field(field)
            if is_set(document.get(key)):
                continue
            for alias in field.metadata.get("aliases", ()):
                if is_set(document.get(alias)):
                    resolved = resolved or dict(document)
                    resolved[key] = document[alias]
                    break
        return document if resolved is None else resolved

    @validates_schema
    def _require_any_of(self, data: dict[str, Any], **_: Any) -> None:
        if self.any_of and not any(is_set(data.get(name)) for name in self.any_of):
            first = key_of_field(self.fields[self.any_of[0]])
            raise ValidationError("Missing data for required field.", first)


def is_set(value: object) -> bool:
    """Whether a member counts as given: null and ``""`` do not."""
    return value is not None and value != ""


def key_of_field(field: fields.Field[Any]) -> str:  # Any: whatever it loads
    """The name of a bound field's member in a document."""
    return str(field.name if field.data_key is None else field.data_key)


class Strict(Schema):
    """The schema of an operator's document: an unknown option is an error naming the nearest."""

    class Meta:
        unknown = RAISE


def load(schema: Schema, document: object) -> Any:  # Any: the schema decides
    """Check a decoded document and return what marshmallow made of it.

    Raises:
        Invalid: with all problems, in the order of the schema's fields.
    """
    try:
        return schema.load(document)  # type: ignore[arg-type]  # it explains what is no mapping
    except ValidationError as error:
        problems = sorted(_flatten(error.messages, schema), key=lambda p: _rank(p, schema))
        raise Invalid(tuple(problems)) from None


def dump(schema: Schema, loaded: object) -> str:
    """Write what `load` returned as JSON text, with the members' own names and with defaults."""
    return json.dumps(_renamed(schema, loaded), separators=(",", ":"))


def _renamed(schema: Schema, loaded: Any) -> Any:
    if isinstance(loaded, list):
        return [_renamed(schema, one) for one in loaded]
    names = {name: key_of_field(field) for name, field in schema.fields.items()}
    return {names.get(name, name): value for name, value in loaded.items()}


def _rank(problem: Problem, schema: Schema) -> int:
    names = [key_of_field(field) for field in schema.fields.values()]
    first = problem.path.split(".")[0].split("[")[0]
    return names.index(first) if first in names else len(names)


def _flatten(messages: Any, schema: Schema | None, path: str = "") -> Iterator[Problem]:
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            yield from _flatten(
                inner, schema, path if _is_pseudo_key(key, path, schema) else _join(path, key)
            )
    elif isinstance(messages, list | tuple):
        for inner in messages:
            yield from _flatten(inner, schema, path)
    else:
        message = str(messages)
        if message == "Unknown field." and schema is not None:
            message = _unknown(path, schema)
        # A member's name is text of the client: a lone surrogate cannot be encoded as UTF-8.
        yield Problem(path.encode("utf-8", "backslashreplace").decode(), message)


def _is_pseudo_key(key: Any, path: str, schema: Schema | None) -> bool:
    """Whether *key* is marshmallow's key for a whole document or a dict's value, not a member."""
    if key == "value" and schema is not None:
        return isinstance(_field_at(schema, path.rpartition(".")[0]), fields.Dict)
    return bool(key == "_schema")


def _field_at(schema: Schema, path: str) -> Any:
    """Return the field at *path*, or None if there is none."""
    known: Schema | None = schema
    field: Any = None
    for part in path.split("."):
        field = None if known is None else known.fields.get(part.partition("[")[0])
        known = getattr(getattr(field, "inner", field), "schema", None)
    return field


def _join(path: str, key: Any) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def _unknown(path: str, schema: Schema) -> str:
    known = _options(schema, path)
    nearest = difflib.get_close_matches(path.rsplit(".", 1)[-1], known, n=1, cutoff=0.5)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else f"; known options: {', '.join(known)}."
    return f"Unknown option{hint}"


def _options(schema: Schema, path: str) -> list[str]:
    """Return the names of the options at *path*'s parent."""
    for part in path.split(".")[:-1]:
        field: Any = schema.fields.get(part.split("[")[0])
        inner = getattr(field, "inner", field)  # a list's element
        nested = getattr(inner, "schema", None)
        if nested is None:
            break
        schema = nested
    return [key_of_field(field) for field in schema.fields.values()]
