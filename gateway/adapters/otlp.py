"""OpenTelemetry: logs and spans by OTLP/HTTP, at the addresses that Moesif has for them.

Exporters are the stock ones, with Moesif's application id as one more header. They
drop a batch that is refused, and repeat it only after 429, 502, 503 and 504
(opentelemetry.io/docs/specs/otlp, "OTLP/HTTP Response"). Every answer has the
content type of its request.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
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
from gateway.adapters.otlp_json import split_json
from gateway.adapters.otlp_records import LOG, SPAN, AnyRecordType, body_digest, subject_of
from gateway.adapters.otlp_signals import LOGS, SIGNALS, SPANS, Signal
from gateway.auth import digest_of
from gateway.errors import Reason, Refusal
from gateway.record import EventRecord, Receipt, keys_of, new_ids
from gateway.store import Documents
from schemas import Problem, otlp
from schemas.table import Table

APPLICATION_ID = "X-Moesif-Application-Id"
JSON = "application/json"
PROTOBUF = "application/x-protobuf"

_TOLD = 5
"""How many problems an answer tells of; quarantine has all of them."""

# Pages export across origins as well, and ask before they do (Fetch, CORS protocol).
_CORS = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT = Reply(
    204,
    headers={
        **_CORS,
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": f"Content-Type, Content-Encoding, {APPLICATION_ID}",
        "Access-Control-Max-Age": "86400",
    },
)

_STATUS: Mapping[Reason, int] = {
    **STATUS,
    Reason.LIMITED: 429,
    # Exporters repeat neither 408 nor 500, and these may pass.
    Reason.BODY_TOO_SLOW: 503,
    Reason.INTERNAL: 503,
}

_WORDS = {
    Reason.NO_SUCH_ADDRESS: "Unknown address: POST /v1/logs and /v1/traces are known.",
    Reason.METHOD_NOT_ALLOWED: "Method not allowed.",
    Reason.CREDENTIAL_MISSING: f"Missing header {APPLICATION_ID}.",
    Reason.CREDENTIAL_UNKNOWN: f"Unknown application id in the header {APPLICATION_ID}.",
    Reason.LIMITED: "The application sends too much. Try again later.",
    Reason.BODY_TOO_LARGE: "The body is too large.",
    Reason.BODY_TOO_SLOW: "The body did not arrive in time.",
    Reason.MEDIA_TYPE_UNSUPPORTED: f"Unsupported content type. Supported: {PROTOBUF}, {JSON}.",
    Reason.ENCODING_UNSUPPORTED: "Unsupported content encoding.",
    Reason.ENCODING_CORRUPT: "The body does not match its content encoding.",
    Reason.EXPECTATION_UNSUPPORTED: "Unsupported Expect value.",
    Reason.NOT_JSON: "The body cannot be decoded.",
    Reason.INVALID: "All records are invalid.",
    Reason.OVERLOADED: "Too many events are waiting to be stored. Try again later.",
    Reason.UNAVAILABLE: "Events cannot be stored now. Try again later.",
    Reason.INTERNAL: "Internal error. It was logged.",
}

_ACCEPTED = {
    JSON: Reply(200, b"{}", _CORS),
    # An empty message: all of it was accepted.
    PROTOBUF: Reply(200, headers={**_CORS, "Content-Type": PROTOBUF}),
}


class OtlpAdapter(Adapter[otlp.Options, Credential, Tenant]):
    """Speaks OTLP/HTTP, in JSON and protobuf."""

    dialect: ClassVar[str] = "otlp"
    options: ClassVar[type[Table]] = otlp.Options
    id_members: ClassVar[Sequence[str]] = ("span.spanId",)
    prefixes: ClassVar[Sequence[str]] = tuple(
        f"{prefix}/v1/{signal}/"
        for prefix in ("", "/collector")
        for signal in ("logs", "traces", "metrics")
    )
    kinds: ClassVar[Sequence[str]] = tuple(signal.kind for signal in SIGNALS)
    paired: ClassVar[bool] = True

    def __init__(self, options: otlp.Options) -> None:
        self._options = options
        # Nobody can send protobuf to a dialect without credentials.
        self._protobuf: ModuleType | None = None
        if options.applications:
            self._protobuf = importlib.import_module("gateway.adapters.otlp_protobuf")

    @property
    def endpoints(self) -> Sequence[Ingest[Tenant] | Document]:
        every = [path for signal in SIGNALS for path in _paths(signal.path)]
        return [
            self._ingest(LOGS, LOG),
            self._ingest(SPANS, SPAN),
            Document(every, ("OPTIONS",), self._preflight, open=True),
        ]

    def _ingest(self, signal: Signal, record_type: AnyRecordType) -> Ingest[Tenant]:
        def split(inbound: Inbound[Tenant]) -> Iterable[list[bytes]]:
            if self._protobuf is not None and _media_type(inbound.head) == PROTOBUF:
                parts: Iterable[list[bytes]] = self._protobuf.split_protobuf(inbound.body, signal)
                return parts
            return split_json(inbound.body, signal)

        def read(inbound: Inbound[Tenant], raws: Sequence[bytes], result: ParseResult) -> None:
            if result.kept is None:
                result.kept = self._recorder(record_type, inbound, result)
            read_batch(record_type.decoder, raws, result, result.kept)

        return Ingest(
            _paths(signal.path),
            ("POST",),
            self._options.max_body,
            split,
            read,
            batch=True,
            composed=True,
            media_types=_is_known,
        )

    def credentials(self) -> Iterable[Credential]:
        own: set[bytes] = set()
        for application in self._options.applications:
            for secret in application.ids:
                if application.written:
                    own.add(digest_of(secret))
                elif digest_of(secret) in own:
                    continue  # An id in both tables belongs to whom [otlp] gives it.
                yield Credential(secret, [application.tenant])

    def secret(self, head: Head) -> str | None:
        return head.credential(APPLICATION_ID)

    def admit(self, head: Head, credential: Credential) -> Tenant:
        return Tenant(credential.tenants[0])

    def on_invalid(self, default: str) -> str:
        return self._options.on_invalid or default

    def _recorder(
        self, record_type: AnyRecordType, inbound: Inbound[Tenant], result: ParseResult
    ) -> Callable[[Any, str], EventRecord]:
        """What makes records of a request's documents and their texts."""
        now, client, tenant = inbound.received_at, inbound.client_address, inbound.tenant.name
        dialect, kind, sender = self.dialect, record_type.kind, inbound.sender
        new_id, key_of_id = new_ids(now), keys_of(dialect, tenant, kind)
        if self._options.recognize_retries and not result.request:
            result.request = body_digest(inbound.body)
        digest = result.request

        def record(document: Any, text: str) -> EventRecord:
            identity, time = record_type.identity(document), record_type.time(document)
            if identity is None and digest and time is not None:
                # The same record at the same place of the same request.
                identity = f"{digest}/{result.offset + result.elements}"
            return EventRecord(
                new_id(),
                dialect,
                tenant,
                kind,
                record_type.type(document),
                subject_of(document),
                now if time is None else time,
                now,
                client,
                key_of_id(identity) if identity else None,
                text,
                sender,
            )

        return record

    async def _preflight(self, inbound: Inbound[Tenant], documents: Documents) -> Reply:
        return _PREFLIGHT

    def accepted(self, inbound: Inbound[Tenant], receipt: Receipt) -> Reply:
        """An empty response, or one that tells how many records were rejected."""
        media_type = _media_type(inbound.head)
        if not receipt.rejected:
            return _ACCEPTED[media_type]
        signal = _signal_of(inbound.head.path)
        told = f"{receipt.rejected} {signal.noun} were invalid. {_told(receipt.problems)}".strip()
        if media_type == PROTOBUF and self._protobuf is not None:
            body = self._protobuf.answer_of(signal, receipt.rejected, told)
        else:
            partial = {signal.rejected: str(receipt.rejected), "errorMessage": told}
            body = msgspec.json.encode({"partialSuccess": partial})
        return Reply(200, body, _CORS, media_type)

    def refused(self, refusal: Refusal, head: Head, tenant: Tenant | None) -> Reply:
        """A ``google.rpc.Status`` with a message; OTLP does not use its code."""
        status = _STATUS[refusal.reason]
        words = [_WORDS.get(refusal.reason, refusal.reason.value), refusal.message]
        if "/v1/metrics" in head.path:
            words.append("Metrics are not taken here.")
        message = " ".join(word for word in (*words, _told(refusal.problems)) if word)
        headers = {**headers_of(refusal, status), **_CORS}
        if _media_type(head) == PROTOBUF:
            return Reply(status, _status(message), headers, PROTOBUF)
        return Reply(status, msgspec.json.encode({"message": message}), headers)


def _signal_of(path: str) -> Signal:
    return SPANS if path.endswith(SPANS.path) else LOGS


def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _media_type(head: Head) -> str:
    """The encoding of the answer: the request's; JSON where that is neither of the two."""
    return PROTOBUF if _bare(head.header("Content-Type") or "") == PROTOBUF else JSON


def _is_known(content_type: str) -> bool:
    return _bare(content_type) in (JSON, PROTOBUF)


def _paths(path: str) -> Sequence[str]:
    """The addresses of *path*.

    Moesif's own proxy serves the collector below a prefix. Moesif's page on OpenTelemetry sets
    the address of a signal as the ``endpoint``, to which exporters append that of the signal.
    """
    prefixes = ("", "/collector", *(signal.path for signal in SIGNALS))
    return [f"{prefix}{path}" for prefix in prefixes]


def _told(problems: Sequence[Problem]) -> str:
    """The first problems, in one sentence each."""
    told = (f"{one.path}: {one.message}" if one.path else one.message for one in problems[:_TOLD])
    return " ".join(told)


def _status(message: str) -> bytes:
    """A ``google.rpc.Status`` in protobuf with this message, which is its field 2."""
    text = message.encode("utf-8", "backslashreplace")
    size, length = len(text), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x12%b%c%b" % (bytes(length), size, text)
