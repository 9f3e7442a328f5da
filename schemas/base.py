"""The base classes of all schemas, and the form of problems.

`Lenient` is for documents of clients: unknown members are allowed and stay in the event.
`Strict` is for operators: an unknown member is a typing mistake. Only this module turns
marshmallow's errors into problems.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, pre_load


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


class Lenient(Schema):
    """The schema of a client's document: unknown members are ignored, and stay in the raw text.

    A field may have other names in ``metadata={"aliases": (...)}``. They are used if the
    field itself is missing, null or ``""``.
    """

    error_messages = {"type": "Not an object."}

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _resolve_aliases(self, document: Any, **_: Any) -> Any:
        if not isinstance(document, Mapping):
            return document
        resolved: dict[str, Any] | None = None
        for name, field in self.fields.items():
            key = field.data_key or name
            for alias in field.metadata.get("aliases", ()):
                if document.get(key) in (None, "") and document.get(alias) not in (None, ""):
                    resolved = resolved or dict(document)
                    resolved[key] = document[alias]
        return document if resolved is None else resolved


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
    names = {name: field.data_key or name for name, field in schema.fields.items()}
    return {names.get(name, name): value for name, value in loaded.items()}


def _rank(problem: Problem, schema: Schema) -> int:
    names = [field.data_key or name for name, field in schema.fields.items()]
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
    return [field.data_key or name for name, field in schema.fields.items()]
