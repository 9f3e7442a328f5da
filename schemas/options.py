"""Fields and tables that several tables of the configuration share."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

import msgspec
from marshmallow import Schema, ValidationError, fields, validate

from schemas import jsontext
from schemas.base import dump, load
from schemas.table import Table, items, option, table

T = TypeVar("T")

OnInvalid = Literal["quarantine", "refuse", "accept"]
OnConflict = Literal["drop", "keep"]
"""What happens to invalid events."""


def digest_or_text(secret: str) -> None:
    """Refuse a secret that cannot be one."""
    if not secret.strip():
        raise ValidationError("Must not be empty.")
    if secret != secret.strip() or any(ord(one) < 0x20 or ord(one) == 0x7F for one in secret):
        # A header's value is read without blanks around it.
        raise ValidationError(
            "Must not begin or end with a blank or contain a control character: "
            "no header could match it."
        )
    if secret[:7].lower() == "sha256:" and not secret.startswith("sha256:"):
        # It would be a credential as it stands, and the digest is no secret.
        raise ValidationError("Write sha256: in lower case.")
    if secret.startswith("sha256:"):
        digits = secret.removeprefix("sha256:")
        if len(digits) != 64 or set(digits.lower()) - set("0123456789abcdef"):
            raise ValidationError("sha256: must be followed by 64 hex digits.")


def tenant_name_fault(name: str) -> str:
    """Why no tenant can have this name, in a path or a source; empty if one can."""
    if not name or name != name.strip() or "/" in name or not name.isprintable():
        return (
            "Must not be empty, begin or end with a space, "
            "or contain '/' or characters that cannot be printed."
        )
    return ""


def tenant_name(name: str) -> None:
    """Refuse a name for which there is a `tenant_name_fault`."""
    if fault := tenant_name_fault(name):
        raise ValidationError(fault)


class Secret(fields.String):
    """A credential, in plain text or as ``sha256:<hex>``."""

    def __init__(self) -> None:
        super().__init__(validate=digest_or_text)


class TenantName(fields.String):
    """The name by which records, metrics and rules know a tenant."""

    def __init__(self) -> None:
        super().__init__(validate=tenant_name)


class Flag(fields.Boolean):
    """``true`` or ``false`` as TOML and JSON write them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Not true or false.")
        return value


class Count(fields.Integer):
    """A whole number of at least *least*, and at most *most*."""

    def __init__(self, least: int, most: int | None = None) -> None:
        super().__init__(strict=True, validate=validate.Range(min=least, max=most))


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,6}) ?([smhd])")


class Duration(fields.Field[int]):
    """A time span as text, ``90s``, ``15m``, ``12h`` or ``30d``, read as seconds."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if not found or not int(found[1]):
            raise ValidationError('Expected a number and a unit: "90s", "15m", "12h" or "30d".')
        return int(found[1]) * _UNITS[found[2]]


class Choice(fields.Field[T]):
    """One of some words: those of a ``Literal[...]`` type."""

    def __init__(self, literal: Any) -> None:  # Any: no type describes the value Literal[...]
        words = get_args(literal)
        error = f"Not one of: {', '.join(words)}."
        super().__init__(validate=validate.OneOf(words, error=error))


class Parsed(msgspec.Struct, Generic[T], frozen=True):
    """What the reading of the configuration puts in the place of the path of a `ContentOf`."""

    value: T


class ContentOf(fields.Field[T]):
    """An option that is a path. Its value is made of what the file or folder holds."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> T:
        if not isinstance(value, Parsed):
            raise ValidationError("Not a valid string.")
        parsed: T = value.value
        return parsed


class FileOf(ContentOf[T]):
    """A file; *parse* makes the value of its content, or raises `Unreadable` or `Invalid`."""

    def __init__(self, parse: Callable[[bytes], T]) -> None:
        super().__init__()
        self.parse = parse


class FolderOf(ContentOf[T]):
    """The files of a folder, at any depth, whose names match *pattern*.

    *parse* makes the value of their contents by path, or raises `Unreadable` or `Invalid`.
    """

    def __init__(self, pattern: str, parse: Callable[[Mapping[Path, bytes]], T]) -> None:
        super().__init__()
        self.pattern = pattern
        self.parse = parse


class Folder(fields.String):
    """The path of a folder whose files are read when they are needed."""


def json_text(schema: Schema) -> Callable[[bytes], str]:
    """What parses a file that *schema* checks to JSON text with defaults filled in."""

    def parse(content: bytes) -> str:
        document = jsontext.loads(jsontext.require_utf8(content))
        return dump(schema, load(schema, document))

    return parse


class Redaction(Table):
    """Names of values to mask."""

    headers: tuple[str, ...] = items(
        fields.String(),
        "Headers of logged API calls to mask, whatever their case.",
        default=(),
    )
    keys: tuple[str, ...] = items(
        fields.String(),
        "Members to mask, by name, at any depth and whatever their case.",
        default=(),
    )


class TenantTable(Table):
    """A tenant, whatever its dialect calls it."""

    tenant: str = option(TenantName(), "The name of the tenant in records.")
    redact: Redaction = table(
        Redaction, "Names to mask for this tenant, besides those of [redact]."
    )
