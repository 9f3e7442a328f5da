"""A new store in the place of the old one, which is sealed.

The new store begins with what the old one has beside its events: the sequence to go on
from, the documents, the counts and the keys. So a late retry of an event of the old
store is still a duplicate, at 16 bytes for each event.

At every moment there is a complete store at the path. The last step replaces one by the
other.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from gateway import files
from gateway.care import Progress
from gateway.errors import StoreError
from gateway.stores.care.reading import snapshot
from gateway.stores.keys import RUN_KEYS
from gateway.stores.runs import add_run
from gateway.stores.statements import in_transaction

_RUNS = "SELECT run, last_seq FROM sealed_run ORDER BY run"
_COPY = ("INSERT INTO key_run VALUES (?, ?, ?)", "SELECT * FROM key_run WHERE run = ?")
# As in memory: keys of no run. Of the last transaction also the ids of records without a key,
# because it may be repeated.
_REST = """
SELECT coalesce(key, event.id) FROM event JOIN stream ON stream.id = event.stream
WHERE kind <> 'rejected' AND (seq > :sealed AND key IS NOT NULL OR seq > :attempted)
UNION ALL SELECT key FROM loose_key WHERE seq > :sealed
"""
_NEWEST = "SELECT coalesce(max(last_seq), 0), coalesce(max(run), -1) FROM sealed_run"

_COUNTS = {"minute": 24 * 60, "hour": 24, "day": 1}
"""Counts before the newest one that may have changed while the rest was copied, a day's."""


class Rotation:
    """One rotation of the store at *path*: `prepare`, then `finish` and `swap`."""

    def __init__(self, path: Path, migrations: Sequence[str], page_size: int = 8192) -> None:
        self._path = path
        self._next = files.beside(path, "-next")
        self._migrations = migrations
        self._page_size = page_size
        self.sealed = files.dated(path.parent, f"{path.stem}-", path.suffix)

    def prepare(self, progress: Progress) -> None:
        """Make the new store, with the keys that are sealed now, beside whoever writes.

        Raises:
            StoreError: it cannot be made.
        """
        try:
            self._next.unlink(missing_ok=True)
            files.create(self._next)
            with self._open() as made, snapshot(self._path) as old:
                made.execute(f"PRAGMA page_size={self._page_size:d}")
                for number, script in enumerate(self._migrations, start=1):
                    made.executescript(f"BEGIN;{script};PRAGMA user_version={number:d};COMMIT;")
                _copy_runs(old, made, progress)
                in_transaction(made, lambda: _copy_counts(old, made))
            files.hand_over(self._next)
        except sqlite3.Error as error:
            raise StoreError(f"{self._next}: {error}") from error
        except OSError as error:
            raise StoreError(f"{self._next}: {error.strerror}") from error

    def finish(self, old: sqlite3.Connection, last: int, attempted_from: int) -> None:
        """Bring the new store up to date with *old*, and make that one file without a WAL.

        Raises:
            StoreError: another program reads the old store; it goes on as it is.
        """
        with self._open() as made:
            _copy_runs(old, made, lambda *_: None)
            in_transaction(made, lambda: _copy_rest(old, made, last, attempted_from))
        [(busy, _, _)] = old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            if busy:
                raise sqlite3.OperationalError("database is locked")
            old.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            old.execute("PRAGMA journal_mode=WAL")
            self._next.unlink()
            raise StoreError(
                f"{self._path}: another program has the store open; end it and try again ({error})"
            ) from error

    def swap(self) -> None:
        """Give the old file its new name, and its old name to the new one."""
        # Both names for a moment, rather than none.
        os.link(self._path, self.sealed)
        # Before its old name goes. SQLite's deleted journal must not come back beside the new one.
        files.sync(self._path.parent)
        self._next.replace(self._path)
        self.sealed.chmod(0o400)
        files.sync(self._path.parent)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._next, isolation_level=None)) as made:
            made.execute("PRAGMA synchronous=FULL")
            yield made


def _copy_runs(old: sqlite3.Connection, made: sqlite3.Connection, progress: Progress) -> None:
    copied = {run for (run,) in made.execute("SELECT run FROM sealed_run")}
    runs = [row for row in old.execute(_RUNS) if row[0] not in copied]
    for done, (run, last_seq) in enumerate(runs, start=1):

        def work(run: int = run, last_seq: int = last_seq) -> None:
            made.executemany(_COPY[0], old.execute(_COPY[1], (run,)))
            made.execute("INSERT INTO sealed_run (run, last_seq) VALUES (?, ?)", (run, last_seq))

        in_transaction(made, work)
        progress("keys", done, len(runs))


def _copy_counts(old: sqlite3.Connection, made: sqlite3.Connection) -> None:
    """Copy what was counted, but of what *made* has already only the newest."""
    made.executemany(
        "INSERT OR IGNORE INTO count_series VALUES (?, ?, ?, ?, ?)",
        old.execute("SELECT id, dialect, tenant, kind, outcome FROM count_series"),
    )
    for unit, changed in _COUNTS.items():
        [(first,)] = made.execute(
            f"SELECT coalesce(max({unit}) - ?, 0) FROM {unit}_count", (changed,)
        )
        select = f"SELECT {unit}, series, count FROM {unit}_count WHERE {unit} >= ?"
        made.executemany(
            f"REPLACE INTO {unit}_count VALUES (?, ?, ?)", old.execute(select, (first,))
        )


def _copy_rest(
    old: sqlite3.Connection, made: sqlite3.Connection, last: int, attempted_from: int
) -> None:
    made.execute("UPDATE trimmed SET seq = ?", (last,))
    _copy_counts(old, made)
    made.executemany(
        "INSERT INTO document VALUES (?, ?, ?, ?, ?)",
        old.execute("SELECT dialect, tenant, name, body, modified FROM document"),
    )
    [(sealed, run)] = old.execute(_NEWEST)
    rest = old.execute(_REST, {"sealed": sealed, "attempted": attempted_from})
    # Not the next number: the old store may have begun a run with that.
    for number, keys in enumerate(_pieces(key for (key,) in rest), start=run + 2):
        add_run(made, number, keys, last)


def _pieces(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while piece := list(islice(keys, RUN_KEYS)):
        yield piece
