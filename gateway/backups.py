"""Backups: folders named after the time, each with a copy of everything and a list of it.

What a copy is, the store decides (`gateway.care`); nothing here depends on its kind.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from gateway import __version__, files
from gateway.care import Care, Copied, Progress, Restored, StoreCare
from gateway.errors import Damaged, StoreError
from gateway.record import clock

LIST = "backup.json"
_PARTIAL = ".partial"


class Backup(msgspec.Struct, frozen=True):
    """The list of a backup; `made_at` is in microseconds since 1970 UTC."""

    gateway: str
    made_at: int
    files: list[Copied]


def make(
    folder: Path, parts: Sequence[Care], keep: int | None, progress: Progress
) -> tuple[Path, Backup]:
    """Back *parts* up, in their order, into a new folder in *folder*; return it and its list.

    Once it is complete, durable and checked, only the newest *keep* backups stay.

    Raises:
        Damaged: a check of a copy failed. The copies stay, in a folder that is not
            counted as a backup, and older backups stay too.
        StoreError: something cannot be read or written; nothing was left behind.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(folder):
            # What a crash left. Nobody else works here now.
            for left in folder.glob(f"*{_PARTIAL}"):
                shutil.rmtree(left)
            # To the second: a copy holds at least what was stored before its name's time.
            name = files.dated(folder).name
            partial = folder / f"{name}{_PARTIAL}"
            partial.mkdir(mode=0o700)
            made = _fill(partial, parts, progress)
            files.sync(partial)
            finished = partial.rename(folder / name)
            files.sync(folder)
            for old in _complete(folder)[:-keep] if keep else ():
                shutil.rmtree(old)
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: {error.strerror}") from error
    return finished, made


def _fill(partial: Path, parts: Sequence[Care], progress: Progress) -> Backup:
    made_at = clock()
    try:
        copied = [part.backup(partial, progress) for part in parts]
    except Damaged:
        partial.rename(partial.with_suffix(".damaged"))
        raise
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    made = Backup(__version__, made_at, copied)
    (partial / LIST).write_bytes(msgspec.json.format(msgspec.json.encode(made)))
    files.sync(partial / LIST)
    return made


def _complete(folder: Path) -> list[Path]:
    """The backups in *folder*, oldest first."""
    found = [entry.parent for entry in folder.glob(f"[0-9]*Z*/{LIST}")]
    return sorted(
        (one for one in found if one.suffix not in (_PARTIAL, ".damaged")),
        key=lambda one: read(one).made_at,
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(f"{folder}: another backup is being made") from None
    else:
        yield
    finally:
        os.close(descriptor)


def read(backup: Path) -> Backup:
    """The list of a backup.

    Raises:
        StoreError: it is no backup.
    """
    try:
        return msgspec.json.decode((backup / LIST).read_bytes(), type=Backup)
    except OSError as error:
        raise StoreError(f"{backup / LIST}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise Damaged(f"{backup / LIST}: {error}") from error


def restore(
    backup: Path, store: StoreCare, others: Sequence[Care], progress: Progress
) -> list[Restored]:
    """Put the copies of *backup* in the place of what is there, which is moved aside.

    All of them or none: if it is interrupted, it is finished at the next start.

    Raises:
        StoreError: a gateway runs, or something cannot be read or written.
        Damaged: a copy is not what was backed up.
    """
    listed = read(backup)
    copies = {one.role: one for one in listed.files}
    parts = [*others, store]
    store.finish_replacing()
    with ExitStack() as stack:
        for part in parts:
            if part.role not in copies:
                raise StoreError(f"{backup}: has no {part.role}")
            stack.enter_context(part.exclusive())
        for part in parts:
            part.check(backup, copies[part.role], progress)
        try:
            prepared = [
                part.prepare(backup, copies[part.role], listed.made_at, progress) for part in parts
            ]
        except BaseException:
            for part in parts:
                part.discard()
            raise
        store.replace(prepared)
    return prepared
