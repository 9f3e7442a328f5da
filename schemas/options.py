"""What the tables of the configuration are made of: each option said once, with its meaning."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from schemas.base import Strict

ON_INVALID = ("quarantine", "refuse", "accept")


def help_text(text: str) -> dict[str, Any]:
    """Metadata of an option: one sentence or two for the operator."""
    return {"help": text}


def digest_or_text(secret: str) -> None:
    """Refuse a secret that cannot be one."""
    if not secret.strip():
        raise ValidationError("A secret must not be empty.")
    if secret.startswith("sha256:"):
        digits = secret.removeprefix("sha256:")
        if len(digits) != 64 or set(digits.lower()) - set("0123456789abcdef"):
            raise ValidationError("sha256: wants 64 hexadecimal digits.")


def tenant_name(name: str) -> None:
    """Refuse a name that could not stand in a path or a source."""
    if not name or name != name.strip() or "/" in name or not name.isprintable():
        raise ValidationError("A tenant needs a printable name without '/'.")


class Secret(fields.String):
    """A credential, in plain text or as ``sha256:<hex>``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=digest_or_text, **kwargs)


class TenantName(fields.String):
    """The name by which records, metrics and rules know a tenant."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=True, validate=tenant_name, **kwargs)


class Flag(fields.Boolean):
    """``true`` or ``false`` as TOML writes them."""

    truthy = {True}
    falsy = {False}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise ValidationError("Not true or false.")
        return value


class Count(fields.Integer):
    """A whole number of at least *least*."""

    def __init__(self, default: int | None, least: int, text: str) -> None:
        super().__init__(
            strict=True,
            load_default=default,
            allow_none=default is None,
            validate=validate.Range(min=least),
            metadata=help_text(text),
        )


class ContentOf(fields.String):
    """A path, absent by default, that the reading of the configuration replaces by its content."""

    def __init__(self, text: str) -> None:
        super().__init__(load_default=None, allow_none=True, metadata=help_text(text))


class JsonFile(ContentOf):
    """A JSON file, whose content is checked by *content*."""

    def __init__(self, content: Schema, text: str) -> None:
        super().__init__(text)
        self.content = content


class TokenFolder(ContentOf):
    """A folder of ``<space>.space`` files, one token a line, as a Logspace HQ keeps them."""


class OnInvalid(fields.String):
    """What happens to invalid events."""

    def __init__(self, default: str | None, text: str) -> None:
        super().__init__(
            load_default=default,
            allow_none=default is None,
            validate=validate.OneOf(ON_INVALID, error="Not one of: quarantine, refuse, accept."),
            metadata=help_text(text),
        )


class Redaction(Strict):
    """What must not be kept."""

    headers = fields.List(
        fields.String(),
        load_default=list,
        metadata=help_text("Headers of logged API calls to mask, whatever their case."),
    )
    keys = fields.List(
        fields.String(),
        load_default=list,
        metadata=help_text("Members to mask, by name, at any depth and whatever their case."),
    )


def redaction() -> fields.Nested:
    """A tenant's own table of names to mask, besides those of ``[redact]``."""
    return fields.Nested(
        Redaction,
        load_default=lambda: Redaction().load({}),
        metadata=help_text("Names to mask for this tenant, besides those of [redact]."),
    )


def unique(items: list[dict[str, Any]], *names: str) -> None:
    """Refuse a list of tables in which two have the same values under *names*."""
    seen: set[tuple[Any, ...]] = set()
    faults: dict[int, Any] = {}
    for at, item in enumerate(items):
        value = tuple(item.get(name) for name in names)
        if value in seen:
            faults[at] = {names[0]: [f"'{value[0]}' is here twice."]}
        seen.add(value)
    if faults:
        raise ValidationError(faults)
