"""The contract of a store, in words that every store is tested against."""

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Protocol

import msgspec

from gateway.record import EventRecord, Outcome


class Selection(msgspec.Struct, frozen=True):
    """Which records a reader wants; None means any.

    `since` (inclusive) and `until` (exclusive) bound the time of receipt, in
    microseconds since 1970 UTC. `after` is the last sequence already seen.
    """

    dialect: str | None = None
    tenant: str | None = None
    kind: str | None = None
    since: int | None = None
    until: int | None = None
    after: int = 0
    limit: int | None = None


class StoredDocument(msgspec.Struct, frozen=True):
    """A document kept for a dialect; `modified` is in microseconds since 1970 UTC."""

    body: str
    modified: int


class Documents(Protocol):
    """Keeps the few documents that are not events: the last one put under a name counts."""

    async def get(self, dialect: str, tenant: str, name: str) -> StoredDocument | None:
        """The document of that name, or None. Raises StoreError."""

    async def put(self, dialect: str, tenant: str, name: str, body: str, now: int) -> None:
        """Keep *body* under that name; return once it is durable. Raises StoreError."""

    async def names(self, dialect: str, prefix: str) -> Sequence[tuple[str, str]]:
        """The (tenant, name) of each document whose name begins so. Raises StoreError."""


class Appender(Protocol):
    """What a GroupCommitter writes to: a store or a spool."""

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        """Keep *records* in one transaction; return once it is durable.

        Gives an outcome for each record, in order. A record whose key is already
        kept is a DUPLICATE, within the call too, and the one kept stays as it is;
        a record without a key never is. All or nothing: on StoreError nothing was
        kept.
        """


class Reader(Protocol):
    """Reads what a store holds, beside whoever writes it."""

    def read(self, wanted: Selection) -> AsyncGenerator[tuple[int, EventRecord], None]:
        """Each selected record with its sequence, in order, as of the start of the reading.

        Reading never stops a write. Raises StoreError.
        """

    async def close(self) -> None:
        """Give everything back. Safe to call twice."""


class Store(Appender, Documents, Reader, Protocol):
    """Keeps records for good, numbers them, and says what became of each.

    Every text comes back as it went in: any Unicode except lone surrogates in
    `data`; `type` and `subject` have no NUL either. Sequences rise in the order of
    commits and are never given twice. Of kind ``rejected`` the newest
    `max_rejected` are kept; older ones go in the transaction that exceeds it, and
    their keys are free again.

    The store has one writer; what the event loop runs never waits for the disk.
    """

    @property
    def evicted(self) -> int:
        """How many quarantined records have gone to keep within `max_rejected`, since opening."""

    async def known(self, keys: Collection[bytes]) -> set[bytes]:
        """Which of *keys* are kept. Raises StoreError where the store cannot be asked."""

    async def probe(self) -> None:
        """Return if a write would be durable now; raises StoreError otherwise."""
