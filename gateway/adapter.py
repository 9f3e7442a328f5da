"""The contract of an adapter: the part that speaks one dialect.

An adapter turns a request into a `ParseResult`, and a receipt or a refusal into a
`Reply`. It does no I/O and awaits nothing. docs/dialects/README.md says how to
add one.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import msgspec

from gateway.errors import Reason, Refusal
from gateway.record import EventRecord, Receipt
from gateway.store import Documents
from schemas import Problem, Unreadable, jsontext
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

    def credential(self, name: str) -> str | None:
        """The value of the header *name*, or None without it, or with several that differ."""
        return only(self.headers(name))


def only(values: Sequence[str]) -> str | None:
    """The one value of a header that is given once, or again and again the same."""
    if len(values) == 1:
        return values[0].strip()
    different = {value.strip() for value in values}
    return different.pop() if len(different) == 1 else None


class Credential(msgspec.Struct, frozen=True):
    """A secret and the tenants that it opens. `secret` is plain text or ``sha256:<hex>``.

    A dialect whose credentials open less than a tenant derives its own class from this one.
    """

    secret: str
    tenants: Sequence[str]


class Tenant(msgspec.Struct, frozen=True):
    """On whose behalf a request speaks.

    A dialect that finds out more while it admits a request derives its own class from this one.
    """

    name: str

    @property
    def limited_device(self) -> str:
        """The device that has rates of its own, beside the tenant; empty if there is none."""
        return ""


OptionsT = TypeVar("OptionsT", bound=Table)
CredentialT = TypeVar("CredentialT", bound=Credential)
TenantT = TypeVar("TenantT", bound=Tenant)


class Inbound(msgspec.Struct, Generic[TenantT], frozen=True):
    """One admitted request with its body, inflated and within its limit.

    `received_at` is in microseconds since 1970 UTC; `client_address` is the peer's.
    `sender` is as in `EventRecord`; it is None where the address needs no credential.
    Of a batch that is stored piece by piece, `body` is only the beginning, and
    `received_at` is the time of the piece.
    """

    head: Head
    tenant: TenantT
    body: bytes
    received_at: int
    client_address: str
    sender: str | None = None


class Rejected(msgspec.Struct, frozen=True):
    """An element that failed validation: its position in the request, why, and its text.

    `position` is None where the request holds one event and not a batch.
    """

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
"""Different rejected elements of one request that go to quarantine; more are only counted."""

MAX_EVENT = 1 << 20
"""Bytes that one event may have where the configuration does not say otherwise."""


class ParseResult(msgspec.Struct):
    """The records of a request, as far as it is read, and the elements that are invalid.

    `rejected` holds each text once; `repeated` counts those left out. A batch may
    be millions of bytes of nothing else. `explained` counts those whose problems were
    looked for. `batch` tells whether the request may hold any number of events, and
    `max_event` how many bytes each of them may have. Of a request that is read piece by
    piece, these are the elements of one piece, before which there were `offset` others, and
    `rejected_before` of them different and invalid. `kept` is what the adapter's `read` keeps
    from one call to the next. `request` tells the request from every other one, where the identity
    of its events depends on that; the quarantine keeps it, so that an event that is replayed
    is the same one.
    """

    records: list[EventRecord]
    rejected: list[Rejected]
    repeated: int = 0
    texts: set[bytes] = msgspec.field(default_factory=set)
    explained: int = 0
    batch: bool = True
    max_event: int = MAX_EVENT
    offset: int = 0
    rejected_before: int = 0
    request: str = ""
    kept: Any = None  # Any: whatever an adapter needs

    @property
    def elements(self) -> int:
        """How many elements of the request are read."""
        return len(self.records) + len(self.rejected) + self.repeated

    @property
    def rejections(self) -> int:
        """How many elements are invalid."""
        return len(self.rejected) + self.repeated

    def reject(self, one: Rejected) -> None:
        """Add an invalid element."""
        if len(self.rejected) + self.rejected_before < MAX_REJECTED and one.raw not in self.texts:
            self.texts.add(one.raw)
            self.rejected.append(one)
        else:
            self.repeated += 1


class Reply(msgspec.Struct, frozen=True, eq=False):
    """An answer in the dialect's words. `body` is JSON text, or empty.

    Replies are compared by identity: one that is given again and again is written
    out once.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    content_type: str = "application/json"


class Ingest(msgspec.Struct, Generic[TenantT], frozen=True):
    """An address that takes events.

    Attributes:
        paths: templates such as ``/a/{b}``; a parameter is a whole segment. No two
            addresses of the gateway may match the same path.
        max_body: the limit of a body in bytes, inflated.
        split: cuts a body into the text of its events, in parts that take a few
            milliseconds each; raises `schemas.Unreadable`.
        read: turns the next of these texts into records, or rejects them. It stops
            after a few milliseconds, so that a large batch never holds the loop for
            long; `ParseResult.elements` tells where it goes on. Raises
            `schemas.Unreadable` only for a body of one event.
        batch: whether a body may hold any number of events.
        composed: whether `split` makes texts that the body does not hold as they are;
            they are counted like bytes of the body.
        media_types: whether a Content-Type is supported; None supports every one.
        wants_queue: whether to answer from the spool, before the store has the
            events; None never does.
        masked: an invalid text without what not even the quarantine may hold.
        whole: the bytes up to which a body is read whole, and its events are stored at
            once. A larger one must be a JSON array in UTF-8, as `schemas.arrays.split_array`
            takes it: it is cut and stored piece by piece while it arrives. None reads every
            body whole.
    """

    paths: Sequence[str]
    methods: Sequence[str]
    max_body: int
    split: Callable[[Inbound[TenantT]], Iterable[list[bytes]]]
    read: Callable[[Inbound[TenantT], Sequence[bytes], ParseResult], None]
    batch: bool
    composed: bool = False
    media_types: Callable[[str], bool] | None = None
    wants_queue: Callable[[Inbound[TenantT]], bool] | None = None
    masked: Callable[[bytes], bytes] | None = None
    whole: int | None = None


class Document(msgspec.Struct, frozen=True):
    """An address that gives or takes a document; *open* ones need no credential.

    The tenant of a request without a good credential has the name ``""``.
    """

    paths: Sequence[str]
    methods: Sequence[str]
    answer: Callable[[Inbound[Tenant], Documents], Awaitable[Reply]]
    max_body: int = 1 << 20
    open: bool = False


class Adapter(ABC, Generic[OptionsT, CredentialT, TenantT]):
    """Speaks one dialect. Derive from `HasFolders` or `Provisions` as well where it needs to.

    Class attributes:
        dialect: the word for it, used in records, metrics and the configuration.
        options: the type of its table in the configuration.
        prefixes: the addresses whose 404 it words; the longest one that fits decides.
        kinds: the kinds of its records, besides quarantined ones. Rules of retention name them.
        paired: whether its events have members in the form ``{"key": ..., "value": ...}``,
            which the rules of masking then know by their keys.
        id_members: where an event's text has the client's own id, as paths such as ``a.b``:
            the first one that is there counts.
    """

    dialect: ClassVar[str]
    options: ClassVar[type[Table]]
    prefixes: ClassVar[Sequence[str]]
    kinds: ClassVar[Sequence[str]]
    paired: ClassVar[bool] = False
    id_members: ClassVar[Sequence[str]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        attributes = ("dialect", "options", "prefixes", "kinds")
        missing = [name for name in attributes if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} lacks {', '.join(missing)}.")

    @abstractmethod
    def __init__(self, options: OptionsT) -> None:
        """Make the adapter with the options of its table, a checked `options`."""

    @property
    @abstractmethod
    def endpoints(self) -> Sequence[Ingest[TenantT] | Document]:
        """The addresses it answers."""

    @abstractmethod
    def credentials(self) -> Iterable[CredentialT]:
        """The secrets that it knows, for the Keyring."""

    @abstractmethod
    def secret(self, head: Head) -> str | None:
        """The secret that a request presents, or None where it presents none."""

    @abstractmethod
    def admit(self, head: Head, credential: CredentialT) -> TenantT:
        """Say on whose behalf the request speaks; raises `Refusal` where it may not."""

    def on_invalid(self, default: str) -> str:
        """What happens to invalid events: ``quarantine``, ``refuse`` or ``accept``.

        *default* is what ``[ingest]`` says.
        """
        return default

    def client_id(self, record: EventRecord) -> str:
        """The client's own id of an event, for people; empty if the event has none."""
        if not self.id_members:
            return ""
        try:
            document = jsontext.loads(record.data.encode("utf-8", "surrogatepass"), constants=str)
        except Unreadable:
            return ""
        found = (_member(document, path) for path in self.id_members)
        return next((str(one) for one in found if one not in (None, "")), "")

    @abstractmethod
    def accepted(self, inbound: Inbound[TenantT], receipt: Receipt) -> Reply:
        """Word the success of a request whose events are durable."""

    @abstractmethod
    def refused(self, refusal: Refusal, head: Head, tenant: TenantT | None) -> Reply:
        """Word a refusal. Has words for every `Reason`."""


def _member(document: Any, path: str) -> Any:  # Any: whatever the client sent
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


# The gateway only hands back to an adapter what that adapter made.
Endpoint: TypeAlias = Ingest[Any] | Document  # Any: the tenants of whichever adapter
AnyIngest: TypeAlias = Ingest[Any]  # Any: the tenants of whichever adapter
AnyInbound: TypeAlias = Inbound[Any]  # Any: the tenants of whichever adapter
AnyAdapter: TypeAlias = Adapter[Any, Any, Any]  # Any: the options of whichever adapter
