"""The Moesif collector, as its SDKs know it.

SDKs take nothing but 201 for success, some repeat a refused batch for ever, and
the others lose it: so a bad event never fails the batch it came in, and an
answer carries no body.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

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
from gateway.adapters.moesif_events import EVENT_TYPES, EventT, EventType
from gateway.adapters.moesif_settings import CONFIG_TAG, RULES_TAG, SdkSettings
from gateway.errors import Reason, Refusal
from gateway.record import EventRecord, Receipt, key_of, keys_of, new_ids
from gateway.store import Documents
from schemas import jsontext, moesif
from schemas.arrays import split_array
from schemas.table import Table

APPLICATION_ID = "X-Moesif-Application-Id"

WHOLE = 12 << 20
"""Bytes of a body whose events are stored at once, or not at all.

Many events have no identity, so those of a batch that is stored in part would be stored
twice when it is repeated.
"""

# Browsers send events across origins, and ask before they do (Fetch, CORS protocol).
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": f"{CONFIG_TAG}, {RULES_TAG}, Gateway-Rejected",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": f"Content-Type, Content-Encoding, If-None-Match, "
    f"{APPLICATION_ID}, X-Moesif-SDK",
    "Access-Control-Max-Age": "86400",
}

_TITLES = {
    Reason.NO_SUCH_ADDRESS: "Unknown address.",
    Reason.METHOD_NOT_ALLOWED: "Method not allowed.",
    Reason.CREDENTIAL_MISSING: f"Missing header {APPLICATION_ID}.",
    Reason.CREDENTIAL_UNKNOWN: f"Unknown application id in the header {APPLICATION_ID}.",
    Reason.LIMITED: "The application sends too much. Try again later.",
    Reason.BODY_TOO_LARGE: "The body is too large.",
    Reason.BODY_TOO_SLOW: "The body did not arrive in time.",
    Reason.ENCODING_UNSUPPORTED: "Unsupported content encoding.",
    Reason.ENCODING_CORRUPT: "The body does not match its content encoding.",
    Reason.EXPECTATION_UNSUPPORTED: "Unsupported Expect value.",
    Reason.NOT_JSON: "The body is not the JSON that this address expects.",
    Reason.INVALID: "The events are invalid.",
    Reason.OVERLOADED: "Too many events are waiting to be stored. Try again later.",
    Reason.UNAVAILABLE: "Events cannot be stored now. Try again later.",
    Reason.INTERNAL: "Internal error. It was logged.",
}


_CREATED = Reply(201)


class MoesifAdapter(Adapter[moesif.Options, Credential, Tenant]):
    """Speaks the dialect of Moesif's SDKs, plugins and browser script."""

    dialect: ClassVar[str] = "moesif"
    options: ClassVar[type[Table]] = moesif.Options
    id_members: ClassVar[Sequence[str]] = ("transaction_id", "transactionId")
    prefixes: ClassVar[Sequence[str]] = ("/v1/", "/moesifapi/", "/collector/", "/health/")
    kinds: ClassVar[Sequence[str]] = tuple({one.kind: None for one in EVENT_TYPES.values()})

    def __init__(self, options: moesif.Options) -> None:
        self._options = options
        self._sdk_settings = {one.tenant: SdkSettings.of(one) for one in options.applications}
        self._default = SdkSettings.of(None)
        self._stored = {
            name: self._with_headers(_CREATED, Tenant(name)) for name in self._sdk_settings
        }

    @property
    def endpoints(self) -> Sequence[Ingest[Tenant] | Document]:
        ingest = [
            one for path, event_type in EVENT_TYPES.items() for one in self._pair(path, event_type)
        ]
        documents = [
            Document(_paths("/v1/config"), ("GET",), self._config),
            Document(_paths("/v1/rules"), ("GET",), self._rules),
            Document(_paths("/health/probe"), ("GET",), self._health, open=True),
        ]
        every = [path for one in ingest for path in one.paths]
        every += [path for one in documents for path in one.paths]
        return [*ingest, *documents, Document(every, ("OPTIONS",), self._preflight, open=True)]

    def _pair(
        self, path: str, event_type: EventType[EventT]
    ) -> tuple[Ingest[Tenant], Ingest[Tenant]]:
        def single(inbound: Inbound[Tenant]) -> Iterable[list[bytes]]:
            return [[jsontext.require_utf8(inbound.body)]]

        def batch(inbound: Inbound[Tenant]) -> Iterable[list[bytes]]:
            return split_array(jsontext.require_utf8(inbound.body))

        def read(inbound: Inbound[Tenant], raws: Sequence[bytes], result: ParseResult) -> None:
            read_batch(event_type.decoder, raws, result, self._recorder(event_type, inbound))

        limit = self._options.max_body
        return (
            Ingest(_paths(path), ("POST",), limit, single, read, batch=False),
            Ingest(_paths(f"{path}/batch"), ("POST",), limit, batch, read, batch=True, whole=WHOLE),
        )

    def credentials(self) -> Iterable[Credential]:
        for application in self._options.applications:
            for secret in application.ids:
                yield Credential(secret, [application.tenant])

    def secret(self, head: Head) -> str | None:
        return head.credential(APPLICATION_ID)

    def admit(self, head: Head, credential: Credential) -> Tenant:
        return Tenant(credential.tenants[0])

    def on_invalid(self, default: str) -> str:
        return self._options.on_invalid or default

    def _recorder(
        self, event_type: EventType[EventT], inbound: Inbound[Tenant]
    ) -> Callable[[EventT, str], EventRecord]:
        """What makes records of a request's events and their texts."""
        now, client, tenant = inbound.received_at, inbound.client_address, inbound.tenant.name
        dialect, kind, sender = self.dialect, event_type.kind, inbound.sender
        type_of, subject_of, time_of = event_type.type, event_type.subject, event_type.time
        new_id, key_of_id = new_ids(now), keys_of(dialect, tenant, kind)
        identical = self._options.deduplicate_identical

        def record(event: EventT, text: str) -> EventRecord:
            time = time_of(event)
            client_id = getattr(event, "transaction_id", None)
            if client_id:
                key = key_of_id(client_id)
            elif identical and time is not None:
                key = self._key_of_text(tenant, kind, text)
            else:
                key = None
            return EventRecord(
                new_id(),
                dialect,
                tenant,
                kind,
                kind if type_of is None else type_of(event),
                subject_of(event),
                now if time is None else time,
                now,
                client,
                key,
                text,
                sender,
            )

        return record

    def _key_of_text(self, tenant: str, kind: str, text: str) -> bytes:
        same = jsontext.canonical(jsontext.loads(text.encode()))
        return key_of(self.dialect, tenant, f"{kind} as it is", same)

    async def _config(self, inbound: Inbound[Tenant], documents: Documents) -> Reply:
        return self._with_headers(
            self._for(inbound.tenant).answer_config(inbound.head), inbound.tenant
        )

    async def _rules(self, inbound: Inbound[Tenant], documents: Documents) -> Reply:
        return self._with_headers(
            self._for(inbound.tenant).answer_rules(inbound.head), inbound.tenant
        )

    async def _health(self, inbound: Inbound[Tenant], documents: Documents) -> Reply:
        return self._with_headers(Reply(200, b'{"status":true,"region":"gateway"}'), inbound.tenant)

    async def _preflight(self, inbound: Inbound[Tenant], documents: Documents) -> Reply:
        return self._with_headers(Reply(204, b"", _PREFLIGHT), inbound.tenant)

    def _for(self, tenant: Tenant | None) -> SdkSettings:
        return self._sdk_settings.get(tenant.name, self._default) if tenant else self._default

    def _with_headers(self, reply: Reply, tenant: Tenant | None) -> Reply:
        """The reply with what every answer carries: both tags, and leave for browsers."""
        headers = {**reply.headers, **self._for(tenant).tags, **_CORS}
        return msgspec.structs.replace(reply, headers=headers)

    def accepted(self, inbound: Inbound[Tenant], receipt: Receipt) -> Reply:
        return self._stored.get(inbound.tenant.name) or self._with_headers(_CREATED, inbound.tenant)

    def refused(self, refusal: Refusal, head: Head, tenant: Tenant | None) -> Reply:
        """Problem details (RFC 9457): the dialect documents statuses, but no error body."""
        status = STATUS[refusal.reason]
        problem: dict[str, Any] = {
            "type": "about:blank",
            "title": _TITLES.get(refusal.reason, refusal.reason.value),
            "status": status,
        }
        if refusal.message:
            problem["detail"] = refusal.message
        if refusal.problems:
            problem["errors"] = refusal.problems
        headers = headers_of(refusal, status)
        body = msgspec.json.encode(problem)
        return self._with_headers(Reply(status, body, headers, "application/problem+json"), tenant)


def _paths(path: str) -> Sequence[str]:
    """The addresses of *path*: Moesif's own proxy serves the collector below a prefix."""
    return (path, f"/collector{path}")
