"""The Logspace HQ, as its agents know it.

Agents take nothing but 202 for success and repeat a batch for ever otherwise;
they give up on an answer after three seconds and send the same events again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from gateway.adapter import (
    Adapter,
    Credential,
    Document,
    Head,
    Inbound,
    Ingest,
    ParseResult,
    Reply,
    Tenant,
)
from gateway.adapters.batch import STATUS, headers_of, read_batch
from gateway.adapters.logspace_orders import FILES, Orders
from gateway.capabilities import HasFolders
from gateway.errors import Reason, Refusal
from gateway.record import EventRecord, Receipt, keys_of, new_ids
from schemas import jsontext, logspace
from schemas.arrays import split_array
from schemas.decoders import Decoder
from schemas.table import Table

SPACE_TOKEN = "logspace.space-token"  # noqa: S105 - the name of a header
KIND = "event"

WHOLE = 2 << 20
"""Bytes of a body whose events are stored at once: those of 1,000 usual events are fewer."""


class Event(Protocol):
    """What the gateway reads of an event. `timestamp` is in microseconds since 1970 UTC."""

    id: str
    type: str | None
    system: str
    agent_id: str
    timestamp: int


EVENT = Decoder[Event](logspace.Event(), not_finite=True)

_ACCEPTED = Reply(202)

_STATUS = {**STATUS, Reason.CREDENTIAL_MISSING: 403, Reason.CREDENTIAL_UNKNOWN: 403}

# The words of the HQ where it has any (its resources' exceptions, release 0.3.2), else ours.
_WORDS = {
    Reason.NO_SUCH_ADDRESS: ("NOT_FOUND", "Unknown address."),
    Reason.METHOD_NOT_ALLOWED: ("METHOD_NOT_ALLOWED", "Method not allowed."),
    Reason.CREDENTIAL_MISSING: ("MISSING_SPACE_TOKEN", f"Missing header '{SPACE_TOKEN}'."),
    Reason.CREDENTIAL_UNKNOWN: ("INVALID_SPACE_TOKEN", "Unrecognized space-token '{subject}'."),
    Reason.LIMITED: ("EVENT_STORAGE_FAILED", "The space sends too much."),
    Reason.BODY_TOO_LARGE: ("BODY_TOO_LARGE", "The body is too large."),
    Reason.BODY_TOO_SLOW: ("BODY_TOO_SLOW", "The body did not arrive in time."),
    Reason.ENCODING_UNSUPPORTED: ("UNSUPPORTED_ENCODING", "Unsupported content encoding."),
    Reason.ENCODING_CORRUPT: ("INVALID_EVENTS", "The body does not match its content encoding."),
    Reason.EXPECTATION_UNSUPPORTED: ("EXPECTATION_FAILED", "Unsupported Expect value."),
    Reason.NOT_JSON: ("INVALID_EVENTS", "The body is not a JSON array of events."),
    Reason.INVALID: ("INVALID_EVENTS", "The events are invalid."),
    Reason.OVERLOADED: ("EVENT_STORAGE_FAILED", "Too many events are waiting to be stored."),
    Reason.UNAVAILABLE: ("EVENT_STORAGE_FAILED", "Events cannot be stored now."),
    Reason.INTERNAL: ("INTERNAL_ERROR", "Internal error. It was logged."),
}


class LogspaceAdapter(Adapter[logspace.Options, Credential, Tenant], HasFolders):
    """Speaks the dialect of Logspace agents, with both encodings of properties."""

    dialect: ClassVar[str] = "logspace"
    options: ClassVar[type[Table]] = logspace.Options
    id_members: ClassVar[Sequence[str]] = ("id",)
    prefixes: ClassVar[Sequence[str]] = ("/events", "/api/", "/orders", "/capabilities")
    kinds: ClassVar[Sequence[str]] = (KIND,)

    def __init__(self, options: logspace.Options) -> None:
        self._options = options
        self._orders = Orders(self.dialect, options)

    @property
    def endpoints(self) -> Sequence[Ingest[Tenant] | Document]:
        return [
            Ingest(
                _paths("/events"),
                ("PUT", "POST"),  # agents before 0.3.0 send POST
                self._options.max_body,
                self._split,
                self._read,
                batch=True,
                whole=WHOLE,
            ),
            Document(
                _paths("/capabilities/{controller}"), ("PUT",), self._orders.take_capabilities
            ),
            Document(_paths("/orders/{controller}"), ("GET",), self._orders.give_order),
        ]

    def folders(self) -> Mapping[str, str]:
        folder = self._options.orders_directory
        return {} if folder is None else {FILES: folder}

    def credentials(self) -> Iterable[Credential]:
        for space in (*self._options.spaces, *(self._options.spaces_directory or ())):
            for token in space.tokens:
                yield Credential(token, [space.tenant])

    def secret(self, head: Head) -> str | None:
        return head.credential(SPACE_TOKEN)

    def admit(self, head: Head, credential: Credential) -> Tenant:
        return Tenant(credential.tenants[0])

    def on_invalid(self, default: str) -> str:
        return self._options.on_invalid or default

    def _split(self, inbound: Inbound[Tenant]) -> Iterable[list[bytes]]:
        return split_array(jsontext.require_utf8(inbound.body))

    def _read(self, inbound: Inbound[Tenant], raws: Sequence[bytes], result: ParseResult) -> None:
        read_batch(EVENT, raws, result, self._recorder(inbound))

    def _recorder(self, inbound: Inbound[Tenant]) -> Callable[[Event, str], EventRecord]:
        """What makes records of a request's events and their texts."""
        now, client, tenant = inbound.received_at, inbound.client_address, inbound.tenant.name
        sender = inbound.sender
        dialect, new_id, key_of_id = self.dialect, new_ids(now), keys_of(self.dialect, tenant, KIND)

        def record(event: Event, text: str) -> EventRecord:
            return EventRecord(
                new_id(),
                dialect,
                tenant,
                KIND,
                event.type or "",
                f"{event.system}/{event.agent_id}",
                event.timestamp,
                now,
                client,
                key_of_id(event.id),
                text,
                sender,
            )

        return record

    def accepted(self, inbound: Inbound[Tenant], receipt: Receipt) -> Reply:
        return _ACCEPTED

    def refused(self, refusal: Refusal, head: Head, tenant: Tenant | None) -> Reply:
        """The HQ's ``{type, message, parameters}``; `parameters` is there even when empty."""
        status = _STATUS[refusal.reason]
        word, message = _WORDS.get(refusal.reason, (refusal.reason.name, ""))
        message = message.replace("{subject}", refusal.subject)
        if refusal.message:
            message = f"{message} {refusal.message}".strip()
        parameters: dict[str, Any] = {}
        if refusal.reason is Reason.CREDENTIAL_UNKNOWN:
            parameters["space-token"] = refusal.subject
        if refusal.problems:
            parameters["errors"] = refusal.problems
        headers = headers_of(refusal, status)
        body = {"type": word, "message": message, "parameters": parameters}
        return Reply(status, msgspec.json.encode(body), headers)


def _paths(path: str) -> Sequence[str]:
    """The addresses of *path*: HQ 0.4 has all of them below a prefix."""
    return (path, f"/api{path}")
