"""The right of one process to write the files of an SQLite database."""

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

import structlog

from gateway import files
from gateway.errors import StoreError

log = structlog.get_logger()

_PART = 1 << 20


class Claim:
    """Excludes other writers, and notices when a file is lost.

    Two locks exclude others. One is on ``NAME-writer`` beside the database, which stays
    where it is. The other is on the database itself, whatever name it is opened by, in
    case the first file was removed.
    """

    def __init__(self, path: Path) -> None:
        # SQLite follows links as well, so the WAL lies beside the real file.
        self.path = Path(os.path.realpath(path))
        self.wal = self.path.with_name(f"{self.path.name}-wal")
        self.lock_file = self.path.with_name(f"{self.path.name}-writer")
        self._path_text, self._wal_text = str(self.path), str(self.wal)
        self._descriptors: list[int] = []
        self._wal_inode: int | None = None
        self._size = 0

    def take(self) -> None:
        """Exclude others and make the file if absent; ends with `release`, or the process.

        Raises:
            StoreError: another process has it, or events are in a WAL whose database is gone.
        """
        self._lock_beside()
        if _size(self.wal) and not _size(self.path):
            # SQLite would delete the WAL.
            raise StoreError(
                f"{self.path} is missing or empty, but {self.wal} holds events that belong to it. "
                f"If you moved or restored the database, put it back beside {self.wal.name}. "
                f"To begin a new one, move {self.wal.name} to where you moved the database."
            )
        self._create(self.path)
        self._lock(self.path)
        self._own = os.fstat(self._descriptors[-1])

    def write_wal_again(self) -> None:
        """Make the WAL that a former process has left durable as it is read now.

        After an fsync that failed, Linux has pages in its cache that the disk never got, and
        no later fsync writes them. SQLite would take them for events, and put new ones
        behind them.

        Raises:
            StoreError: the disk refuses; what the WAL holds may not be durable.
        """
        if not _size(self.wal):
            return
        try:
            with self.wal.open("r+b") as file:
                while part := file.read(_PART):
                    file.seek(-len(part), os.SEEK_CUR)
                    file.write(part)
                    file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{self.wal}: {error.strerror}") from error

    def exclude(self) -> None:
        """Exclude others without making the file, whatever there is; ends as `take`.

        Raises:
            StoreError: another process has it.
        """
        self._lock_beside()
        if self.path.exists():
            self._lock(self.path)

    def check(self) -> None:
        """Find out whether what is written now is in the files that have these names.

        Raises:
            StoreError: a file was removed, replaced or cut; nothing was written.
        """
        try:
            # With each commit: Path.stat costs twice as much.
            found, wal = os.stat(self._path_text), os.stat(self._wal_text)  # noqa: PTH116
        except OSError as error:
            raise self._lost(error.filename, error.strerror or "missing") from None
        if not os.path.samestat(found, self._own):
            raise self._lost(self.path, "replaced by another file")
        if found.st_size < self._size:
            raise self._lost(self.path, f"cut from {self._size} to {found.st_size} bytes")
        self._size = found.st_size
        self._wal_inode = self._wal_inode or wal.st_ino
        if wal.st_ino != self._wal_inode:
            raise self._lost(self.wal, "replaced by another file")

    def exchange(self, swap: Callable[[], object]) -> None:
        """Let *swap* put another file in the place of this one, to which no connection is open.

        Raises:
            StoreError: there is no such file afterwards, or another process has it.
        """
        os.close(self._descriptors.pop())
        self._wal_inode, self._size = None, 0
        try:
            swap()
        finally:
            self._lock(self.path)
            self._own = os.fstat(self._descriptors[-1])

    def report_wal(self) -> None:
        """Log that the WAL holds events, as when somebody reads while the gateway stops."""
        if size := _size(self.wal):
            log.warning("wal_not_emptied", file=str(self.wal), bytes=size)

    def release(self) -> None:
        """Let others write. Only after SQLite's last connection: this ends SQLite's locks too."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _lock_beside(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path.parent}: {error.strerror}") from error
        self._create(self.lock_file)
        self._lock(self.lock_file)

    def _create(self, file: Path) -> None:
        try:
            files.create(file)
        except FileExistsError:
            return
        except OSError as error:
            raise StoreError(f"{file}: {error.strerror}") from error

    def _lock(self, file: Path) -> None:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"{file}: {error.strerror}") from error
        self._descriptors.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{self.path}: in use by another process") from None
        except OSError as error:
            raise StoreError(f"{file}: {error.strerror}") from error

    def _lost(self, file: object, how: str) -> StoreError:
        return StoreError(
            f"{file}: {how} while the gateway runs. Put the file back, or restart.",
            nothing_kept=True,
        )


def _size(path: Path) -> int:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    return found.st_size if stat.S_ISREG(found.st_mode) else 1
