"""Records as rows of the table ``event``, and the numbers of what many rows have in common."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from gateway.record import EventRecord, Kind, Outcome
from gateway.stores.shares import Rejected
from gateway.stores.statements import in_transaction, insert_many, insert_statements

_COLUMNS, _STREAM, _DATA = 11, 2, 9
_APPEND = insert_statements(
    "event (seq, id, stream, key, time, received_at, type, subject, client_address, data, sender)",
    _COLUMNS,
)
_STREAMS = "SELECT dialect, tenant, kind, id FROM stream"
_NEW_STREAM = "INSERT INTO stream (dialect, tenant, kind) VALUES (?, ?, ?)"


class Streams:
    """The numbers of streams: few rows, each interned when its first record comes."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str, str], int] = {}
        """The number of each stream by dialect, tenant and kind."""

    def learn(self, db: sqlite3.Connection, records: Sequence[EventRecord]) -> None:
        """Know the streams of *records*; those that are new get their numbers first."""
        wanted = {(r.dialect, r.tenant, r.kind) for r in records}
        if wanted <= self.known.keys():
            return

        def work() -> list[tuple[str, str, str, int]]:
            known = {row[:3] for row in db.execute(_STREAMS)}
            db.executemany(_NEW_STREAM, sorted(wanted - known))
            return db.execute(_STREAMS).fetchall()

        self.known.update((row[:3], row[3]) for row in in_transaction(db, work))


def split_duplicates(
    records: Sequence[EventRecord], held: set[bytes], own: Set[bytes]
) -> tuple[Sequence[int], list[Outcome]]:
    """Return the indexes of the records to insert, and the outcome of each record.

    *held* are those of the records' keys that are stored, and gains the others. *own*
    are ids that an earlier attempt of ours has stored.
    """
    outcomes = [Outcome.STORED] * len(records)
    keys = [record.key for record in records if record.key is not None]
    # The usual case: no key is stored, and none occurs twice in the call.
    if not held and len(set(keys)) == len(keys) and own.isdisjoint(r.id for r in records):
        return range(len(records)), outcomes
    fresh: list[int] = []
    for at, record in enumerate(records):
        if record.id in own:
            continue
        if record.key is not None:
            if record.key in held:
                outcomes[at] = Outcome.DUPLICATE
                continue
            held.add(record.key)
        fresh.append(at)
    return fresh, outcomes


class Rows(NamedTuple):
    """The rows of one transaction, all their columns one behind the other.

    `keys` are those of events; `last` is the sequence of the last row.
    """

    values: Sequence[Any]  # Any: columns of several types
    keys: Sequence[bytes]
    rejected: Sequence[Rejected]
    last: int

    @property
    def sequences(self) -> Sequence[int]:
        """The sequence of each row."""
        return self.values[::_COLUMNS]

    @property
    def streams(self) -> Sequence[int]:
        """The stream of each row."""
        return self.values[_STREAM::_COLUMNS]

    @property
    def data(self) -> Sequence[str]:
        """The data of each row."""
        return self.values[_DATA::_COLUMNS]

    def insert(self, db: sqlite3.Connection) -> None:
        """Insert them, in a transaction of the caller."""
        insert_many(db, _APPEND, self.values, _COLUMNS)


def rows_of(
    records: Sequence[EventRecord],
    chosen: Iterable[int],
    streams: Mapping[tuple[str, str, str], int],
    senders: Mapping[str | None, int | None],
    last: int,
) -> Rows:
    """Make rows of the *chosen* of *records*, after sequence *last*.

    *streams* and *senders* are the numbers of streams and senders.

    Raises:
        KeyError: a stream or a sender has no number.
    """
    keys: list[bytes] = []
    rejected: list[Rejected] = []
    values: list[Any] = []
    seq = last
    dialect = tenant = kind = sender = None
    stream, number, is_rejected = 0, None, False
    for at in chosen:
        r = records[at]
        seq += 1
        # The records of a request have these texts in common: the same objects, mostly.
        if r.kind is not kind or r.tenant is not tenant or r.dialect is not dialect:
            dialect, tenant, kind = r.dialect, r.tenant, r.kind
            stream, is_rejected = streams[dialect, tenant, kind], kind == Kind.REJECTED
        if r.sender is not sender:
            sender = r.sender
            number = senders[sender]
        if is_rejected:
            size = len(r.data.encode("utf-8", "surrogatepass"))
            rejected.append(Rejected(seq, r.key, stream, size))
        elif r.key is not None:
            keys.append(r.key)
        values += (
            seq,
            r.id,
            stream,
            r.key,
            r.time,
            r.received_at,
            r.type,
            r.subject,
            r.client_address,
            r.data,
            number,
        )
    return Rows(values, keys, rejected, seq)
