"""Requests of OTLP in JSON, cut into the texts of their records.

Records, resources and scopes stay as they were sent; only what is around them is
read here. A request that is small and plain goes through one decoder. A large one,
and one with something that the decoder does not take, such as half of a surrogate
pair, is walked through, with pauses.
"""

import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.adapters.otlp_signals import SIGNALS, Envelope, Parts, Signal
from schemas import Unreadable, jsontext
from schemas.cutting import PART
from schemas.outline import outline

_OTHERS = (
    "resourceLogs",
    "resourceSpans",
    "resourceMetrics",
    "resourceProfiles",
    "resource_logs",
    "resource_spans",
)
_EXPLAINED = 1 << 16
_FIRST_BLOCK = 256
_SPACE = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\]}\[{\"]+")

Steps = Generator[list[bytes], None, None]


def _decoder_of(signal: Signal) -> msgspec.json.Decoder[Any]:
    raw, nothing = msgspec.Raw, msgspec.Raw(b"")
    scope = msgspec.defstruct(
        "Scope",
        [
            ("records", list[raw] | None, None),  # type: ignore[valid-type]
            ("scope", raw, nothing),
            ("url", raw, nothing),
        ],
        rename={"records": signal.records, "url": "schemaUrl"},
        gc=False,
    )
    resource = msgspec.defstruct(
        "Resource",
        [("scopes", list[scope] | None, None), ("resource", raw, nothing), ("url", raw, nothing)],  # type: ignore[valid-type]
        rename={"scopes": signal.scopes, "url": "schemaUrl"},
        gc=False,
    )
    others = [name for name in _OTHERS if name != signal.resources]
    request = msgspec.defstruct(
        "Request",
        [
            ("resources", list[resource] | None, None),  # type: ignore[valid-type]
            *((name, raw, nothing) for name in others),
        ],
        rename={"resources": signal.resources},
        gc=False,
    )
    return msgspec.json.Decoder(request)


_DECODERS: Mapping[str, msgspec.json.Decoder[Any]] = {one.kind: _decoder_of(one) for one in SIGNALS}


def split_json(body: bytes, signal: Signal) -> Iterator[list[bytes]]:
    """Cut a request in JSON into the texts of its records, part by part.

    Raises:
        Unreadable: the body is not JSON, or no request of this signal.
        TooMany: there are too many records.
    """
    body = jsontext.require_utf8(body)
    request: Any = None
    if len(body) <= PART:
        try:
            request = _DECODERS[signal.kind].decode(body)
        except (msgspec.MsgspecError, RecursionError):
            if len(body) <= _EXPLAINED:
                # The words of the standard library, which knows the line and the column.
                jsontext.loads(body, constants=str, max_depth=None)
    if request is None or not _is_whole(request):
        return _Walk(body, signal).request()
    if request.resources is None:
        given = [name for name in _OTHERS if getattr(request, name, b"")]
        _require_own(signal.resources, given)
    return _texts(request, signal)


def _is_whole(request: Any) -> bool:
    """Whether nothing is missing whose place a member of another name may have taken."""
    return all(
        resource.scopes is not None and all(one.records is not None for one in resource.scopes)
        for resource in request.resources or ()
    )


def _require_own(own: str, others: Sequence[str]) -> None:
    """Refuse what is of another signal or of another name: to ignore it would lose it."""
    if others:
        raise Unreadable(f"Expected {own}, found {others[0]}.")


def _texts(request: Any, signal: Signal) -> Iterator[list[bytes]]:
    parts = Parts()
    for resource in request.resources or ():
        parts.count()
        for scope in resource.scopes or ():
            parts.count()
            about = (resource.resource, resource.url, scope.scope, scope.url)
            before = Envelope(*map(bytes, about)).before(signal)
            for record in scope.records or ():
                parts.count()
                parts.add(before, bytes(record))
                if parts.due:
                    yield parts.take()
            if parts.due:
                yield parts.take()
        if parts.due:
            yield parts.take()
    yield parts.take()


class _Walk:
    """Goes through a request from its start to its end, value by value."""

    def __init__(self, body: bytes, signal: Signal) -> None:
        self._body = body
        self._signal = signal
        self._at = 0
        self._parts = Parts()

    def request(self) -> Steps:
        """The texts of the records, part by part."""
        others: list[str] = []
        own = False
        for name in self._members():
            if name == self._signal.resources:
                own = True
                for _ in self._elements():
                    yield from self._resource()
                    if self._parts.due:
                        yield self._parts.take()
            else:
                others += [name] if name in _OTHERS else []
                yield from self._value()
        if self._next():
            raise Unreadable(f"Not JSON: more text after byte {self._at}.")
        if not own:
            _require_own(self._signal.resources, others)
        yield self._parts.take()

    def _resource(self) -> Steps:
        self._parts.count()
        found = {"resource": b"", "schemaUrl": b""}
        scopes: list[tuple[dict[str, bytes], list[bytes]]] | None = None
        others: list[str] = []
        for name in self._members():
            if name == self._signal.scopes:
                scopes = []
                for _ in self._elements():
                    scopes.append((yield from self._scope()))
                    if self._parts.due:
                        yield self._parts.take()
            else:
                others += [name] if name in self._signal.misnamed else []
                value = yield from self._value()
                if name in found:
                    found[name] = value
        if scopes is None:
            _require_own(self._signal.scopes, others)
        for about, records in scopes or ():
            envelope = Envelope(
                found["resource"], found["schemaUrl"], about["scope"], about["schemaUrl"]
            )
            before = envelope.before(self._signal)
            for record in records:
                self._parts.add(before, record)
                if self._parts.due:
                    yield self._parts.take()

    def _scope(self) -> Generator[list[bytes], None, tuple[dict[str, bytes], list[bytes]]]:
        self._parts.count()
        found = {"scope": b"", "schemaUrl": b""}
        records: list[bytes] | None = None
        others: list[str] = []
        for name in self._members():
            if name == self._signal.records:
                records = []
                for _ in self._elements():
                    self._parts.count()
                    records.append((yield from self._value()))
            else:
                others += [name] if name in self._signal.misnamed else []
                value = yield from self._value()
                if name in found:
                    found[name] = value
        if records is None:
            _require_own(self._signal.records, others)
        return found, records or []

    def _members(self) -> Iterator[str]:
        """The names of an object's members; whoever gets one goes on to the value's end."""
        for _ in self._inner(b"{", b"}"):
            match = _STRING.match(self._body, self._at)
            if match is None:
                raise self._not_json()
            self._at = match.end()
            self._take(b":")
            self._next()
            name = match[0]
            yield name[1:-1].decode() if b"\\" not in name else _unescaped(name)

    def _elements(self) -> Iterator[None]:
        """Stop at each element of an array; whoever is told goes on to its end."""
        if self._body[self._at : self._at + 4] == b"null":
            self._at += 4
            return iter(())
        return self._inner(b"[", b"]")

    def _inner(self, first: bytes, last: bytes) -> Iterator[None]:
        self._take(first)
        if self._next() == last:
            self._at += 1
            return
        while True:
            self._next()
            yield
            mark = self._next()
            if mark not in (b",", last):
                raise self._not_json()
            self._at += 1
            if mark == last:
                return

    def _value(self) -> Generator[list[bytes], None, bytes]:
        """Go to the end of a value, and return its text."""
        start = self._at
        if self._body[start : start + 1] in (b"{", b"["):
            for offset, _, end in outline(self._body, start + 1, _FIRST_BLOCK):
                if end is not None:
                    self._at = offset + end + 1
                    break
                if self._parts.due:
                    yield self._parts.take()
            else:
                raise Unreadable("Not JSON: an array, an object or a string is not closed.")
        else:
            match = _STRING.match(self._body, start) or _SCALAR.match(self._body, start)
            if match is None:
                raise self._not_json()
            self._at = match.end()
        if self._parts.due:
            yield self._parts.take()
        return self._body[start : self._at]

    def _next(self) -> bytes:
        """Skip blanks; return the byte that follows, or nothing at the end."""
        match = _SPACE.match(self._body, self._at)
        assert match is not None
        self._at = match.end()
        return self._body[self._at : self._at + 1]

    def _take(self, mark: bytes) -> None:
        if self._next() != mark:
            raise self._not_json(f"expected {mark.decode()}")
        self._at += 1

    def _not_json(self, why: str = "unexpected text") -> Unreadable:
        return Unreadable(f"No export request: {why} at byte {self._at}.")


def _unescaped(name: bytes) -> str:
    try:
        return str(json.loads(name))
    except ValueError:
        raise Unreadable("Not JSON: the name of a member is not a string.") from None
