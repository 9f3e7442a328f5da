"""Files that must be on the disk, and must belong to whoever runs the gateway."""

import hashlib
import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

_CHUNK = 1 << 20


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path) -> None:
    """Make an empty file that only its owner can read, whatever the umask.

    Raises:
        FileExistsError: it is there already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def hand_over(path: Path) -> None:
    """Give *path* the owner of its folder, if root runs this command for another user."""
    folder = path.parent.stat()
    if os.geteuid() == 0 and (folder.st_uid, folder.st_gid) != (0, 0):
        os.chown(path, folder.st_uid, folder.st_gid)


def digest(path: Path, progress: Callable[[str, int, int], None]) -> str:
    """The SHA-256 of a file as the disk has it, in hexadecimal digits."""
    made = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        # Read from the disk, and not from the pages that were just written.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while chunk := file.read(_CHUNK):
            made.update(chunk)
            progress(f"{path.name}: read back", file.tell(), size)
    return made.hexdigest()


def dated(folder: Path, prefix: str = "", suffix: str = "") -> Path:
    """A path in *folder* that is not in use, named after the time."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    names = itertools.chain([stamp], (f"{stamp}_{number}" for number in itertools.count(2)))
    return next(path for name in names if not (path := folder / f"{prefix}{name}{suffix}").exists())


def beside(path: Path, suffix: str) -> Path:
    """The file that SQLite, or the gateway, keeps beside the database *path*."""
    return path.with_name(path.name + suffix)
