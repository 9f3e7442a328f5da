"""Copies of SQLite files, made beside whoever writes them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway import files
from gateway.care import Copied, Progress
from gateway.errors import Damaged, StoreError
from gateway.stores.care.reading import integrity, snapshot
from gateway.stores.database import uri_of

_PAGES = 1000
"""Pages of a step of a copy: 8 MB. Others can use the disk between two steps."""


def copy(source: Path, target: Path, progress: Progress) -> None:
    """Write what is committed in *source* into the new file *target*, durably.

    The copy is one file, without a WAL.

    Raises:
        StoreError: *source* cannot be read, or *target* cannot be written.
    """

    def told(_: int, remaining: int, total: int) -> None:
        progress(f"{source.name}: copy", total - remaining, total)

    try:
        files.create(target)
        # With one snapshot for all steps, what is written meanwhile does not start it again.
        with snapshot(source) as db, closing(sqlite3.connect(target)) as made:
            # The file is worthless until it is complete, so nothing has to be durable before.
            made.execute("PRAGMA synchronous=OFF")
            db.backup(made, pages=_PAGES, progress=told)
            made.execute("PRAGMA journal_mode=DELETE")
        files.sync(target)
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}") from error


def examine(path: Path, role: str, counts: str, progress: Progress) -> Copied:
    """Read a copy back; *counts* selects the number of its records and the last sequence.

    Raises:
        Damaged: SQLite finds something wrong with it.
    """
    sha256 = files.digest(path, progress)
    progress(f"{path.name}: check", 0, 1)
    try:
        # immutable: the copy is read as it is, and no file is made beside it.
        uri = f"{uri_of(path, 'ro')}&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            if faults := integrity(db):
                raise Damaged(f"{path}: {faults[0]}")
            [(records, last)] = db.execute(counts)
    except sqlite3.Error as error:
        raise Damaged(f"{path}: {error}") from error
    progress(f"{path.name}: check", 1, 1)
    return Copied(role, path.name, path.stat().st_size, sha256, records, last)
