"""Care for a store's SQLite file."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from gateway import files
from gateway.care import Copied, Finding, Progress, Restored, Salvaged
from gateway.errors import StoreError
from gateway.record import clock
from gateway.stores.care.checking import LIMITS, check_database, check_files, unreadable
from gateway.stores.care.countchecks import check_counts
from gateway.stores.care.database import DatabaseCare, Settled
from gateway.stores.care.engine import examine_sqlite
from gateway.stores.care.keychecks import check_filters, check_keys, drop_runs
from gateway.stores.care.reading import snapshot
from gateway.stores.care.salvage import salvage
from gateway.stores.keys import KeyIndex
from gateway.stores.replacing import finish, list_beside, replace
from gateway.stores.schema import migrations
from gateway.stores.statements import in_transaction

LAST = "SELECT max((SELECT coalesce(max(seq), 0) FROM event), (SELECT seq FROM trimmed))"

_INTERRUPTED = (
    "A gateway restore was interrupted. Start the gateway: it finishes that first. So does the "
    "next gateway restore."
)
_WITH_KEY = """
SELECT count(*) FROM event JOIN stream ON stream.id = event.stream
WHERE event.key IS NOT NULL AND kind <> 'rejected'
"""
# What must not be there, and since which version of the schema it can be asked.
_ROWS = {
    "SELECT count(*) FROM event WHERE length(id) <> 16 OR length(key) <> 16": (
        "events have an id or a key of a wrong length",
        1,
    ),
    "SELECT count(*) FROM event WHERE stream NOT IN (SELECT id FROM stream)": (
        "events are of a tenant that is not in the table stream",
        1,
    ),
    "SELECT count(*) FROM event WHERE sender NOT IN (SELECT id FROM sender)": (
        "events are of a sender that is not in the table sender",
        2,
    ),
    "SELECT count(*) FROM quarantine WHERE seq NOT IN (SELECT seq FROM event)": (
        "quarantined events are missing",
        1,
    ),
}


class SqliteCare(DatabaseCare):
    """See `gateway.care.StoreCare`."""

    role = "store"
    counts = f"SELECT count(*), ({LAST}) FROM event"

    def settle(self, db: sqlite3.Connection, copied: Copied, made_at: int) -> Settled:
        """Go on numbering after the last sequence that may have been given."""
        note = None
        try:
            with snapshot(self.path) as former:
                [(last,)] = former.execute(LAST)
        except StoreError as error:
            # No gateway stores more than one event in a microsecond.
            last = copied.last_sequence + max(0, clock() - made_at)
            note = f"The former store cannot be read ({error}), so sequences skip what it may hold."
        last = max(last, copied.last_sequence)
        db.execute("UPDATE trimmed SET seq = max(seq, ?)", (last,))
        return Settled(0, last, note)

    def backup(self, folder: Path, progress: Progress) -> Copied:
        """As `gateway.care.Care.backup`."""
        if list_beside(self.path).exists():
            # The spool may be the restored one already, and the store not yet.
            raise StoreError(_INTERRUPTED)
        return super().backup(folder, progress)

    def replace(self, prepared: Sequence[Restored]) -> None:
        """As `gateway.care.StoreCare.replace`."""
        try:
            replace(
                self.path,
                [
                    (Path(one.path), None if one.replaced is None else Path(one.replaced))
                    for one in prepared
                ],
            )
        except OSError as error:
            done = "is finished at the next start" if list_beside(self.path).exists() else "failed"
            raise StoreError(f"{self.path}: the restore {done}: {error}") from error

    def finish_replacing(self) -> None:
        """As `gateway.care.StoreCare.finish_replacing`."""
        finish(self.path)

    def verify(self, progress: Progress) -> Iterator[Finding]:
        """As `gateway.care.Care.verify`."""
        found = list(check_files(self.path))
        yield from found
        if found:
            return
        yield from self._left_over()
        try:
            with snapshot(self.path) as db:
                yield from check_database(db, self.path, migrations(), progress)
                yield from self._check_rows(db)
                yield from check_keys(db, self.path, progress)
                yield from check_filters(db, self.path, progress)
                [(last,)] = db.execute(LAST).fetchall()
                yield from check_counts(db, self.path, last)
        except (StoreError, sqlite3.Error) as error:
            yield unreadable(self.path, error)

    def _check_rows(self, db: sqlite3.Connection) -> Iterator[Finding]:
        [(version,)] = db.execute("PRAGMA user_version").fetchall()
        for sql, (fault, since) in _ROWS.items():
            [(count,)] = db.execute(sql) if version >= since else [(0,)]
            if count:
                yield Finding("bad", str(self.path), f"{count:,} {fault}")
        [(first, last, records)] = db.execute("SELECT min(seq), max(seq), count(*) FROM event")
        message = f"{records:,} events, sequences {first:,} to {last:,}" if records else "no events"
        yield Finding("ok", str(self.path), message)
        yield Finding("note", str(self.path), LIMITS)

    def _left_over(self) -> Iterator[Finding]:
        if (listed := list_beside(self.path)).exists():
            yield Finding("bad", str(listed), _INTERRUPTED)
            return
        for suffix, command in {"-next": "rotate", "-restoring": "restore"}.items():
            left = files.beside(self.path, suffix)
            if left.exists():
                message = f"was left by an interrupted gateway {command}: delete it"
                yield Finding("warning", str(left), message)
        for other in self.path.parent.glob(f"{self.path.stem}-*{self.path.suffix}"):
            if other.samefile(self.path):
                message = f"is {self.path.name} by another name, left by a rotation: delete it"
                yield Finding("warning", str(other), message)

    def examine_engine(self) -> Iterator[Finding]:
        """As `gateway.care.Care.examine_engine`."""
        return examine_sqlite()

    def recover(self, new: Path, progress: Progress) -> Salvaged:
        """As `gateway.care.StoreCare.recover`."""
        return salvage(self.path, new, progress)

    def rebuild_keys(self, progress: Progress) -> int:
        """As `gateway.care.StoreCare.rebuild_keys`."""
        if found := next(check_files(self.path), None):
            raise StoreError(f"{found.subject}: {found.message}")
        progress(f"{self.path.name}: keys", 0, 1)
        finish(self.path)
        try:
            with (
                self.exclusive(),
                closing(sqlite3.connect(self.path, isolation_level=None)) as db,
            ):
                db.execute("PRAGMA synchronous=FULL")
                in_transaction(db, lambda: drop_runs(db))
                # It makes runs of all keys that are in none.
                KeyIndex(db)
                [(count,)] = db.execute(_WITH_KEY)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error
        progress(f"{self.path.name}: keys", 1, 1)
        return int(count)
