"""What a gateway owes its clients, judged from outside: the answers and the files."""

import sqlite3
from collections import Counter
from collections.abc import Set
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from gateway.policy import RetentionPolicy
from gateway.record import EventRecord, Outcome
from gateway.store import Selection
from gateway.stores.mentions import prunable

Row = tuple[int, bytes, bytes | None, str]
"""The sequence, id, key and data of a stored event."""

MARK_END = "."
"""Comes behind the part of a text that no other text has."""


class Attempt(msgspec.Struct):
    """One record of one request, and what the client heard of it: None until it is answered."""

    record: EventRecord
    number: int
    outcome: Outcome | None = None


class Broken(AssertionError):
    """A promise was broken."""


class Permit(msgspec.Struct, frozen=True):
    """Leave to delete: what retention does not keep at *now*, or what a prune selects."""

    policy: RetentionPolicy | None = None
    now: int = 0
    wanted: Selection | None = None

    def covers(self, record: EventRecord, *, oldest: bool) -> bool:
        """Whether *record* may go; *oldest* says that no older event stays in the store."""
        if self.wanted is not None:
            return prunable(record, self.wanted, self.now)
        if self.policy is None:
            return False
        age = self.policy.max_age_of(record.dialect, record.tenant, record.kind)
        if age is not None and record.received_at <= self.now - age:
            return True
        return self.policy.max_bytes is not None and oldest


class Model:
    """Knows what was sent, what was answered, and what may be deleted now."""

    def __init__(self) -> None:
        self.sent: dict[bytes, Attempt] = {}
        self.by_identity: dict[bytes, list[Attempt]] = {}
        self.answers: Counter[str] = Counter()
        self.permits: list[Permit] = []
        # Sequences in the store and ids in the spool, as last seen.
        self._stored: dict[bytes, int] = {}
        self._spooled: set[bytes] = set()
        # What was on disk at some time, what of that was deleted, and what was erased for good.
        self._ever: dict[bytes, set[bytes]] = {}
        self._deleted: set[bytes] = set()
        # From the store in this life. What leaves the spool while its commit to the store hangs
        # may be seen again, and after a restart what waits in the spool too.
        self._expired: set[bytes] = set()
        self._departed: set[bytes] = set()
        self._erased: set[bytes] = set()
        # What retention may have deleted: of that, copies may be left in unused parts of pages.
        self._by_retention: set[bytes] = set()
        # The highest sequence of a deleted event of each identity, and up to which one runs of
        # keys have gone.
        self._last_deleted: dict[bytes, int] = {}
        self._runs: dict[int, int] = {}
        self._keys_gone_to = 0

    def send(self, records: list[EventRecord]) -> list[Attempt]:
        attempts = []
        for record in records:
            attempt = Attempt(record, len(self.sent))
            self.sent[record.id] = attempt
            self.by_identity.setdefault(record.identity, []).append(attempt)
            attempts.append(attempt)
        return attempts

    def observe(self, folder: Path) -> dict[bytes, set[bytes]]:
        """Judge what has gone from the files since the last look; return what they hold.

        That is the ids of records by their identity.
        """
        rows, spooled = _rows(folder), _spooled(folder)
        stored = {record_id: seq for seq, record_id, _, _ in rows}
        held = self._judge_rows(rows)
        self._judge_returned(stored.keys() - self._stored.keys(), folder)
        first = min(stored.values(), default=1 << 62)
        gone = self._stored.keys() - stored.keys()
        for record_id in gone:
            record = self.sent[record_id].record
            if not self._may_go(record, oldest=self._stored[record_id] < first):
                raise Broken(f"nobody may delete {self.sent[record_id]}")
            self._depart(record)
            self._expired.add(record_id)
            if any(one.policy and one.covers(record, oldest=True) for one in self.permits):
                self._by_retention.add(record_id)
            self._last_deleted[record.identity] = self._stored[record_id]
        for record_id in spooled:
            identity = self.sent[record_id].record.identity
            held.setdefault(identity, set()).add(record_id)
        for record_id in self._spooled - spooled - gone:
            record = self.sent[record_id].record
            # If it has drained, it is in the store, or was a duplicate.
            if record.identity not in held and record.identity not in self._departed:
                if not any(one.wanted and one.covers(record, oldest=False) for one in self.permits):
                    raise Broken(f"nobody may delete from the spool {self.sent[record_id]}")
                self._depart(record)
        for identity, ids in held.items():
            self._ever.setdefault(identity, set()).update(ids)
            if back := self._erased & ids:
                raise Broken(f"was erased and is back: {self.sent[back.pop()]}")
        self._stored, self._spooled = stored, spooled
        return held

    def end_life(self, folder: Path) -> None:
        """Judge what a process has left; what it was allowed to do, it has done."""
        self.observe(folder)
        self.permits.clear()
        self._expired.clear()

    def _judge_rows(self, rows: list[Row]) -> dict[bytes, set[bytes]]:
        held: dict[bytes, set[bytes]] = {}
        for _, record_id, key, data in rows:
            if record_id not in self.sent:
                raise Broken(f"nobody sent {data}")
            if self.sent[record_id].record.data != data:
                raise Broken(f"{data} was changed")
            ids = held.setdefault(key or record_id, set())
            if ids:
                raise Broken(f"stored twice: {self.by_identity[key or record_id]}")
            ids.add(record_id)
        return held

    def _judge_returned(self, new: Set[bytes], folder: Path) -> None:
        """Judge what is stored although an event of the same identity was deleted."""
        runs = _runs(folder)
        for run in self._runs.keys() - runs.keys():
            self._keys_gone_to = max(self._keys_gone_to, self._runs[run])
        self._runs = runs
        for record_id in new:
            attempt = self.sent[record_id]
            if record_id in self._expired:
                raise Broken(f"was deleted and is back: {attempt}")
            if self._last_deleted.get(attempt.record.key or b"", 0) > self._keys_gone_to:
                raise Broken(f"stored again before its keys have gone: {attempt}")

    def _may_go(self, record: EventRecord, *, oldest: bool) -> bool:
        return any(one.covers(record, oldest=oldest) for one in self.permits)

    def _depart(self, record: EventRecord) -> None:
        self._deleted.add(record.id)
        self._departed.add(record.identity)

    def answered(self, attempts: list[Attempt], outcomes: list[Outcome], folder: Path) -> None:
        """Judge an answer at the moment at which it is given."""
        held = self.observe(folder)
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            attempt.outcome = outcome
            self.answers[outcome.value] += 1
            record = attempt.record
            # A stored event is there; others may be copies of one that was deleted since.
            copied = outcome is not Outcome.STORED and record.identity in self._departed
            if not (record.identity in held or record.id in self._deleted or copied):
                raise Broken(f"{outcome.value} was answered, and nothing is on disk: {attempt}")
            # Where one was deleted, that may be what the answer is about.
            seen = self._ever if record.identity in self._departed else held
            if outcome is Outcome.DUPLICATE and seen[record.identity] == {record.id}:
                raise Broken(f"an event was refused as a duplicate of itself: {attempt}")

    def erased(self, before: int, wanted: Selection, folder: Path) -> None:
        """Judge a prune that has ended; the first *before* attempts had been sent when it began."""
        held = self.observe(folder)
        chosen = [
            one
            for one in self.sent.values()
            if one.number < before and prunable(one.record, wanted, 1 << 62)
        ]
        for one in chosen:
            if one.record.id in held.get(one.record.identity, ()):
                raise Broken(f"a prune has left {one}")
        self._erased.update(one.record.id for one in chosen)
        # Other attempts may have the same text: they were received later, or are sent now.
        texts = {one.record.data for one in chosen if one.record.id not in self._by_retention}
        texts -= {
            one.record.data for one in self.sent.values() if one.record.id not in self._erased
        }
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        for text in texts:
            mark = text[: text.index(MARK_END) + 1].encode()
            if found := [name for name, content in files.items() if mark in content]:
                raise Broken(f"{text[:40]} was erased and is in {found}")

    def judge(self, folder: Path) -> None:
        """Judge the files at the end, when everything has been drained."""
        held = self.observe(folder)
        lost = [
            one
            for one in self.sent.values()
            if one.outcome
            and one.record.identity not in held
            and one.record.identity not in self._departed
        ]
        if lost:
            raise Broken(f"acknowledged and lost: {lost[0]}")

    @property
    def deleted(self) -> int:
        """How many events were deleted, by retention or a prune."""
        return len(self._deleted)

    def judge_counts(self, folder: Path, *, exact: bool) -> None:
        """Judge what the store has counted: never too much, and all of it if nothing failed."""
        with closing(sqlite3.connect(folder / "events.db")) as connection:
            counted = dict(connection.execute(_COUNTED))
        for outcome in Outcome:
            found, told = counted.get(outcome.value, 0), self.answers[outcome.value]
            if found > told or (exact and found < told):
                raise Broken(f"{told} were told that they are {outcome.value}, {found} counted")


_COUNTED = "SELECT outcome, sum(count) FROM tally GROUP BY outcome"


def judge_keys(folder: Path, run_keys: int) -> None:
    """Judge how many keys are in no run, and the size of each run."""
    with closing(sqlite3.connect(folder / "events.db")) as connection:
        [(unsealed,)] = connection.execute(_UNSEALED)
        [(largest,)] = connection.execute(_LARGEST_RUN)
    if unsealed > 3 * run_keys + 64:
        raise Broken(f"{unsealed} keys are in no run")
    if largest > 16 * 2 * run_keys:
        raise Broken(f"a run of {largest // 16} keys")


_UNSEALED = """
SELECT count(*) FROM event
WHERE key IS NOT NULL AND seq > (SELECT coalesce(max(last_seq), 0) FROM sealed_run)
"""
_LARGEST_RUN = """
SELECT coalesce(max(size), 0) FROM (SELECT sum(length(keys)) AS size FROM key_run GROUP BY run)
"""


def _rows(folder: Path) -> list[Row]:
    # A process may have died before it had made its tables.
    with suppress(sqlite3.Error), closing(_reading(folder / "events.db")) as connection:
        return connection.execute("SELECT seq, id, key, data FROM event").fetchall()
    return []


def _runs(folder: Path) -> dict[int, int]:
    """The last sequence of each sealed run of keys."""
    with suppress(sqlite3.Error), closing(_reading(folder / "events.db")) as connection:
        return dict(connection.execute("SELECT run, last_seq FROM sealed_run"))
    return {}


def _spooled(folder: Path) -> set[bytes]:
    """The ids of the records that wait in the spool."""
    with suppress(sqlite3.Error), closing(_reading(folder / "spool.db")) as connection:
        return {_DECODE(blob).id for (blob,) in connection.execute("SELECT record FROM spooled")}
    return set()


def _reading(path: Path) -> sqlite3.Connection:
    """A connection that leaves the files as they are."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)


_DECODE = msgspec.msgpack.Decoder(EventRecord).decode
