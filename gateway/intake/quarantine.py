"""Quarantine: invalid content of known clients, kept as records of kind ``rejected``.

Their `data` is ``{"problems": [{"path", "message"}], "raw": "..."}``. Their key is a
hash of the content, as far as it is kept, so that a client that repeats a refused batch
for ever adds only one record.
"""

from collections.abc import Sequence
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


def of_event(
    dialect: str, inbound: Inbound[Tenant], rejected: Rejected, redactor: Redactor
) -> EventRecord:
    """Return the record of one invalid element."""
    return _record(dialect, inbound, rejected.reason, rejected.problems, rejected.raw, redactor)


def of_body(
    dialect: str, inbound: Inbound[Tenant], problem: Problem, redactor: Redactor
) -> EventRecord:
    """Return the record of a body that is not JSON."""
    raw = inbound.body[:MAX_BODY]
    return _record(dialect, inbound, Reason.NOT_JSON, [problem], raw, redactor)


def of_conflict(event: EventRecord, stored: bytes) -> EventRecord:
    """Return the record of an *event*, already masked, whose key that with the id *stored* has."""
    told = f"The event {UUID(bytes=stored)} has the same id and another content."
    raw = event.data.encode("utf-8", "backslashreplace").decode()
    return msgspec.structs.replace(
        event,
        id=new_id(event.received_at),
        kind=Kind.REJECTED,
        type=CONFLICT,
        subject=None,
        time=event.received_at,
        key=key_of(event.dialect, event.tenant, Kind.REJECTED, CONFLICT, event.identity, raw),
        data=msgspec.json.encode(
            {"problems": [Problem("", told)], "raw": raw[:MAX_EVENT]}
        ).decode(),
    )


def _record(
    dialect: str,
    inbound: Inbound[Tenant],
    reason: Reason,
    problems: Sequence[Problem],
    raw: bytes,
    redactor: Redactor,
) -> EventRecord:
    tenant = inbound.tenant.name
    # Bytes that are not UTF-8 become escapes such as \xff, so that nothing is lost.
    text = raw[: MAX_EVENT + 1].decode("utf-8", "backslashreplace")
    shown = [redactor.redact_problem(dialect, tenant, one) for one in problems[:MAX_PROBLEMS]]
    data = {"problems": shown, "raw": redactor.redact_raw(dialect, tenant, text)[:MAX_EVENT]}
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
        key=key_of(dialect, tenant, Kind.REJECTED, raw[: MAX_EVENT + 1]),
        data=msgspec.json.encode(data).decode(),
        sender=inbound.sender,
    )
