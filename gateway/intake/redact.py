"""Masking of secrets, before anything is stored, spooled or quarantined.

There are two kinds of rules, by default and per tenant: headers of logged API calls,
and members at any depth. Names match in any case. Some dialects write members as pairs
of a name and a value (`gateway.intake.pairs`), and the rules apply to those as well.
What is kept is rewritten or proven free of such members: mostly the text itself tells,
and is not decoded.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from gateway.intake.pairs import Pairs
from gateway.record import EventRecord
from schemas import Problem, Unreadable, jsontext
from schemas.members import Names, value_end

MASK = "[redacted]"
WITHHELD = "[withheld: not JSON, or too large, so nothing in it could be masked]"

MAX_MASKS = 2_000
"""Members with the name of a rule that one event may have where it is not decoded."""

MAX_TEXT = 1 << 20
"""Bytes of rejected text that is looked through."""

_MAX_SECRETS = 1 << 16
_MASK = f'"{MASK}"'.encode()
_PARTS = re.compile(r"([^.\[\]]+)(?:\[\d+\])*\.?")


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

    def __init__(
        self,
        default: Rules,
        tenants: Mapping[tuple[str, str], Rules],
        paired: Collection[str] = (),
    ) -> None:
        """*tenants* maps (dialect, tenant) to rules that apply in addition to *default*.

        *paired* are the dialects that write members as pairs.
        """
        self._default = _Masks.of(default)
        self._paired = {dialect: _Masks.of(default, paired=True) for dialect in paired}
        self._tenants = {
            name: _Masks.of(default.joined(rules), paired=name[0] in paired)
            for name, rules in tenants.items()
        }
        self.active = any((self._default, *self._tenants.values()))

    def redact(self, record: EventRecord) -> EventRecord:
        """Return the record with its secrets masked, or the same object if it has none."""
        masks = self._masks(record.dialect, record.tenant)
        if masks is None:
            return record
        masked = masks.applied_to(record.data)
        data, secrets = (f'"{WITHHELD}"', None) if masked is None else masked
        if secrets is None:
            return msgspec.structs.replace(
                record, data=data, type=MASK, subject=record.subject and MASK
            )
        if data == record.data and not secrets:
            return record
        return msgspec.structs.replace(
            record,
            data=data,
            type=_mask_name(record.type, secrets),
            subject=record.subject and _mask_name(record.subject, secrets),
        )

    def redact_raw(self, dialect: str, tenant: str, raw: str) -> str:
        """Mask rejected text; withhold it if there are rules and it is not JSON."""
        masks = self._masks(dialect, tenant)
        if masks is None:
            return raw
        try:
            text = raw.encode("utf-8", "surrogatepass")
            if len(text) > MAX_TEXT or jsontext.values_exceed(text, jsontext.MAX_VALUES):
                return WITHHELD
            jsontext.loads(text, constants=float, max_depth=None)
            masked = masks.applied_to(raw)
        except Unreadable:
            return WITHHELD
        return WITHHELD if masked is None else masked[0]

    def redact_problem(self, dialect: str, tenant: str, problem: Problem) -> Problem:
        """Leave away what the path of a problem tells of the inside of a masked value."""
        masks = self._masks(dialect, tenant)
        if masks is None:
            return problem
        names = masks.rules.keys | masks.rules.headers
        for part in _PARTS.finditer(problem.path):
            if part[1].lower() in names:
                return Problem(problem.path[: part.end()], problem.message)
        return problem

    def _masks(self, dialect: str, tenant: str) -> "_Masks | None":
        default = self._paired.get(dialect, self._default)
        return self._tenants.get((dialect, tenant), default)


class _Masks(msgspec.Struct, frozen=True):
    """Rules, made ready to be applied."""

    rules: Rules
    names: Names
    pairs: Pairs | None

    @classmethod
    def of(cls, rules: Rules, *, paired: bool = False) -> "_Masks | None":
        if not rules:
            return None
        also = {"headers"} if rules.headers else set()
        pairs = Pairs(rules.keys, rules.headers) if paired else None
        return cls(rules, Names(rules.keys | rules.headers | also), pairs)

    def applied_to(self, text: str) -> tuple[str, set[str] | None] | None:
        """JSON text with its secrets masked, and the secrets; None if that would take long.

        The secrets are None if they are too large to be decoded.

        Raises:
            Unreadable: the text is not JSON.
        """
        raw = text.encode("utf-8", "surrogatepass")
        if self.pairs is not None and self.pairs.may_be_in(text):
            return self._rewritten(raw)
        members = self.names.find(raw, MAX_MASKS)
        if members is None:
            return self._rewritten(raw)
        spans = self._spans(raw, members)
        if not spans:
            return text, set()
        secrets: set[str] | None = set()
        if sum(end - start for start, end in spans) > _MAX_SECRETS:
            secrets = None
        pieces: list[bytes] = []
        done = 0
        for start, end in spans:
            if secrets is not None:
                secrets |= _texts_in(raw[start:end])
            pieces += raw[done:start], _MASK
            done = end
        pieces.append(raw[done:])
        return b"".join(pieces).decode("utf-8", "surrogatepass"), secrets

    def _spans(
        self, raw: bytes, members: Sequence[tuple[str, int, int]]
    ) -> Sequence[tuple[int, int]]:
        """Where the values are that have to be masked."""
        spans: list[tuple[int, int]] = []
        headers: list[int] = []
        masked_to = headers_to = 0
        for name, start, value in members:
            if start < masked_to:
                continue
            secret = name in self.rules.keys
            if name == "headers" and self.rules.headers and not secret:
                if raw[value : value + 1] == b"{":
                    headers.append(value)
                else:
                    # Headers of another form may be pairs, or text: nothing tells their names.
                    secret = raw[value : value + 4] != b"null"
            if not secret and name in self.rules.headers:
                # Where objects end is looked for only if that matters.
                for one in headers:
                    if one >= headers_to:
                        headers_to = value_end(raw, one)
                headers.clear()
                secret = start < headers_to
            if secret:
                masked_to = value_end(raw, value)
                spans.append((value, masked_to))
        return spans

    def _rewritten(self, raw: bytes) -> tuple[str, set[str] | None] | None:
        """As `applied_to`, by decoding; of a repeated member only the last one is kept."""
        if jsontext.values_exceed(raw, jsontext.MAX_VALUES):
            return None
        document = jsontext.loads(raw, constants=float, max_depth=None)
        secrets: set[str] = set()
        masked = _mask(document, self.rules)
        if self.pairs is not None:
            masked += self.pairs.mask(document, MASK)
        for value in masked:
            secrets |= _texts_of(value)
        return jsontext.dumps(document), secrets


def _texts_in(value: bytes) -> set[str]:
    if value[:1] not in b"{[":
        numerals = {value.decode()} if value[:1] != b'"' else set()
        return numerals | _texts_of(jsontext.loads(value, constants=str))
    return _texts_of(jsontext.loads(value, constants=str, max_depth=None))


def _texts_of(value: Any) -> set[str]:
    """The texts and numbers in a value, as a type or a subject would write them."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, str | int | float) and node != "":
            found.add(str(node))
            if type(node) is int:
                found.add(str(float(node)) if abs(node) < 1 << 1023 else str(node))
    return found


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
                if lowered == "headers" and rules.headers and value is not None:
                    if not isinstance(value, dict):
                        node[name] = MASK
                        masked.append(value)
                        continue
                    _mask_headers(value, rules, masked)
                waiting.append(value)
    return masked


def _mask_headers(headers: dict[str, Any], rules: Rules, masked: list[Any]) -> None:
    for name in [name for name in headers if name.lower() in rules.headers]:
        masked.append(headers[name])
        headers[name] = MASK
