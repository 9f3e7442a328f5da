"""What a gateway owes its clients, judged from outside: the answers and the files."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec

from gateway.record import EventRecord, Outcome


class Attempt(msgspec.Struct):
    """One record of one request, and what the client heard of it: None until it is answered."""

    record: EventRecord
    number: int
    outcome: Outcome | None = None


class Broken(AssertionError):
    """A promise was broken."""


class Model:
    """Knows what was sent and what was answered."""

    def __init__(self) -> None:
        self.sent: dict[bytes, Attempt] = {}
        self.by_identity: dict[bytes, list[Attempt]] = {}
        self.answers: Counter[str] = Counter()

    def send(self, records: list[EventRecord]) -> list[Attempt]:
        attempts = []
        for record in records:
            attempt = Attempt(record, len(self.sent))
            self.sent[record.id] = attempt
            self.by_identity.setdefault(record.identity, []).append(attempt)
            attempts.append(attempt)
        return attempts

    def answered(self, attempts: list[Attempt], outcomes: list[Outcome], folder: Path) -> None:
        """Judge an answer at the moment at which it is given."""
        held = _held(folder)
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            attempt.outcome = outcome
            self.answers[outcome.value] += 1
            identity = attempt.record.identity
            if identity not in held:
                raise Broken(f"{outcome.value} was answered, and nothing is on disk: {attempt}")
            if outcome is Outcome.DUPLICATE and held[identity] == {attempt.record.id}:
                raise Broken(f"an event was refused as a duplicate of itself: {attempt}")

    def judge(self, folder: Path) -> None:
        """Judge the files at the end, when everything has been drained."""
        rows = _rows(folder)
        for record_id, _, data in rows:
            if record_id not in self.sent:
                raise Broken(f"nobody sent {data}")
            if self.sent[record_id].record.data != data:
                raise Broken(f"{data} was changed")
        copies = Counter(key or record_id for record_id, key, _ in rows)
        copies += Counter(i for i, n in Counter(row[0] for row in rows).items() if n > 1)
        doubled = [identity for identity, count in copies.items() if count > 1]
        if doubled:
            raise Broken(f"stored twice: {self.by_identity.get(doubled[0], doubled[0])}")
        lost = [
            one for one in self.sent.values() if one.outcome and not copies[one.record.identity]
        ]
        if lost:
            raise Broken(f"acknowledged and lost: {lost[0]}")

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


def _rows(folder: Path) -> list[tuple[bytes, bytes | None, str]]:
    with closing(sqlite3.connect(folder / "events.db")) as connection:
        return connection.execute("SELECT id, key, data FROM event").fetchall()


def _held(folder: Path) -> dict[bytes, set[bytes]]:
    """The ids of the records that are on disk, by their identity."""
    held: dict[bytes, set[bytes]] = {}
    for record_id, key, _ in _rows(folder):
        held.setdefault(key or record_id, set()).add(record_id)
    with closing(sqlite3.connect(folder / "spool.db")) as connection:
        for (blob,) in connection.execute("SELECT record FROM spooled"):
            record = _DECODE(blob)
            held.setdefault(record.identity, set()).add(record.id)
    return held


_DECODE = msgspec.msgpack.Decoder(EventRecord).decode
