"""A store in memory, for tests.

It fulfils the whole contract except durability: it forgets everything at exit.
"""

import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from msgspec.structs import replace

from gateway.care import Progress, StoreCare
from gateway.errors import StoreError
from gateway.policy import Expired, RetentionPolicy, bytes_of
from gateway.query import Page, Search
from gateway.record import EventRecord, Kind, Outcome, clock, key_of
from gateway.store import (
    Content,
    Count,
    CountSelection,
    Departure,
    Passed,
    Pruned,
    Quarantined,
    Reader,
    Selection,
    Sighting,
    Skipped,
    StoredDocument,
)
from gateway.stores.mentions import prunable
from gateway.stores.senders import Distinct
from gateway.stores.shares import NO_LIMIT, Bound, excess

_MINUTE = 60_000_000
_OUTLIVED = 100_000
"""Keys of deleted events that stay known."""


class MemoryStore:
    """Records in a dict, in order."""

    def __init__(self, bound: Bound) -> None:
        self.evicted: Counter[tuple[str, str]] = Counter()
        self._bound = bound
        self._events: dict[int, EventRecord] = {}
        self._keys: set[bytes] = set()
        # Keys of events that are gone, oldest first.
        self._outlived: dict[bytes, None] = {}
        # Ids of records that went since the last append.
        self._gone_ids: set[bytes] = set()
        self._own: set[bytes] = set()
        self._rejected: list[int] = []
        self._seen: dict[int, Sighting] = {}
        self._counts: Counter[tuple[int, str, str, str, str]] = Counter()
        self._senders = Distinct()
        self._next = 1
        self._documents: dict[tuple[str, str, str], StoredDocument] = {}

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        self._gone_ids.clear()
        outcomes = [self._append(record) for record in records]
        if any(record.kind == Kind.REJECTED for record in records):
            self._evict()
        return outcomes

    def _append(self, record: EventRecord) -> Outcome:
        sequence, self._next = self._next, self._next + 1
        if record.id in self._own:
            return Outcome.STORED
        if record.identity in self._keys:
            self._see_again(record)
            return Outcome.DUPLICATE
        if record.key is not None:
            self._keys.add(record.key)
        if record.sender is not None:
            name = self._senders.name(record.sender)
            record = record if name == record.sender else replace(record, sender=name)
        self._events[sequence] = record
        if record.kind == Kind.REJECTED:
            self._rejected.append(sequence)
            self._seen[sequence] = Sighting(1, record.received_at, record.received_at)
        return Outcome.STORED

    def _evict(self) -> None:
        records: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for sequence in self._rejected:
            one = self._events[sequence]
            size = len(one.data.encode("utf-8", "surrogatepass"))
            records.setdefault((one.dialect, one.tenant), []).append((sequence, size))
        held = {who: (len(kept), sum(size for _, size in kept)) for who, kept in records.items()}
        chosen, _ = excess(held, lambda who: iter(records[who]), self._bound)
        for who, sequences in chosen.items():
            self.evicted[who] += len(sequences)
            for sequence in sequences:
                self._rejected.remove(sequence)
                self._keys.discard(self._events.pop(sequence).key or b"")

    def _see_again(self, record: EventRecord) -> None:
        for sequence in self._rejected:
            if record.kind == Kind.REJECTED and self._events[sequence].key == record.key:
                seen = self._seen[sequence]
                last = max(seen.last, record.received_at)
                self._seen[sequence] = Sighting(seen.times + 1, seen.first, last)

    async def sightings(self, sequences: Collection[int]) -> Mapping[int, Sighting]:
        return {one: self._seen[one] for one in self._rejected if one in sequences}

    async def quarantined(
        self,
        *,
        dialect: str | None = None,
        tenant: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> Sequence[Quarantined]:
        found = (
            Quarantined(sequence, self._events[sequence], self._seen[sequence])
            for sequence in sorted(self._rejected, reverse=True)
            if before is None or sequence < before
        )
        wanted = (
            one
            for one in found
            if dialect in (None, one.record.dialect) and tenant in (None, one.record.tenant)
        )
        return list(itertools.islice(wanted, limit))

    async def release(self, sequences: Collection[int], why: Departure, now: int) -> int:
        gone = [sequence for sequence in self._rejected if sequence in sequences]
        for sequence in gone:
            self._delete(sequence)
        return len(gone)

    async def add_counts(self, counts: Sequence[Count]) -> None:
        for one in counts:
            self._counts[one.time // _MINUTE * _MINUTE, *one.series] += one.count

    async def counts(self, wanted: CountSelection) -> Sequence[Count]:
        step = wanted.step * _MINUTE
        unit = max(one for one in (1, 60, 1440) if wanted.step % one == 0) * _MINUTE
        found: Counter[tuple[int, str, str, str, str]] = Counter()
        for (time, *series), count in self._counts.items():
            begins = time // unit * unit
            if wanted.since <= begins < wanted.until and _counted(series, wanted):
                dialect, tenant, kind, outcome = series
                found[time // step * step, dialect, tenant, kind, outcome] += count
        return [Count(*names, count) for names, count in sorted(found.items())]

    async def search(self, wanted: Search, seconds: float, progress: Passed | None = None) -> Page:
        keys = {
            key_of(one.dialect, one.tenant, one.kind, wanted.id or "")
            for one in self._events.values()
        }
        fitting = (
            (sequence, record)
            for sequence, record in reversed(self._events.items())
            if (wanted.before is None or sequence < wanted.before)
            and wanted.fits(record)
            and (wanted.id in (None, str(UUID(bytes=record.id))) or record.key in keys)
        )
        found = list(itertools.islice(fitting, wanted.limit))
        return Page(found, found[-1][0] if found and len(found) == wanted.limit else None)

    async def streams(self) -> Sequence[tuple[str, str, str]]:
        return sorted({(one.dialect, one.tenant, one.kind) for one in self._events.values()})

    async def index(self, seconds: float) -> bool:
        return False

    async def reconcile(self, ids: Collection[bytes]) -> None:
        sent = set(ids)
        gone = self._gone_ids & sent
        self._own = gone | {record.id for record in self._events.values() if record.id in sent}
        self._keys |= gone | {r.identity for r in self._events.values() if r.id in self._own}

    async def expire(self, policy: RetentionPolicy, now: int) -> Expired:
        for sequence, record in list(self._events.items()):
            max_age = policy.max_age_of(record.dialect, record.tenant, record.kind)
            if max_age is not None and now - max_age >= record.received_at:
                self._delete(sequence)
                return Expired(by_age=1, more=True)
        if gone := self._too_many(policy):
            for sequence in gone:
                self._delete(sequence)
            return Expired(by_size=len(gone), more=True)
        excess = sum(len(record.data) for record in self._events.values())
        excess -= excess if policy.max_bytes is None else policy.max_bytes
        by_size = 0
        while excess > 0:
            oldest = min(self._events)
            excess -= len(self._events[oldest].data)
            self._delete(oldest)
            by_size += 1
        return Expired(by_size=by_size, more=by_size > 0, pressing=by_size > 0)

    def _too_many(self, policy: RetentionPolicy) -> list[int]:
        """The oldest records of each rule that have more bytes than these may have."""
        left = {at: rule.max_bytes for at, rule in enumerate(policy.rules)}
        gone = []
        for sequence, record in reversed(self._events.items()):
            rule = policy.rule_of(record.dialect, record.tenant, record.kind)
            room = None if rule is None else left[rule]
            if rule is not None and room is not None:
                left[rule] = room - bytes_of(record.data)
                if room < bytes_of(record.data):
                    gone.append(sequence)
        return gone

    async def prune(self, wanted: Selection, progress: Progress) -> Pruned:
        known = [(one.dialect, one.tenant, one.kind) for one in self._events.values()]
        for at, name in enumerate((wanted.dialect, wanted.tenant, wanted.kind)):
            if name is not None and name not in {names[at] for names in known}:
                there = ", ".join(sorted({names[at] for names in known})) or "none"
                raise StoreError(f"The store has no events of '{name}'. There are: {there}.")
        gone = [seq for seq, one in self._events.items() if prunable(one, wanted, clock())]
        for sequence in gone:
            self._delete(sequence)
        return Pruned(len(gone), self._forget(wanted))

    def _forget(self, wanted: Selection) -> int:
        """Delete documents and counts of whoever has no events left."""
        left = {(one.dialect, one.tenant) for one in self._events.values()}
        subjects = {one.subject for one in self._events.values()}
        before = clock() if wanted.until is None else min(wanted.until, clock())

        def goes(dialect: str, tenant: str, name: str) -> bool:
            if wanted.kind is not None or not (
                wanted.dialect in (None, dialect) and wanted.tenant in (None, tenant)
            ):
                return False
            if wanted.subject is None:
                return wanted.tenant is not None and (dialect, tenant) not in left
            return wanted.subject not in subjects and name.partition("/")[2] == wanted.subject

        gone = [one for one, held in self._documents.items() if held.modified < before]
        gone = [one for one in gone if goes(*one)]
        for one in gone:
            del self._documents[one]
        for count in list(self._counts):
            if goes(count[1], count[2], "") and count[0] < before:
                del self._counts[count]
        return len(gone)

    def _delete(self, sequence: int) -> None:
        record = self._events.pop(sequence)
        self._gone_ids.add(record.id)
        if record.kind == Kind.REJECTED:
            self._rejected.remove(sequence)
            self._keys.discard(record.key or b"")
        elif record.key is not None:
            self._outlived[record.key] = None
            if len(self._outlived) > _OUTLIVED:
                key = next(iter(self._outlived))
                del self._outlived[key]
                self._keys.discard(key)

    async def known(self, keys: Collection[bytes]) -> set[bytes]:
        return self._keys.intersection(keys)

    async def contents(
        self, keys: Collection[bytes], seconds: float, max_bytes: int
    ) -> Mapping[bytes, Content]:
        found: dict[bytes, Content] = {}
        for record in reversed(self._events.values()):
            if record.key in keys and record.kind != Kind.REJECTED:
                max_bytes -= len(record.data)
                if max_bytes < 0:
                    break
                found[record.key or b""] = Content(record.id, record.data)
        return found

    async def probe(self) -> None:
        return None

    async def read(
        self, wanted: Selection, skipped: Skipped | None = None
    ) -> AsyncGenerator[tuple[int, EventRecord], None]:
        found = 0
        for sequence, record in list(self._events.items()):
            if found == wanted.limit:
                return
            if sequence > wanted.after and wanted.selects(record):
                found += 1
                yield sequence, record

    async def get(self, dialect: str, tenant: str, name: str) -> StoredDocument | None:
        return self._documents.get((dialect, tenant, name))

    async def put(self, dialect: str, tenant: str, name: str, body: str, now: int) -> None:
        self._documents[dialect, tenant, name] = StoredDocument(body, now)

    async def names(self, dialect: str, prefix: str) -> Sequence[tuple[str, str]]:
        return [
            (tenant, name)
            for entry_dialect, tenant, name in self._documents
            if entry_dialect == dialect and name.startswith(prefix)
        ]

    async def close(self) -> None:
        return None


def _counted(series: Sequence[str], wanted: CountSelection) -> bool:
    wishes = (wanted.dialect, wanted.tenant, wanted.kind, wanted.outcome)
    return all(wish in (None, name) for wish, name in zip(wishes, series, strict=True))


_URL = "memory:"


def files_of(url: str) -> Sequence[Path]:
    """As `gateway.stores.StoreType.files_of`: it has none."""
    if url != _URL:
        raise ValueError(f"Expected {_URL} and nothing more.")
    return []


async def open_store(
    url: str, max_rejected: int, max_rejected_bytes: int = NO_LIMIT
) -> MemoryStore:
    """Open a new, empty store; *url* is ``memory:``."""
    return MemoryStore(Bound(max_rejected, max_rejected_bytes))


async def open_reader(url: str) -> Reader:
    """Nothing outside the process can read a store in memory.

    Raises:
        StoreError: always.
    """
    raise StoreError(f"{url} can only be read by the gateway that holds it.")


def care_for(url: str) -> StoreCare:
    """Nothing outside the process can touch a store in memory.

    Raises:
        StoreError: always.
    """
    raise StoreError(f"{url} is in the memory of the gateway that holds it.")
