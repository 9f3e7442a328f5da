"""Whether a machine suits a gateway: its disk, its limits, its clock."""

import os
import resource
import shutil
import stat
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from gateway.care import Finding

_WRITES = 30
_SLOW = 0.05
"""Seconds: a group of requests waits for one fsync, and clients give up after three."""

_TOO_FAST = 0.00002
"""Seconds in which no device that keeps data without power answers."""

_FILES = 4096
_NO_SHARED_MEMORY = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs", "ceph"}
_NOT_DURABLE = {"tmpfs", "ramfs", "devtmpfs"}
_SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")
_RELEASED = datetime(2026, 1, 1, tzinfo=UTC)


def examine(folders: Sequence[Path], needed: int) -> Iterator[Finding]:
    """Findings about the machine for files in *folders* that have *needed* bytes together."""
    for folder in dict.fromkeys(folders):
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield Finding("bad", str(folder), "cannot be written by this user, or is not there")
            continue
        yield _file_system(folder)
        try:
            yield _fsync(folder)
        except OSError as error:
            yield Finding("bad", str(folder), f"cannot be written: {error.strerror}")
        yield _space(folder, needed)
        yield _folder_mode(folder)
    yield _file_limit()
    yield _clock()


def _fsync(folder: Path) -> Finding:
    """Time what a commit does: append a page and wait until it is on the disk."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_WRITES):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    middle, worst = statistics.median(times), max(times)
    words = f"fsync takes {middle * 1000:.2f} ms, {worst * 1000:.2f} ms at most"
    if middle > _SLOW:
        return Finding("warning", str(folder), f"{words}: the disk is slow")
    if middle < _TOO_FAST:
        return Finding("warning", str(folder), f"{words}: the disk may not wait for its medium")
    return Finding("ok", str(folder), words)


def _space(folder: Path, needed: int) -> Finding:
    usage = shutil.disk_usage(folder)
    words = f"{usage.free / 1e9:,.1f} GB of {usage.total / 1e9:,.1f} GB are free"
    if usage.free < max(usage.total // 20, 1 << 28):
        return Finding("bad", str(folder), f"{words}: the disk is nearly full")
    if usage.free < needed:
        return Finding("warning", str(folder), f"{words}: too little to copy the store and upgrade")
    return Finding("ok", str(folder), words)


def _folder_mode(folder: Path) -> Finding:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Finding("bad", str(folder), f"others can write here (mode {mode:o})")
    if mode & stat.S_IROTH:
        return Finding("warning", str(folder), f"everybody can read the events (mode {mode:o})")
    return Finding("ok", str(folder), f"mode {mode:o}")


def _file_system(folder: Path) -> Finding:
    kind = _kind_of(folder)
    if kind in _NOT_DURABLE:
        return Finding("bad", str(folder), f"{kind} is memory: a restart of the machine empties it")
    if kind in _NO_SHARED_MEMORY:
        return Finding("bad", str(folder), f"{kind} is a network file system: SQLite needs a disk")
    return Finding("ok", str(folder), f"file system {kind}")


def _kind_of(folder: Path) -> str:
    """The type of the file system that holds *folder*, as the kernel lists it."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    resolved = folder.resolve()
    # The last mount at the longest path hides the others.
    found = [
        (len(at), number, kind)
        for number, (_, at, kind, *_) in enumerate(mounts)
        if resolved.is_relative_to(at.replace("\\040", " "))
    ]
    return max(found)[2] if found else "unknown"


def _file_limit() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    words = f"{soft:,} files may be open; each connection is one"
    if 0 <= soft < _FILES:
        return Finding("warning", "limits", f"{words}, and this shell's limit is low: ulimit -n")
    return Finding("ok", "limits", words)


def _clock() -> Finding:
    now = datetime.now(UTC)
    words = now.isoformat(timespec="seconds")
    if now < _RELEASED:
        return Finding("bad", "clock", f"{words} is before this gateway was made")
    if _SYNCHRONIZED.parent.exists() and not _SYNCHRONIZED.exists():
        return Finding("warning", "clock", f"{words}; systemd-timesyncd has not synchronized it")
    return Finding("ok", "clock", words)
