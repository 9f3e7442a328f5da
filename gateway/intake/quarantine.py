"""Quarantine: invalid content of known clients, kept as records of kind ``rejected``.

Their `data` is a `Content` as JSON. Their key is a hash of the address and of the text, as
far as it is kept, so that a client that repeats a refused batch for ever adds only one
record.
"""

import functools
from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes
from uuid import UUID

import msgspec

from gateway.adapter import Inbound, Rejected, Tenant
from gateway.errors import Reason
from gateway.intake.redact import Redactor
from gateway.record import EventRecord, Kind, key_of, new_id
from schemas import Problem

CONFLICT = "conflict"
"""The reason of an event whose id belongs to a stored event with another content."""

MAX_BODY = 64 * 1024
"""How many bytes of a body that is not JSON are kept."""

MAX_PROBLEMS = 100
"""How many problems of one event are kept; it may have as many as it has members."""

MAX_EVENT = 1024 * 1024
"""How many bytes of an invalid event are kept."""


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of an invalid event, or of a body that is not JSON.

    Attributes:
        problems: with paths from the top of the event.
        raw: the text, masked; bytes that are not UTF-8 are escapes such as ``\\xff``.
        path: the address to which it was sent, which the adapter needs to read it again.
            It is empty in records of earlier versions.
        position: where in a batch the event was; None for an event that came alone, and
            for a body.
        request: `gateway.adapter.ParseResult.request`.
        cut: whether `raw` may be only the beginning.
    """

    problems: Sequence[Problem]
    raw: str
    path: str = ""
    position: int | None = None
    request: str = ""
    cut: bool = False


def of_event(
    dialect: str,
    inbound: Inbound[Tenant],
    rejected: Rejected,
    redactor: Redactor,
    request: str = "",
) -> EventRecord:
    """Return the record of one invalid element; *request* is as in `Content`."""
    text = rejected.raw[: MAX_EVENT + 1]
    content = Content(
        rejected.problems[:MAX_PROBLEMS],
        _text_of(text),
        canonical(inbound.head.path),
        rejected.position,
        request,
        len(text) > MAX_EVENT,
    )
    return _record(dialect, inbound, rejected.reason, content, text, redactor)


def of_body(
    dialect: str, inbound: Inbound[Tenant], problem: Problem, redactor: Redactor
) -> EventRecord:
    """Return the record of a body that is not JSON."""
    # Of a body that is stored piece by piece nobody knows how much there is.
    text, cut = inbound.body[:MAX_BODY], len(inbound.body) >= MAX_BODY
    content = Content([problem], _text_of(text), canonical(inbound.head.path), cut=cut)
    return _record(dialect, inbound, Reason.NOT_JSON, content, text, redactor)


def _text_of(raw: bytes) -> str:
    # Bytes that are not UTF-8 become escapes such as \xff, so that nothing is lost.
    return raw.decode("utf-8", "backslashreplace")


@functools.lru_cache(maxsize=256)
def canonical(path: str) -> str:
    """*path* with one spelling of each encoded segment, by which it can be searched for."""
    return "/".join(
        segment
        if segment.isascii() and "%" not in segment
        else quote(unquote_to_bytes(segment.encode("utf-8", "replace")), safe="")
        for segment in path.split("/")
    )


def of_conflict(event: EventRecord, stored: bytes, path: str = "") -> EventRecord:
    """Return the record of an *event*, already masked, whose key that with the id *stored* has.

    *path* is the address to which it was sent, where that is known.
    """
    told = f"The event {UUID(bytes=stored)} has the same id and another content."
    raw = event.data.encode("utf-8", "backslashreplace").decode()
    content = Content(
        [Problem("", told)], raw[:MAX_EVENT], canonical(path), cut=len(raw) > MAX_EVENT
    )
    return msgspec.structs.replace(
        event,
        id=new_id(event.received_at),
        kind=Kind.REJECTED,
        type=CONFLICT,
        subject=None,
        time=event.received_at,
        key=key_of(event.dialect, event.tenant, Kind.REJECTED, CONFLICT, event.identity, raw),
        data=msgspec.json.encode(content).decode(),
    )


def _record(
    dialect: str,
    inbound: Inbound[Tenant],
    reason: Reason,
    content: Content,
    raw: bytes,
    redactor: Redactor,
) -> EventRecord:
    tenant = inbound.tenant.name
    text = redactor.redact_raw(dialect, tenant, content.raw)
    kept = msgspec.structs.replace(
        content,
        problems=[redactor.redact_problem(dialect, tenant, one) for one in content.problems],
        raw=text[:MAX_EVENT],
        cut=content.cut or len(text) > MAX_EVENT,
    )
    return EventRecord(
        id=new_id(inbound.received_at),
        dialect=dialect,
        tenant=tenant,
        kind=Kind.REJECTED,
        type=reason.value,
        subject=None,
        time=inbound.received_at,
        received_at=inbound.received_at,
        client_address=inbound.client_address,
        # The same text for another device is another event.
        key=key_of(dialect, tenant, Kind.REJECTED, content.path, raw),
        data=msgspec.json.encode(kept).decode(),
        sender=inbound.sender,
    )
