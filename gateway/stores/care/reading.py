"""Connections of commands to files that a gateway may be writing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.errors import StoreError
from gateway.stores.database import uri_of


@contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the file as it is now, whatever is written meanwhile.

    It never checkpoints. What is written meanwhile stays in the WAL until this ends.

    Raises:
        StoreError: the file cannot be read.
    """
    try:
        with closing(sqlite3.connect(uri_of(path, "ro"), uri=True, isolation_level=None)) as db:
            db.execute("BEGIN")
            # The first statement that reads decides what is seen.
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            yield db
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def integrity(db: sqlite3.Connection, limit: int = 20) -> list[str]:
    """What SQLite finds wrong with a database, *limit* faults at most; nothing if it is sound."""
    try:
        rows = db.execute(f"PRAGMA integrity_check({limit:d})").fetchall()
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if rows == [("ok",)] else [str(row[0]) for row in rows]
