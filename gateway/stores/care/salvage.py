"""What can be read of a damaged store, copied into a new one.

Events are read by ranges of sequences. A range that cannot be read is halved, until what
is unreadable is known to a single event. Pages are not searched for rows that no index
leads to: they may be of events that were deleted.
"""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from gateway import files
from gateway.care import Progress, Salvaged
from gateway.errors import StoreError
from gateway.stores.care.keychecks import sound_run
from gateway.stores.database import uri_of
from gateway.stores.schema import as_newest, migrations

_PAGE = 500
_WIDE = 1 << 16
"""A range that is wider is given up if nothing in it can be read at `_PROBES` places."""

_PROBES = 16
_SMALLEST_ROW = 50
"""Bytes of the smallest event, to bound how many a file holds."""

_EVENTS = """
SELECT seq, id, stream, key, time, received_at, type, subject, client_address, data, sender
FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?
"""
_ADD = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Where the last sequence may be read, if the end of the table of events cannot.
_LAST_EVENT = "SELECT coalesce(max(seq), 0) FROM event"
_LASTS = (
    "SELECT seq FROM trimmed",
    "SELECT coalesce(max(last_seq), 0) FROM sealed_run",
    "SELECT coalesce(max(seq), 0) FROM quarantine",
)
_QUARANTINE = """
INSERT INTO quarantine (seq, key)
SELECT min(seq), event.key FROM event JOIN stream ON stream.id = event.stream
WHERE kind = 'rejected' GROUP BY coalesce(event.key, event.id)
"""
_REPEATS = "SELECT repeats, last_seen, seq FROM quarantine WHERE repeats > 0"
_REPEATED = "UPDATE quarantine SET repeats = ?, last_seen = ? WHERE seq = ?"
_RUNS = "SELECT run, last_seq FROM sealed_run WHERE last_seq < ?"
_TABLES = {
    "stream": "SELECT id, dialect, tenant, kind FROM stream",
    "sender": "SELECT id, credential, user_agent FROM sender",
    "count_series": "SELECT id, dialect, tenant, kind, outcome FROM count_series",
    "minute_count": "SELECT minute, series, count FROM minute_count",
    "hour_count": "SELECT hour, series, count FROM hour_count",
    "day_count": "SELECT day, series, count FROM day_count",
    "document": "SELECT dialect, tenant, name, body, modified FROM document",
}

Row = tuple[Any, ...]  # Any: the columns of a table


def salvage(old: Path, new: Path, progress: Progress) -> Salvaged:
    """Copy what can be read of the store *old* into a new store, *new*.

    Raises:
        StoreError: *old* cannot be opened, or *new* exists or cannot be written.
    """
    try:
        files.create(new)
        files.hand_over(new)
        with (
            closing(sqlite3.connect(uri_of(old, "ro"), uri=True, isolation_level=None)) as source,
            closing(sqlite3.connect(new, isolation_level=None)) as target,
        ):
            [(version,)] = source.execute("PRAGMA user_version")
            source.executescript(as_newest(version))
            source.execute("BEGIN")
            target.execute("PRAGMA page_size=8192")
            for number, script in enumerate(migrations(), start=1):
                target.executescript(f"BEGIN;{script};PRAGMA user_version={number:d};COMMIT;")
            # Nothing can be done where the schema cannot be read.
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            size = old.stat().st_size + _size_of_wal(old)
            found = _Salvage(source, target, new, progress).run(size)
        files.sync(new)
        files.sync(new.parent)
    except FileExistsError as error:
        raise StoreError(f"{new}: is there already") from error
    except (OSError, sqlite3.Error) as error:
        new.unlink(missing_ok=True)
        raise StoreError(f"{old}: {error}") from error
    return found


def _size_of_wal(path: Path) -> int:
    wal = files.beside(path, "-wal")
    return wal.stat().st_size if wal.exists() else 0


class _Salvage:
    def __init__(
        self, source: sqlite3.Connection, target: sqlite3.Connection, new: Path, progress: Progress
    ) -> None:
        self._source = source
        self._target = target
        self._new = new
        self._progress = progress
        self._streams: set[int] = set()
        self._senders: set[int] = set()
        self._records = 0
        self._unreadable: list[tuple[int, int]] = []

    def run(self, size: int) -> Salvaged:
        """Copy the small tables, then the events of a file of *size* bytes."""
        last = self._last(size)
        self._target.execute("BEGIN")
        tables = {name: self._copy(name) for name in _TABLES}
        self._streams = {row[0] for row in self._target.execute("SELECT id FROM stream")}
        self._senders = {row[0] for row in self._target.execute("SELECT id FROM sender")}
        self._range(1, last, last)
        self._target.execute(_QUARANTINE)
        with suppress(sqlite3.DatabaseError):
            self._target.executemany(_REPEATED, self._source.execute(_REPEATS).fetchall())
        self._target.execute("UPDATE trimmed SET seq = ?", (last,))
        self._copy_runs()
        self._target.execute("COMMIT")
        return Salvaged(
            path=str(self._new.absolute()),
            records=self._records,
            documents=tables["document"],
            lost=sum(end - first + 1 for first, end in self._unreadable),
            unreadable=self._unreadable,
            next_sequence=last + 1,
        )

    def _last(self, size: int) -> int:
        """The last sequence that may have been given."""
        lasts = [_first_value(self._source, sql) for sql in _LASTS]
        known = max(value or 0 for value in lasts)
        newest = _first_value(self._source, _LAST_EVENT)
        return known + size // _SMALLEST_ROW if newest is None else max(known, newest)

    def _copy_runs(self) -> None:
        """Copy the runs of keys of events that are no longer there; others are made from events."""
        [(first,)] = self._target.execute("SELECT coalesce(min(seq), 1 << 62) FROM event")
        with suppress(sqlite3.DatabaseError):
            for run, last_seq in self._source.execute(_RUNS, (first,)).fetchall():
                self._copy_run(run, last_seq)

    def _copy_run(self, run: int, last_seq: int) -> None:
        with suppress(sqlite3.DatabaseError):
            if parts := sound_run(self._source, run):
                rows = [(run, bucket, keys) for bucket, keys in parts]
                self._target.executemany("INSERT INTO key_run VALUES (?, ?, ?)", rows)
                self._target.execute(
                    "INSERT INTO sealed_run (run, last_seq) VALUES (?, ?)", (run, last_seq)
                )

    def _copy(self, table: str) -> int:
        """Copy the rows of a small table as far as they can be read."""
        copied = 0
        with suppress(sqlite3.DatabaseError):
            for row in self._source.execute(_TABLES[table]):
                marks = ",".join("?" * len(row))
                copied += self._target.execute(
                    f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row
                ).rowcount
        return copied

    def _range(self, first: int, last: int, end: int) -> None:
        while first <= last:
            try:
                rows = self._source.execute(_EVENTS, (first, last, _PAGE)).fetchall()
            except (sqlite3.DatabaseError, UnicodeError):
                break
            self._keep(rows)
            self._progress("events", min(first, end), end)
            if len(rows) < _PAGE:
                return
            first = rows[-1][0] + 1
        if first == last or (last - first > _WIDE and self._is_dead(first, last)):
            self._lose(first, last)
        elif first < last:
            middle = (first + last) // 2
            self._range(first, middle, end)
            self._range(middle + 1, last, end)

    def _is_dead(self, first: int, last: int) -> bool:
        step = (last - first) // _PROBES
        for seq in range(first, last + 1, step):
            with suppress(sqlite3.DatabaseError, UnicodeError):
                self._source.execute(_EVENTS, (seq, last, 1)).fetchall()
                return False
        return True

    def _keep(self, rows: list[Row]) -> None:
        sound = []
        for row in rows:
            if _sound(row, self._streams):
                sound.append((*row[:-1], row[-1] if row[-1] in self._senders else None))
            else:
                self._lose(row[0], row[0])
        self._target.executemany(_ADD, sound)
        self._records += len(sound)

    def _lose(self, first: int, last: int) -> None:
        if self._unreadable and self._unreadable[-1][1] == first - 1:
            first = self._unreadable.pop()[0]
        self._unreadable.append((first, last))


def _sound(row: Row, streams: set[int]) -> bool:
    """Whether a row is what the gateway writes: damage may hide in a well-formed page."""
    _, record_id, stream, key, time, received_at, kind, subject, address, data, _ = row
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.MsgspecError, TypeError, UnicodeError):
        return False
    return (
        isinstance(record_id, bytes)
        and len(record_id) == 16
        and (key is None or (isinstance(key, bytes) and len(key) == 16))
        and stream in streams
        and isinstance(time, int)
        and isinstance(received_at, int)
        and all(isinstance(text, str) for text in (kind, address))
        and (subject is None or isinstance(subject, str))
    )


def _first_value(db: sqlite3.Connection, sql: str) -> int | None:
    try:
        [(value,)] = db.execute(sql)
    except sqlite3.DatabaseError:
        return None
    return int(value)
