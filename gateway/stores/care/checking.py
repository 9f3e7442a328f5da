"""What `verify` looks for in any SQLite file of the gateway."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway import files
from gateway.care import Finding, Progress
from gateway.errors import StoreError
from gateway.stores.care.reading import integrity
from gateway.stores.schema import schema_faults

_MAX_FAULTS = 20
LIMITS = (
    "SQLite keeps no checksums of pages: bytes that changed within a text or a key, so that the "
    "file is still well-formed, are found in no file. The SHA-256 of a backup finds them there."
)


def check_files(path: Path) -> Iterator[Finding]:
    """Whether the database and its WAL belong together, before SQLite opens anything."""
    wal = files.beside(path, "-wal")
    size, waiting = (one.stat().st_size if one.exists() else None for one in (path, wal))
    if waiting and not size:
        what = "empty" if size == 0 else "missing"
        message = f"holds {waiting:,} bytes of events, but its database is {what}"
        yield Finding("bad", str(wal), message)
    elif size is None:
        yield Finding("bad", str(path), "there is no such file")
    elif size == 0:
        yield Finding("bad", str(path), "is empty")


def check_database(
    db: sqlite3.Connection, path: Path, scripts: Sequence[str], progress: Progress
) -> Iterator[Finding]:
    """Whether SQLite finds the file well-formed, and whether it has the gateway's tables."""
    progress(f"{path.name}: integrity", 0, 1)
    faults = integrity(db, _MAX_FAULTS)
    progress(f"{path.name}: integrity", 1, 1)
    yield from (Finding("bad", str(path), fault) for fault in faults)
    if not faults:
        yield Finding("ok", str(path), "every page and index is well-formed")
    try:
        wrong = schema_faults(db, scripts)
    except sqlite3.Error as error:
        wrong = [str(error)]
    yield from (Finding("bad", str(path), fault) for fault in wrong)


def unreadable(path: Path, error: StoreError | sqlite3.Error) -> Finding:
    """The finding that a file cannot be read."""
    return Finding("bad", str(path), str(error).removeprefix(f"{path}: "))
