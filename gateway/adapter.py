"""The contract of an adapter: the part that speaks one dialect.

An adapter turns a request into a `ParseResult`, and a receipt or a refusal into a
`Reply`. It does no I/O and awaits nothing. To add a dialect, write one module
that fulfils `Adapter`, one with its documents and options in `schemas`, and
name the class in `gateway.adapters.ADAPTERS`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from gateway.errors import RETRY_AFTER, Reason, Refusal
from gateway.record import EventRecord, Receipt
from gateway.store import Documents
from schemas import Problem
from schemas.table import Table


class Head(msgspec.Struct, frozen=True):
    """What is known of a request before its body: enough to say who speaks and whether they may.

    `params` are the decoded segments that the endpoint's template names; `header`
    looks a header up whatever its case (the first where it is repeated).
    """

    method: str
    path: str
    params: Mapping[str, str]
    header: Callable[[str], str | None]
    headers: Callable[[str], Sequence[str]]


class Tenant(msgspec.Struct, frozen=True):
    """Who owns the credential, and what the adapter found out while admitting the request."""

    name: str
    detail: Any = None


class Inbound(msgspec.Struct, frozen=True):
    """One admitted request with its body, inflated and within its limit.

    `received_at` is in microseconds since 1970 UTC; `client_address` is the peer's.
    """

    head: Head
    tenant: Tenant
    body: bytes
    received_at: int
    client_address: str


class Rejected(msgspec.Struct, frozen=True):
    """An element that is no event: where it stood in the request, why, and its text."""

    position: int | None
    problems: Sequence[Problem]
    raw: bytes
    reason: Reason = Reason.INVALID

    def absolute_problems(self) -> list[Problem]:
        """The problems with paths from the top of the request's document."""
        if self.position is None:
            return list(self.problems)
        return [problem.prefixed(f"[{self.position}]") for problem in self.problems]


MAX_REJECTED = 10_000
"""Different rejected elements of one request that go to quarantine; more are counted."""


class ParseResult(msgspec.Struct):
    """What a request, or a part of a batch, turned out to hold.

    `rejected` holds the elements that are no events, each text once; `repeated`
    counts those left out. A batch may be millions of bytes of nothing else.
    """

    records: list[EventRecord]
    rejected: list[Rejected]
    repeated: int = 0
    texts: set[bytes] = msgspec.field(default_factory=set)

    @property
    def rejections(self) -> int:
        """How many elements are no events."""
        return len(self.rejected) + self.repeated

    def reject(self, one: Rejected) -> None:
        """Add an element that is no event."""
        if len(self.rejected) < MAX_REJECTED and one.raw not in self.texts:
            self.texts.add(one.raw)
            self.rejected.append(one)
        else:
            self.repeated += 1

    def join(self, later: "ParseResult") -> None:
        """Add a later part of the same batch."""
        self.records += later.records
        self.repeated += later.repeated
        for one in later.rejected:
            self.reject(one)


class Reply(msgspec.Struct, frozen=True, eq=False):
    """An answer in the dialect's words. `body` is JSON text, or empty.

    Replies are compared by identity: one that is given again and again is written
    out once.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    content_type: str = "application/json"


class Credential(msgspec.Struct, frozen=True):
    """A secret and what it opens. `secret` is plain text or ``sha256:<hex>``."""

    secret: str
    tenants: Sequence[str]
    detail: Any = None


class Ingest(msgspec.Struct, frozen=True):
    """An address that takes events.

    `split` cuts a body into the text of its events (raising `schemas.Unreadable`);
    `read` turns some of them, the first of which stood at *start* (None: the body
    is one event, not a batch), into records. A batch is read in parts so that a
    large one never holds the loop for long. `media_types` tells whether a
    Content-Type is taken; without it every one is.
    """

    paths: Sequence[str]
    methods: Sequence[str]
    max_body: int
    split: Callable[[Inbound], Sequence[bytes]]
    read: Callable[[Inbound, Sequence[bytes], int | None], ParseResult]
    batch: bool
    media_types: Callable[[str], bool] | None = None


class Document(msgspec.Struct, frozen=True):
    """An address that gives or takes a document; *open* ones need no credential."""

    paths: Sequence[str]
    methods: Sequence[str]
    answer: Callable[[Inbound, Documents], Awaitable[Reply]]
    max_body: int = 1 << 20
    open: bool = False


Endpoint = Ingest | Document


class Adapter(Protocol):
    """Speaks one dialect.

    Class attributes:
        dialect: the word for it, used in records, metrics and the configuration.
        options: the type of its table in the configuration.
        prefixes: the addresses whose 404 it words.
    """

    dialect: ClassVar[str]
    options: ClassVar[type[Table]]
    prefixes: ClassVar[Sequence[str]]

    def __init__(self, options: Any) -> None: ...

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """The addresses it answers."""

    def folders(self) -> Mapping[str, str]:
        """Folders of files that stand for documents, by the prefix of those documents' names."""
        return {}

    def credentials(self) -> Iterable[Credential]:
        """The secrets that it knows, for the Keyring."""

    def secret(self, head: Head) -> str | None:
        """The secret that a request presents, or None where it presents none."""

    def admit(self, head: Head, credential: Credential) -> Tenant:
        """Say on whose behalf the request speaks; raises `Refusal` where it may not."""

    def on_invalid(self, default: str) -> str:
        """What happens to invalid events: ``quarantine``, ``refuse`` or ``accept``.

        *default* is what ``[ingest]`` says.
        """
        return default

    def provisioned(self, inbound: Inbound) -> tuple[str, str] | None:
        """The (tenant, name) of a document that records what this request's success created."""
        return None

    def recall(self, names: Iterable[tuple[str, str]]) -> None:
        """Know again what earlier requests created, by those names."""
        return

    def wants_queue(self, inbound: Inbound) -> bool:
        """Whether the request is to be answered from the spool, before the store has it."""
        return False

    def accepted(self, inbound: Inbound, receipt: Receipt) -> Reply:
        """Word the success of a request whose events are durable."""

    def refused(self, refusal: Refusal, head: Head, tenant: Tenant | None) -> Reply:
        """Word a refusal. Has words for every `Reason`."""


STATUS: Mapping[Reason, int] = {
    Reason.NO_SUCH_ADDRESS: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.CREDENTIAL_MISSING: 401,
    Reason.CREDENTIAL_UNKNOWN: 401,
    Reason.TENANT_UNKNOWN: 404,
    Reason.TENANT_FORBIDDEN: 403,
    Reason.DEVICE_UNKNOWN: 404,
    Reason.DEVICE_FORBIDDEN: 403,
    Reason.BODY_TOO_LARGE: 413,
    Reason.BODY_TOO_SLOW: 408,
    Reason.MEDIA_TYPE_UNSUPPORTED: 415,
    Reason.ENCODING_UNSUPPORTED: 415,
    Reason.ENCODING_CORRUPT: 400,
    Reason.EXPECTATION_UNSUPPORTED: 417,
    Reason.NOT_JSON: 400,
    Reason.INVALID: 400,
    Reason.OVERLOADED: 503,
    Reason.UNAVAILABLE: 503,
    Reason.INTERNAL: 500,
}
"""The HTTP status of each reason where a dialect does not say otherwise."""


def headers_of(refusal: Refusal, status: int) -> dict[str, str]:
    """The headers that HTTP wants with a refusal: Allow (405), Retry-After (503)."""
    headers: dict[str, str] = {}
    if refusal.allowed:
        headers["Allow"] = ", ".join(refusal.allowed)
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER)
    return headers
