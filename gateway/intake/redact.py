"""What must not be kept: masked before anything is stored, spooled or quarantined.

Two rules, for default and per tenant: headers of logged API calls, and members
of any name at any depth. Names match whatever their case. Where no rule applies
nothing is decoded.
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
        """Rules for names written in any case."""
        return cls(frozenset(map(str.lower, headers)), frozenset(map(str.lower, keys)))

    def joined(self, other: "Rules") -> "Rules":
        """These rules and *other*."""
        return Rules(self.headers | other.headers, self.keys | other.keys)

    def __bool__(self) -> bool:
        return bool(self.headers or self.keys)


class Redactor:
    """Applies the rules of default and of the record's tenant."""

    def __init__(self, default: Rules, tenants: Mapping[tuple[str, str], Rules]) -> None:
        """*tenants* maps (dialect, tenant) to rules that apply besides those of *default*."""
        self._default = default
        self._tenants = {name: default.joined(rules) for name, rules in tenants.items()}
        self.active = bool(default) or any(self._tenants.values())

    def redact(self, record: EventRecord) -> EventRecord:
        """The record with what must not be kept masked; the same one if there is nothing."""
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
        """Text that was refused, masked; withheld where rules exist but it is no JSON."""
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
    """A type or a subject, masked where it, or a part between slashes, is one of the secrets."""
    if name in secrets:
        return MASK
    for secret in secrets:
        if name.startswith(f"{secret}/"):
            name = f"{MASK}{name[len(secret) :]}"
        if name.endswith(f"/{secret}"):
            name = f"{name[: -len(secret)]}{MASK}"
    return name


def _masked(text: str, rules: Rules) -> tuple[str, set[str]] | None:
    """The text with its secrets masked, and those that were text; None where it has none.

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
    """Mask in place; return what was masked."""
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
