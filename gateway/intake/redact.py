"""Masking of secrets, before anything is stored, spooled or quarantined.

There are two kinds of rules, by default and per tenant: headers of logged API calls,
and members at any depth. Names match in any case. If a tenant has no rules, its
events are not decoded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.record import EventRecord
from schemas import Unreadable, jsontext

MASK = "[redacted]"
WITHHELD = "[withheld: not JSON, so nothing in it could be masked]"


class Rules(msgspec.Struct, frozen=True):
    """Names to mask, in lower case."""

    headers: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()

    @classmethod
    def of(cls, headers: Sequence[str], keys: Sequence[str]) -> "Rules":
        """Make rules from names in any case."""
        return cls(frozenset(map(str.lower, headers)), frozenset(map(str.lower, keys)))

    def joined(self, other: "Rules") -> "Rules":
        """Return these rules together with *other*."""
        return Rules(self.headers | other.headers, self.keys | other.keys)

    def __bool__(self) -> bool:
        return bool(self.headers or self.keys)


class Redactor:
    """Applies the default rules and those of the record's tenant."""

    def __init__(self, default: Rules, tenants: Mapping[tuple[str, str], Rules]) -> None:
        """*tenants* maps (dialect, tenant) to rules that apply in addition to *default*."""
        self._default = default
        self._tenants = {name: default.joined(rules) for name, rules in tenants.items()}
        self.active = bool(default) or any(self._tenants.values())

    def redact(self, record: EventRecord) -> EventRecord:
        """Return the record with its secrets masked, or the same object if it has none."""
        rules = self._rules(record.dialect, record.tenant)
        if not rules:
            return record
        masked = _masked(record.data, rules)
        if masked is None:
            return record
        data, secrets = masked
        return msgspec.structs.replace(
            record,
            data=data,
            type=_mask_name(record.type, secrets),
            subject=record.subject and _mask_name(record.subject, secrets),
        )

    def redact_raw(self, dialect: str, tenant: str, raw: str) -> str:
        """Mask rejected text; withhold it if there are rules and it is not JSON."""
        rules = self._rules(dialect, tenant)
        if not rules:
            return raw
        try:
            masked = _masked(raw, rules)
        except Unreadable:
            return WITHHELD
        return raw if masked is None else masked[0]

    def _rules(self, dialect: str, tenant: str) -> Rules:
        return self._tenants.get((dialect, tenant), self._default)


def _mask_name(name: str, secrets: set[str]) -> str:
    """Mask a type or subject if it, or a part between slashes, is one of the secrets."""
    if name in secrets:
        return MASK
    # The longest first: a short one could otherwise break up a longer one that contains it.
    for secret in sorted(secrets, key=len, reverse=True):
        if name.startswith(f"{secret}/"):
            name = f"{MASK}{name[len(secret) :]}"
        if name.endswith(f"/{secret}"):
            name = f"{name[: -len(secret)]}{MASK}"
    return name


def _masked(text: str, rules: Rules) -> tuple[str, set[str]] | None:
    """Return the text with its secrets masked, and the secrets; None if it has none.

    Raises:
        Unreadable: the text is not JSON.
    """
    document = jsontext.loads(
        text.encode("utf-8", "surrogatepass"), constants=float, max_depth=None
    )
    values = _mask(document, rules)
    if not values:
        return None
    secrets = {
        str(value) for value in values if isinstance(value, str | int | float) and value != ""
    }
    return jsontext.dumps(document), secrets


def _mask(document: Any, rules: Rules) -> list[Any]:
    """Mask in place; return the masked values."""
    masked: list[Any] = []
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            for name, value in node.items():
                lowered = name.lower()
                if lowered in rules.keys:
                    node[name] = MASK
                    masked.append(value)
                    continue
                if lowered == "headers" and isinstance(value, dict):
                    _mask_headers(value, rules, masked)
                waiting.append(value)
    return masked


def _mask_headers(headers: dict[str, Any], rules: Rules, masked: list[Any]) -> None:
    for name in [name for name in headers if name.lower() in rules.headers]:
        masked.append(headers[name])
        headers[name] = MASK
