"""How many bytes the events of each rule have that bounds them, and which of them are to go.

The events are in no order by rule, so their bytes are counted. What a commit inserts is
counted as it becomes durable; what was there before is read once after the start, in steps.
Nothing of it is in the file, so nothing there can be wrong after a crash.

The count of a rule is kept in *chunks*: stretches of sequences in which its events have
about a hundredth of its bound. Whole chunks go, the oldest first. Events that went for another
reason are mostly the oldest ones: they count until it is the turn of their chunk.
"""

import sqlite3
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from gateway.policy import EVENT_BYTES, RetentionPolicy, bytes_of

_CHUNKS = 128
"""Chunks of a rule whose events have as many bytes as they may, about."""

_SLACK = 50
"""The share of the bound, as a divisor, by which there may be too much before steps hurry."""

_STREAMS = "SELECT id, dialect, tenant, kind FROM stream"
_MEASURE = f"""
SELECT seq, stream, length(CAST(data AS BLOB)) + {EVENT_BYTES}
FROM event WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?
"""
_LAST_OF = """
SELECT max(seq) FROM (SELECT seq FROM event WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?)
"""


class Stretch(NamedTuple):
    """Events above `after`, up to `to`, that are to go, if they are of `streams`.

    `since` is where the last stretch of the rule ended. `streams` is a JSON array.
    """

    volume: "Volume"
    since: int
    after: int
    to: int
    streams: str


class _Chunk:
    """Events of a rule from `first` to `last` have so many `bytes`."""

    __slots__ = ("bytes", "first", "last")

    def __init__(self, seq: int) -> None:
        self.first = self.last = seq
        self.bytes = 0


class Volume:
    """What is known of the events of one rule: `old` ones were read, `new` ones committed."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.streams: list[int] = []
        self.bytes = 0
        self.old: deque[_Chunk] = deque()
        self.new: deque[_Chunk] = deque()
        self._deleted_to = 0

    def add(self, chunks: deque[_Chunk], seq: int, size: int) -> None:
        """Count an event at the end of *chunks*, which are `old` or `new`."""
        chunk = chunks[-1] if chunks else None
        if chunk is None or chunk.bytes * _CHUNKS >= self.bound or chunk.first <= self._deleted_to:
            chunk = _Chunk(seq)
            chunks.append(chunk)
        chunk.last = seq
        chunk.bytes += size
        self.bytes += size

    def left(self, seq: int, size: int) -> None:
        """One event is gone, from among others."""
        for chunks in (self.old, self.new):
            at = bisect_left(chunks, seq, key=lambda one: one.last)
            if at < len(chunks) and chunks[at].first <= seq:
                chunks[at].bytes -= size
                self.bytes -= size

    def next(self, db: sqlite3.Connection, rows: int, *, whole: bool) -> Stretch | None:
        """Where to delete next; None if nothing has to go.

        At most so many *rows* lie there, of whatever rule. *whole* says that all old events
        have been read.
        """
        chunks = self.old or (self.new if whole else None)
        if self.bytes <= self.bound or not chunks:
            return None
        after = max(self._deleted_to, chunks[0].first - 1)
        [(last,)] = db.execute(_LAST_OF, (after, chunks[0].last, rows)).fetchall()
        to = chunks[0].last if last is None else last
        return Stretch(self, self._deleted_to, after, to, _json(self.streams))

    def deleted(self, stretch: Stretch) -> None:
        """What `next` has told is gone."""
        self._deleted_to = stretch.to
        for chunks in (self.old, self.new):
            while chunks and chunks[0].last <= stretch.to:
                self.bytes -= chunks.popleft().bytes


class Volumes:
    """Counts for all rules of a policy that have a bound. Used on the connection's thread."""

    def __init__(self, policy: RetentionPolicy, last: int) -> None:
        """Begin to count; *last* is the highest sequence that is given by now."""
        self._policy = policy
        self._by_rule = {
            at: Volume(rule.max_bytes)
            for at, rule in enumerate(policy.rules)
            if rule.max_bytes is not None
        }
        self._by_stream: dict[int, Volume | None] = {}
        self._read_to, self._end = 0, last
        self.counted_to = last
        """The highest sequence that is counted, or will be read."""

    def __bool__(self) -> bool:
        return bool(self._by_rule)

    @property
    def reading(self) -> bool:
        """Whether old events are not counted yet."""
        return bool(self) and self._read_to < self._end

    @property
    def due(self) -> bool:
        """Whether there is something to count, or to delete."""
        return self.reading or any(one.bytes > one.bound for one in self._by_rule.values())

    @property
    def pressing(self) -> bool:
        """Whether the events of some rule have many more bytes than they may have."""
        return any(one.bytes > one.bound + one.bound // _SLACK for one in self._by_rule.values())

    def learn(self, db: sqlite3.Connection) -> None:
        """Find out to which rule each stream belongs."""
        for number, *names in db.execute(_STREAMS).fetchall():
            if number not in self._by_stream:
                rule = self._policy.rule_of(*names)
                volume = None if rule is None else self._by_rule.get(rule)
                self._by_stream[number] = volume
                if volume is not None:
                    volume.streams.append(number)

    def add(
        self,
        db: sqlite3.Connection,
        sequences: Sequence[int],
        streams: Iterable[int],
        data: Iterable[str],
    ) -> None:
        """Count the events of a commit, in their order."""
        if sequences[0] != self.counted_to + 1:
            # A commit before it was not counted: whoever sees that begins anew.
            return
        for seq, stream, text in zip(sequences, streams, data, strict=True):
            if stream not in self._by_stream:
                self.learn(db)
            if (volume := self._by_stream[stream]) is not None:
                volume.add(volume.new, seq, bytes_of(text))
        self.counted_to = sequences[-1]

    def left(self, evicted: Iterable[tuple[int, int, int]]) -> None:
        """Quarantined records are gone: the sequence, the stream and the bytes of each text."""
        for seq, stream, size in evicted:
            if (volume := self._by_stream.get(stream)) is not None:
                volume.left(seq, size + EVENT_BYTES)

    def read(self, db: sqlite3.Connection, rows: int) -> None:
        """Count so many of the events that were there before, if there are any left."""
        if not self.reading:
            return
        self.learn(db)
        page = db.execute(_MEASURE, (self._read_to, self._end, rows)).fetchall()
        for seq, stream, size in page:
            if (volume := self._by_stream[stream]) is not None:
                volume.add(volume.old, seq, size)
        self._read_to = page[-1][0] if len(page) == rows else self._end

    def next(self, db: sqlite3.Connection, rows: int) -> Stretch | None:
        """Where to delete next, of the rule that has most too much; None if there is nothing."""
        fullest = sorted(self._by_rule.values(), key=lambda one: -one.bytes / one.bound)
        found = (one.next(db, rows, whole=not self.reading) for one in fullest)
        return next((one for one in found if one is not None), None)


def _json(numbers: list[int]) -> str:
    return msgspec.json.encode(numbers).decode()
