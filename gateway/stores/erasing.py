"""Erases events from an SQLite file, so that no byte of them remains in it.

SQLite overwrites what it deletes, but copies of a row may be left in the unused parts of
pages: of its own page, and of those beside it, from which rows were once moved. So the rows
that go are overwritten in their place. Then all rows around them are deleted, which
overwrites the pages that become free. The pages at both ends do not become free: small rows
fill their unused parts for a moment. Then the rows around are inserted again. In the end
the free pages are overwritten, and the WAL is emptied. All that happens in steps, between
transactions of events.
"""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gateway.care import Progress
from gateway.record import Kind, clock
from gateway.store import Selection
from gateway.stores.blocks import BLOCK
from gateway.stores.chosen import check_time, streams_of, value_of
from gateway.stores.database import Database
from gateway.stores.forgetting import Remains
from gateway.stores.mentions import mentions
from gateway.stores.statements import in_transaction

_SCANNED = 4000
"""Rows that are looked at in one step."""

_ROWS, _BYTES = 500, 1 << 19
"""The rows of a step that erases, and about how many bytes of text they have."""

_AROUND, _MOST_AROUND = 1 << 16, 1 << 21
"""Bytes of text before and after them that are written anew: at least some pages on each side."""

_FILLERS, _FILLED = 750, 24_000
"""Rows that fill unused parts of pages, and how many bytes they have, at each end."""

_BLANK = 128
"""Free pages that are overwritten in one step."""

_BREATH = 0.005
"""Seconds between two steps, in which events are stored."""

_WANTED = """received_at < :until AND stream IN (SELECT value FROM json_each(:streams))
AND (:subject IS NULL OR subject = :subject
    OR stream IN (SELECT value FROM json_each(:rejected)) AND mentions(data, :subject))"""
_FIRST = f"""
SELECT min(CASE WHEN {_WANTED} THEN seq END), max(seq)
FROM (SELECT * FROM event WHERE seq > :after ORDER BY seq LIMIT {_SCANNED})
"""
_FOUND = f"SELECT seq FROM event WHERE seq BETWEEN :first AND :last AND {_WANTED}"
_SIZES = "SELECT seq, length(data) FROM event WHERE seq {} ? ORDER BY seq {} LIMIT ?"
_GONE = "(SELECT value FROM json_each(:gone))"
_LOOSEN = f"""
INSERT OR IGNORE INTO loose_key SELECT seq, event.key
FROM event CROSS JOIN stream ON stream.id = event.stream
WHERE seq IN {_GONE} AND seq > :sealed AND event.key IS NOT NULL AND kind <> 'rejected'
"""
_DEPARTED = f"SELECT id, key FROM event WHERE seq IN {_GONE} AND seq > :attempted"
# Of the same lengths: then a row is overwritten where it is.
_OVERWRITE = f"""
UPDATE event SET id = zeroblob(length(id)), key = iif(key IS NULL, NULL, zeroblob(length(key))),
    {
    ", ".join(
        f"{name} = iif({name} IS NULL, NULL, CAST(zeroblob(length(CAST({name} AS BLOB))) AS TEXT))"
        for name in ("type", "subject", "client_address", "data")
    )
}
WHERE seq IN {_GONE}
"""
_CLEAR = "DELETE FROM event WHERE seq BETWEEN :start AND :end"
_FILL = """
WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :fillers)
INSERT INTO event (seq, id, stream, time, received_at, type, client_address, data)
SELECT {}, x'', (SELECT min(id) FROM stream), 0, 0, '', '', CAST(zeroblob(:filler) AS TEXT)
FROM number
"""
_ANEW = (
    f"INSERT INTO temp.around SELECT * FROM event "
    f"WHERE seq BETWEEN :start AND :end AND seq NOT IN {_GONE}",
    _CLEAR,
    _FILL.format(":start + n"),
    _FILL.format(":end - n"),
    _CLEAR,
    "INSERT INTO event SELECT * FROM temp.around",
    "DELETE FROM temp.around",
    # Its hashes are of subjects too. They are made again, from there on.
    f"DELETE FROM block WHERE number >= :start / {BLOCK}",
    f"DELETE FROM quarantine WHERE seq IN {_GONE}",
    "UPDATE trimmed SET seq = max(seq, :last)",
    "UPDATE prune SET events = events + :count, last_seq = :last WHERE id = :record",
)
_RECORD = """
INSERT INTO prune (cause, began, events, last_seq, dialect, tenant, kind, subject_digest, before)
VALUES ('request', ?, 0, 0, ?, ?, ?, ?, ?)
"""


class Found(NamedTuple):
    """The ids and keys of events of the last append that were erased."""

    departed: list[tuple[bytes, bytes | None]]
    more: bool


class Eraser:
    """Erases what *wanted* selects. Everything happens on the thread of the connection."""

    def __init__(self, db: sqlite3.Connection, wanted: Selection, now: int) -> None:
        """Note in the store that it begins.

        Raises:
            StoreError: the store has no such tenant, dialect or kind, or nothing so old.
        """
        db.create_function("mentions", 2, mentions, deterministic=True)
        streams = streams_of(db, wanted)
        until = now if wanted.until is None else min(wanted.until, now)
        check_time(db, until)
        self.events = 0
        self._wanted: dict[str, Any] = {
            "until": until,
            "subject": wanted.subject,
            "streams": json.dumps([number for number, _ in streams]),
            "rejected": json.dumps([one for one, kind in streams if kind == Kind.REJECTED]),
        }
        self._remains = Remains(wanted, until)
        self._after = 0
        self.end = value_of(db, "SELECT coalesce(max(seq), 0) FROM event")
        db.execute("CREATE TEMP TABLE IF NOT EXISTS around AS SELECT * FROM event WHERE 0")
        digest = wanted.subject and hashlib.sha256(wanted.subject.encode()).hexdigest()
        names = wanted.dialect, wanted.tenant, wanted.kind, digest
        in_transaction(db, lambda: db.execute(_RECORD, (now, *names, until)))
        self._record = value_of(db, "SELECT last_insert_rowid()")

    @property
    def seen(self) -> int:
        """The sequence up to which the store was searched."""
        return self._after

    def step(self, db: sqlite3.Connection, sealed: int, attempted: int) -> Found:
        """Search some rows, or erase some.

        Raises:
            StoreError, sqlite3.Error: nothing was erased, or that is unknown.
        """
        values = {**self._wanted, "after": self._after}
        [(first, last)] = db.execute(_FIRST, values).fetchall()
        if first is None:
            if last is not None:
                self._remains.note(db, self._after, last)
            self._after = last or self._after
            return Found([], last is not None)
        rows = db.execute(_SIZES.format(">=", "ASC"), (first, _ROWS)).fetchall()
        last = _reach(rows, _BYTES, 1)
        gone = [seq for (seq,) in db.execute(_FOUND, {**values, "first": first, "last": last})]
        before = db.execute(_SIZES.format("<", "DESC"), (first, _ROWS)).fetchall()
        behind = db.execute(_SIZES.format(">", "ASC"), (last, _ROWS)).fetchall()
        # Where nothing follows or comes before, there is room for what fills pages.
        start = _reach(before, _AROUND, _FILLERS) or max(1, first - _FILLERS)
        end = _reach(behind, _AROUND, _FILLERS) or last + _FILLERS
        fillers = min(_FILLERS, (end - start) // 2)
        limits = {
            "start": start,
            "end": end,
            "fillers": fillers,
            "filler": _FILLED // fillers - 20 if fillers < _FILLERS else 12,
            "gone": json.dumps(gone),
            "count": len(gone),
            "last": gone[-1],
            "record": self._record,
            "sealed": sealed,
            "attempted": attempted,
        }
        with _thorough(db):
            departed = in_transaction(db, lambda: _rewrite(db, limits))
        self.events += len(gone)
        self._remains.note(db, self._after, last)
        self._after = last
        return Found(departed, True)

    def forget(self, db: sqlite3.Connection) -> int:
        """Erase what else is only of those who have no events left; return how many documents."""
        # What was stored since the last step.
        self._remains.note(db, self._after, 1 << 62)
        with _thorough(db):
            return self._remains.forget(db)

    def overwrite(self, db: sqlite3.Connection) -> bool:
        """Overwrite some free pages; False once there are none."""
        free, size = (value_of(db, f"PRAGMA {what}") for what in ("freelist_count", "page_size"))
        if not free:
            return False
        taken = min(free, _BLANK) * (size - 4)
        sql = "INSERT INTO blank (zeros) VALUES (zeroblob(?))"
        in_transaction(db, lambda: db.execute(sql, (taken,)))
        return True

    def release(self, db: sqlite3.Connection) -> bool:
        """Give some of the overwritten pages back; False once that is done."""
        sql = "DELETE FROM blank WHERE id = (SELECT max(id) FROM blank)"
        # The last page of each row was overwritten only in part.
        with _thorough(db):
            return in_transaction(db, lambda: db.execute(sql)).rowcount > 0

    def finish(self, db: sqlite3.Connection, now: int) -> None:
        """Note in the store that it ended."""
        sql = "UPDATE prune SET ended = ? WHERE id = ?"
        in_transaction(db, lambda: db.execute(sql, (now, self._record)))
        db.execute("DROP TABLE temp.around")


async def erase(
    database: Database,
    wanted: Selection,
    marks: Callable[[], tuple[int, int]],
    departed: Callable[[Sequence[tuple[bytes, bytes | None]]], object],
    renumbered: Callable[[], object],
    progress: Progress,
) -> tuple[int, int]:
    """Erase what *wanted* selects; return how many events and documents that were.

    *marks* is called before each step, and says up to which sequence keys are in runs, and
    after which one the last append began. *departed* is told the ids and keys of events of
    the last append. *renumbered* is called when numbers of streams, senders and series may
    mean something else from now on.

    Raises:
        StoreError: it is not complete.
    """
    eraser = await database.run(lambda db: Eraser(db, wanted, clock()))

    def step(db: sqlite3.Connection) -> bool:
        found = eraser.step(db, *marks())
        departed(found.departed)
        return found.more

    while await database.run(step):
        progress("events", min(eraser.seen, eraser.end), eraser.end)
        await asyncio.sleep(_BREATH)

    def forget(db: sqlite3.Connection) -> int:
        try:
            return eraser.forget(db)
        finally:
            renumbered()

    documents = await database.run(forget)
    await _all(database, eraser.overwrite)
    await _all(database, eraser.release)
    await database.run(lambda db: eraser.finish(db, clock()))
    await database.empty_wal()
    return eraser.events, documents


async def _all(database: Database, step: Callable[[sqlite3.Connection], bool]) -> None:
    more = True
    while more:
        more = await database.run(step)
        await asyncio.sleep(_BREATH)


def left_over(path: Path, wanted: Selection) -> list[str]:
    """What may still have what was erased from the store at *path*, or names its owner."""
    found = {
        "a rotated store": path.parent.glob(f"{path.stem}-*{path.suffix}"),
        "replaced by a restore": path.parent.glob("replaced-*"),
    }
    left = sorted(f"{one}: {what}" for what, some in found.items() for one in some)
    if wanted.tenant is not None:
        left.append(f"{path}: the record of this command names the tenant")
    return left


@contextmanager
def _thorough(db: sqlite3.Connection) -> Iterator[None]:
    """Pages that become free are overwritten."""
    db.execute("PRAGMA secure_delete=ON").fetchall()
    try:
        yield
    finally:
        db.execute("PRAGMA secure_delete=FAST").fetchall()


def _rewrite(db: sqlite3.Connection, limits: dict[str, Any]) -> list[tuple[bytes, bytes | None]]:
    db.execute(_LOOSEN, limits)
    departed = db.execute(_DEPARTED, limits).fetchall()
    db.execute(_OVERWRITE, limits)
    for sql in _ANEW:
        db.execute(sql, limits)
    return departed


def _reach(rows: Sequence[tuple[int, int]], size: int, span: int) -> int:
    """The sequence with which *rows* have *size* bytes and *span* sequences, or of the last one.

    With a lot of bytes fewer sequences are enough.
    """
    reached = total = 0
    for seq, length in rows:
        reached, total = seq, total + length
        if total >= size and (abs(seq - rows[0][0]) >= span or total >= _MOST_AROUND):
            break
    return reached
