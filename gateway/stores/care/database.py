"""Care for one SQLite file: what a store and a spool have in common."""

import os
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from gateway import files
from gateway.care import Copied, Finding, Progress, Restored
from gateway.errors import Damaged, StoreError
from gateway.stores.care.copying import copy, examine
from gateway.stores.claim import Claim
from gateway.stores.database import uri_of
from gateway.stores.replacing import fresh_for


class Settled(NamedTuple):
    """Records kept of the former file, the last sequence that may have been given, and a note."""

    kept: int
    last_sequence: int
    note: str | None = None


class DatabaseCare(ABC):
    """Care for the file at `path`; see `gateway.care.Care`."""

    role: str
    counts: str
    """Selects the number of records and the last sequence that was given."""

    def __init__(self, path: Path) -> None:
        # A link stays one: what it leads to is replaced.
        self.path = Path(os.path.realpath(path))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """As `gateway.care.Care.exclusive`."""
        claim = Claim(self.path)
        try:
            claim.exclude()
            files.hand_over(claim.lock_file)
            yield
        finally:
            claim.release()

    def backup(self, folder: Path, progress: Progress) -> Copied:
        """As `gateway.care.Care.backup`."""
        target = folder / f"{self.role}.db"
        copy(self.path, target, progress)
        return examine(target, self.role, self.counts, progress)

    def check(self, folder: Path, copied: Copied, progress: Progress) -> None:
        """As `gateway.care.Care.check`."""
        path = folder / copied.name
        try:
            if files.digest(path, progress) != copied.sha256:
                raise Damaged(f"{path}: not the file that was backed up")
        except OSError as error:
            raise Damaged(f"{path}: {error.strerror}") from error

    def prepare(self, folder: Path, copied: Copied, made_at: int, progress: Progress) -> Restored:
        """As `gateway.care.Care.prepare`."""
        fresh = fresh_for(self.path)
        try:
            fresh.unlink(missing_ok=True)
            files.create(fresh)
            shutil.copyfile(folder / copied.name, fresh)
            files.sync(fresh)
            if files.digest(fresh, progress) != copied.sha256:
                raise Damaged(f"{fresh}: not the file that was copied")
            with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
                settled = self.settle(db, copied, made_at)
            files.hand_over(fresh)
            self._empty_wal()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self.path}: {error}") from error
        there = any(files.beside(self.path, suffix).exists() for suffix in ("", "-wal"))
        aside = files.dated(self.path.parent, f"replaced-{self.path.stem}-") if there else None
        return Restored(
            role=self.role,
            path=str(self.path.absolute()),
            records=copied.records,
            kept=settled.kept,
            next_sequence=settled.last_sequence + 1,
            replaced=str(aside.absolute()) if aside else None,
            note=settled.note,
        )

    def discard(self) -> None:
        """As `gateway.care.Care.discard`."""
        fresh_for(self.path).unlink(missing_ok=True)

    @abstractmethod
    def settle(self, db: sqlite3.Connection, copied: Copied, made_at: int) -> Settled:
        """Take over into the restored *db* what must not be lost of the former file."""

    @abstractmethod
    def verify(self, progress: Progress) -> Iterator[Finding]:
        """As `gateway.care.Care.verify`."""

    def _empty_wal(self) -> None:
        """Make the database one file, so that one step replaces all of it.

        Raises:
            StoreError: another program reads it.
        """
        busy = 0
        # A database that is damaged is moved aside together with its WAL.
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(uri_of(self.path, "rw"), uri=True)) as db,
        ):
            [(busy, _, _)] = db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise StoreError(f"{self.path}: another program has it open; end that and try again")
