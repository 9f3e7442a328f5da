"""The contract of a store; the contract tests check every store against it."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable
from uuid import UUID

import msgspec

from gateway.buckets import Buckets
from gateway.care import Progress
from gateway.policy import Expired, RetentionPolicy
from gateway.query import Page, Search
from gateway.record import EventRecord, Outcome

MAX_SENDERS = 100
"""User-Agents that a store keeps of each credential; further ones are kept as `OTHER`."""

OTHER = "other"


class Content(msgspec.Struct, frozen=True):
    """What is stored of an event: its id, and its text."""

    id: bytes
    data: str


class Selection(msgspec.Struct, frozen=True):
    """Which records to read; None means any.

    `since` (inclusive) and `until` (exclusive) bound the time of receipt, in
    microseconds since 1970 UTC. `after` is the last sequence already seen.
    """

    dialect: str | None = None
    tenant: str | None = None
    kind: str | None = None
    subject: str | None = None
    since: int | None = None
    until: int | None = None
    after: int = 0
    limit: int | None = None

    def selects(self, record: EventRecord) -> bool:
        """Whether *record* is one of them, whatever `after` and `limit` are."""
        return (
            self.dialect in (None, record.dialect)
            and self.tenant in (None, record.tenant)
            and self.kind in (None, record.kind)
            and self.subject in (None, record.subject)
            and (self.since is None or record.received_at >= self.since)
            and (self.until is None or record.received_at < self.until)
        )


Passed = Callable[[int, int], None]

Skipped = Callable[[int, int], None]
"""Is told the first and the last sequence of what cannot be read."""


class Count(msgspec.Struct, frozen=True):
    """How many events came to *outcome* in the minute, or the longer time, that begins at `time`.

    `time` is in microseconds since 1970 UTC. Of a refused request nothing is known of
    its events: `kind` is empty, `outcome` is the reason, and requests are counted.
    """

    time: int
    dialect: str
    tenant: str
    kind: str
    outcome: str
    count: int

    @property
    def series(self) -> tuple[str, str, str, str]:
        """What is counted."""
        return self.dialect, self.tenant, self.kind, self.outcome


ALL_TIME = 1440 << 20
"""The step, in minutes, that adds up to a total: a million days since 1970."""


class CountSelection(msgspec.Struct, frozen=True):
    """Which counts to read; None means any.

    `step` is the length in minutes of the times to which they are added up. `since`
    (inclusive) and `until` (exclusive) are in microseconds since 1970 UTC and compared
    with the beginning of the minute, of the hour where `step` is whole hours, and of the
    day where it is whole days. `ALL_TIME` gives totals.
    """

    since: int = 0
    until: int = 1 << 62
    step: int = 1
    dialect: str | None = None
    tenant: str | None = None
    kind: str | None = None
    outcome: str | None = None


class Sighting(msgspec.Struct, frozen=True):
    """How often a quarantined record was sent, and when first and last (microseconds UTC)."""

    times: int
    first: int
    last: int


class Quarantined(msgspec.Struct, frozen=True):
    """A quarantined record with its sequence, and how often it was sent."""

    sequence: int
    record: EventRecord
    seen: Sighting

    @property
    def id(self) -> str:
        """The record's id, as UUID text."""
        return str(UUID(bytes=self.record.id))


Departure = Literal["drop", "replay"]
"""Why records leave the quarantine: an operator does not want them, or they are stored now."""


class Pruned(msgspec.Struct, frozen=True):
    """What was erased. `left` names files that may still have it, each with the reason."""

    events: int
    documents: int = 0
    left: list[str] = []


class StoredDocument(msgspec.Struct, frozen=True):
    """A document kept for a dialect; `modified` is in microseconds since 1970 UTC."""

    body: str
    modified: int


class Documents(Protocol):
    """Stores documents that are not events; a new document replaces the one of the same name."""

    async def get(self, dialect: str, tenant: str, name: str) -> StoredDocument | None:
        """Return the document of that name, or None. Raises StoreError."""

    async def put(self, dialect: str, tenant: str, name: str, body: str, now: int) -> None:
        """Store *body* under that name; return when it is durable. Raises StoreError."""

    async def names(self, dialect: str, prefix: str) -> Sequence[tuple[str, str]]:
        """Return (tenant, name) of each document whose name has the prefix. Raises StoreError."""


class Appender(Protocol):
    """What a GroupCommitter writes to: a store or a spool."""

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        """Store *records* in one transaction; return when it is durable.

        Gives an outcome for each record, in order. A record whose key is already
        kept is a DUPLICATE, within the call too, and the one kept stays as it is;
        a record without a key never is.

        All or nothing, but a StoreError does not say which: a commit may fail, or a
        connection end, after the records became durable. Nothing else may be
        appended before `reconcile` has settled it.
        """

    async def reconcile(self, ids: Collection[bytes]) -> None:
        """Find out which records of *ids* the last append has kept, its outcome being unknown.

        From then on what it kept is known by its identity, its key or else its id. An
        append of the same record, or of its copy with the identity for a key, keeps
        no second one. It is STORED, as our own earlier attempt, until the next append has
        succeeded; later it is that or a DUPLICATE.

        Raises StoreError where that cannot be found out now.
        """


class Reader(Protocol):
    """Reads a store, while it may be written."""

    def read(
        self, wanted: Selection, skipped: Skipped | None = None
    ) -> AsyncGenerator[tuple[int, EventRecord], None]:
        """Yield each selected record with its sequence, in order, as of the start of the read.

        Reading never blocks a write. With *skipped* the read goes past what is damaged, and
        tells it. Raises StoreError, and Damaged for what is damaged.
        """

    async def counts(self, wanted: CountSelection) -> Sequence[Count]:
        """The selected counts, by time, dialect, tenant, kind and outcome. Raises StoreError."""

    async def streams(self) -> Sequence[tuple[str, str, str]]:
        """The dialect, tenant and kind of all that is stored, or was. Raises StoreError."""

    async def search(self, wanted: Search, seconds: float, progress: Passed | None = None) -> Page:
        """The newest records that fit, looked for during about so many *seconds*.

        *progress* is told how many sequences were passed, of how many. Raises StoreError.
        """

    async def sightings(self, sequences: Collection[int]) -> Mapping[int, Sighting]:
        """How often each of the records with these *sequences* was sent, where quarantined.

        A copy of a quarantined record is a duplicate like any other, but it is counted.
        Raises StoreError.
        """

    async def quarantined(
        self,
        *,
        dialect: str | None = None,
        tenant: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> Sequence[Quarantined]:
        """The newest quarantined records, newest first; with *before*, of lower sequences.

        Raises StoreError.
        """

    async def close(self) -> None:
        """Release all resources. Safe to call twice."""


class Store(Appender, Documents, Reader, Protocol):
    """Stores records for good, numbers them, and reports the outcome of each.

    Every text is read back unchanged: any Unicode except lone surrogates in `data`;
    `type` and `subject` have no NUL either. Sequences increase in the order of
    commits and are never reused. Of kind ``rejected`` a bounded number
    is kept, with a bounded number of bytes in `data`. The transaction that exceeds a
    bound evicts the oldest records of whichever tenant has most of them, and their
    keys are free again. Of the senders of one credential the first `MAX_SENDERS` are read
    back unchanged, from later ones the User-Agent as `OTHER`: clients cannot make a
    table grow for ever.

    A store has one writer. None of its code that runs on the event loop waits for the
    disk.
    """

    @property
    def evicted(self) -> Mapping[tuple[str, str], int]:
        """How many quarantined records of each dialect and tenant were evicted since opening."""

    async def known(self, keys: Collection[bytes]) -> set[bytes]:
        """Return those of *keys* that are stored. Raises StoreError if the store cannot be read."""

    async def contents(
        self, keys: Collection[bytes], seconds: float, max_bytes: int
    ) -> Mapping[bytes, Content]:
        """Return what is stored of the events with *keys*, quarantined ones excepted.

        It looks for about so many *seconds*, the newest first, until the texts have more than
        *max_bytes* characters. So a key may be missing, as that of a deleted event is. Raises
        StoreError if the store cannot be read.
        """

    async def add_counts(self, counts: Sequence[Count]) -> None:
        """Add *counts* to those of the same minute; return when they are durable.

        So are then the sightings of quarantined records. Minutes are kept for 31 days at
        least, hours and days for ever. Raises StoreError; unless it
        says that nothing was kept, that is unknown.
        """

    async def probe(self) -> None:
        """Return if a write would succeed now, else raise StoreError."""

    async def index(self, seconds: float) -> bool:
        """Prepare what `Reader.search` uses, for about so many *seconds*; say if there is more.

        A record is found without it, only not as soon. Raises StoreError.
        """

    async def expire(self, policy: RetentionPolicy, now: int) -> Expired:
        """Delete some of what *policy* does not keep at *now* microseconds; takes milliseconds.

        The key of a deleted event stays known for a while, and never goes before its event.
        That of a quarantined record is free at once. What was deleted is still known to
        `reconcile`.

        Raises StoreError.
        """

    async def prune(self, wanted: Selection, progress: Progress) -> Pruned:
        """Erase what *wanted* selects and was received until now: no byte remains in the files.

        Of a quarantined record, which has no subject, it counts whether its text mentions
        the subject. Documents, counts and names of a tenant that is named go too, once it has
        no events left, and of a subject its document. Appends go on meanwhile. Keys stay as
        after `expire`.

        Raises StoreError: it is not complete, and has to be done again; or no such tenant,
        dialect or kind is stored, or nothing so old, and it says what there is.
        """

    async def release(self, sequences: Collection[int], why: Departure, now: int) -> int:
        """Delete those quarantined records; return how many there were, once that is durable.

        Their keys are free again, and their sequences are not given again. It leaves a
        record: why, when (*now* microseconds since 1970 UTC) and how many. What was
        deleted is still known to `reconcile`.

        Raises StoreError.
        """


class Measures(msgspec.Struct, frozen=True):
    """Keys in memory, runs of keys in the file, and quarantined records with their bytes."""

    keys_in_memory: int
    key_runs: int
    rejected: int
    rejected_bytes: int


@runtime_checkable
class Measured(Protocol):
    """A store that tells metrics how it does."""

    @property
    def sync_seconds(self) -> Buckets:
        """How long the commits of events took to reach the disk."""

    async def measures(self) -> Measures:
        """How much the store has of what is bounded. Raises StoreError."""


class Rotated(msgspec.Struct, frozen=True):
    """Where the old store is, and the first sequence of the new one."""

    sealed: str
    next_sequence: int


@runtime_checkable
class Rotates(Protocol):
    """A store that can go on with an empty one in its place."""

    async def rotate(self, progress: Progress) -> Rotated:
        """Seal the store, which stays readable, and begin a new one; appends wait meanwhile.

        The new store has all documents and counts, knows the keys of the old one, and goes on with
        its sequences. The quarantine begins anew.

        Raises StoreError; the store then goes on as it was.
        """
