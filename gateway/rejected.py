"""The quarantine as an operator looks at it: record by record, or by cause."""

import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

import msgspec

from gateway.care import Progress
from gateway.errors import StoreError
from gateway.intake.quarantine import Content
from gateway.record import EventRecord, Kind, clock
from gateway.store import Quarantined, Reader, Store
from schemas import Problem
from schemas.places import place_of

_PAGE = 50
"""Records that are read at once; each may have a megabyte."""

_DROPPED_AT_ONCE = 500

_CLIENTS = 5
"""Clients of a cause that are told."""

_INDEXES = re.compile(r"\[\d+\]")
_CONTENT = msgspec.json.Decoder(Content)


class Wanted(msgspec.Struct, frozen=True):
    """Which quarantined records are meant; what is None or empty means any.

    `ids` are sequences or UUIDs. `reason` is ``invalid``, ``not_json`` or ``conflict``.
    `field` is the path of a problem, or what such a path begins with; its indexes may be
    left out, as in ``items[].price``. A record was sent once or more: it fits if the last
    time was at `since` or later and the first one before `until`, in microseconds since 1970
    UTC.
    """

    ids: frozenset[str] = frozenset()
    dialect: str | None = None
    tenant: str | None = None
    reason: str | None = None
    field: str | None = None
    since: int | None = None
    until: int | None = None

    def fits(self, one: Quarantined) -> bool:
        """Whether *one* is meant."""
        record = one.record
        return (
            self.dialect in (None, record.dialect)
            and self.tenant in (None, record.tenant)
            and self.reason in (None, record.type)
            and (not self.ids or not self.ids.isdisjoint((str(one.sequence), one.id)))
            and (self.since is None or one.seen.last >= self.since)
            and (self.until is None or one.seen.first < self.until)
            and (self.field is None or self._has_field(content_of(record)))
        )

    def _has_field(self, content: Content) -> bool:
        wanted = _plain(self.field or "")
        paths = [_plain(problem.path) for problem in content.problems]
        return any(
            path == wanted or path.startswith((f"{wanted}.", f"{wanted}[")) for path in paths
        )


class Rejection(msgspec.Struct, frozen=True, omit_defaults=True):
    """A quarantined record, and all that is known of it.

    Times are in microseconds since 1970 UTC. `times` is how often it was sent.
    """

    sequence: int
    id: str
    dialect: str
    tenant: str
    reason: str
    first_seen: int
    last_seen: int
    times: int
    client_address: str
    credential: str
    user_agent: str
    content: Content

    @classmethod
    def of(cls, one: Quarantined) -> "Rejection":
        """What is known of *one*."""
        record = one.record
        credential, _, user_agent = (record.sender or "").partition(" ")
        return cls(
            one.sequence,
            one.id,
            record.dialect,
            record.tenant,
            record.type,
            one.seen.first,
            one.seen.last,
            one.seen.times,
            record.client_address,
            credential,
            user_agent,
            content_of(record),
        )

    @property
    def problem(self) -> Problem:
        """The first problem."""
        return next(iter(self.content.problems), Problem("", ""))


class Cause(msgspec.Struct, frozen=True):
    """What is wrong in the same way with several records of a tenant.

    `records` counts them, and `times` how often they were sent. `clients` are their
    credentials and User-Agents, the most frequent first. `example` is the newest sequence.
    """

    dialect: str
    tenant: str
    reason: str
    field: str
    message: str
    records: int
    times: int
    first_seen: int
    last_seen: int
    clients: Sequence[str]
    example: int


class Marked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem, and the part of the text that it is about, in characters; None if unknown.

    `missing` says that this part lacks what it should have.
    """

    path: str
    message: str
    start: int | None = None
    end: int | None = None
    missing: bool = False


class Dropped(msgspec.Struct, frozen=True):
    """How many records were deleted."""

    records: int


def content_of(record: EventRecord) -> Content:
    """What a quarantined record holds; its data as it is where that is of another form."""
    try:
        return _CONTENT.decode(record.data.encode("utf-8", "replace"))
    except msgspec.MsgspecError:
        return Content([], record.data)


async def rejections(reader: Reader, wanted: Wanted) -> AsyncGenerator[Rejection, None]:
    """The records that are meant, newest first. Raises StoreError."""
    before, left = None, len(wanted.ids)
    while True:
        page = await reader.quarantined(
            dialect=wanted.dialect, tenant=wanted.tenant, before=before, limit=_PAGE
        )
        for one in page:
            if wanted.fits(one):
                yield Rejection.of(one)
                left -= 1
                if not left:
                    # An id is that of one record.
                    return
        if len(page) < _PAGE:
            return
        before = page[-1].sequence


async def sequences_of(reader: Reader, wanted: Wanted) -> list[int]:
    """The sequences of the records that are meant, the highest first. Raises StoreError."""
    async with aclosing(rejections(reader, wanted)) as found:
        return [one.sequence async for one in found]


async def drop(store: Store, wanted: Wanted, progress: Progress) -> Dropped:
    """Delete the records that are meant. Raises StoreError; repeat it then."""
    sequences = await sequences_of(store, wanted)
    dropped = 0
    for at in range(0, len(sequences), _DROPPED_AT_ONCE):
        some = sequences[at : at + _DROPPED_AT_ONCE]
        dropped += await store.release(some, "drop", clock())
        progress("dropped", at + len(some), len(sequences))
    return Dropped(dropped)


async def causes(reader: Reader, wanted: Wanted) -> Sequence[Cause]:
    """The causes of all records that are meant, by the last time. Raises StoreError."""
    found: dict[tuple[str, ...], list[Rejection]] = {}
    async for one in rejections(reader, wanted):
        told = one.problem
        names = one.dialect, one.tenant, one.reason, _plain(told.path), told.message
        # The texts are not needed any more, and may be large.
        bare = msgspec.structs.replace(one, content=Content([], ""))
        found.setdefault(names, []).append(bare)
    return sorted(
        (_cause(names, members) for names, members in found.items()),
        key=lambda cause: cause.last_seen,
        reverse=True,
    )


def _cause(names: tuple[str, ...], members: Sequence[Rejection]) -> Cause:
    dialect, tenant, reason, field, message = names
    clients = Counter(f"{one.credential} {one.user_agent}".strip() for one in members)
    return Cause(
        dialect,
        tenant,
        reason,
        field,
        message,
        records=len(members),
        times=sum(one.times for one in members),
        first_seen=min(one.first_seen for one in members),
        last_seen=max(one.last_seen for one in members),
        clients=[client for client, _ in clients.most_common(_CLIENTS)],
        example=max(one.sequence for one in members),
    )


async def check_names(reader: Reader, wanted: Wanted) -> None:
    """Raise StoreError if nobody by those names has anything in quarantine; say who has."""
    streams = [one for one in await reader.streams() if one[2] == Kind.REJECTED]
    for at, what in enumerate(("dialect", "tenant")):
        name = getattr(wanted, what)
        there = sorted({stream[at] for stream in streams})
        if name is not None and name not in there:
            raise StoreError(
                f"Nothing of the {what} '{name}' was quarantined. There are: {_listed(there)}."
            )


async def known_fields(reader: Reader, wanted: Wanted) -> str:
    """The paths at which problems are, to tell them where none is at the one that is wanted."""
    bare = msgspec.structs.replace(wanted, field=None)
    return _listed(sorted({cause.field for cause in await causes(reader, bare)} - {""}))


def marked(content: Content) -> Sequence[Marked]:
    """The problems with their places in the text."""
    raw = content.raw.encode("utf-8", "surrogatepass")
    found: list[Marked] = []
    for problem in content.problems:
        place = place_of(raw, problem.path) if problem.path else None
        if place is None:
            found.append(Marked(problem.path, problem.message))
            continue
        # Of bytes: characters before it may have several.
        start = len(raw[: place.start].decode("utf-8", "surrogatepass"))
        length = len(raw[place.start : place.end].decode("utf-8", "surrogatepass"))
        found.append(Marked(problem.path, problem.message, start, start + length, place.missing))
    return found


def _plain(path: str) -> str:
    return _INDEXES.sub("[]", path)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
