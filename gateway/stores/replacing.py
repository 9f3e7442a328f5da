"""Puts files in the place of databases: all of them or none, whatever interrupts it.

What is to be done is first written to a list beside the first database. The list counts
once it has its name. From then on it is carried out to its end: now, or before the
database is next opened.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from gateway import files
from gateway.errors import StoreError
from gateway.stores.claim import Claim

_LIST = "-restore"
_FRESH = "-restoring"


class Replacement(msgspec.Struct, frozen=True):
    """A database to replace, and the folder for what is there; relative to the list's folder."""

    path: str
    aside: str | None


def fresh_for(path: Path) -> Path:
    """The file that is to replace the database at *path*."""
    return files.beside(path, _FRESH)


def list_beside(path: Path) -> Path:
    """The list of what is to be replaced together with the database at *path*."""
    return files.beside(Path(os.path.realpath(path)), _LIST)


def replace(first: Path, replacements: Sequence[tuple[Path, Path | None]]) -> None:
    """Replace each database by its `fresh_for`, the one at *first* among them.

    What is there is moved to the folder beside it, if one is given. The caller keeps
    every other writer away, and has emptied the WALs of sound databases.

    Raises:
        OSError: once there is a list, it is carried out later; before, nothing was replaced.
    """
    folder = first.parent
    names = [
        Replacement(
            os.path.relpath(path, folder), None if aside is None else os.path.relpath(aside, folder)
        )
        for path, aside in replacements
    ]
    for path, _ in replacements:
        files.sync(path.parent)
    listed = list_beside(first)
    unfinished = files.beside(listed, "-next")
    unfinished.unlink(missing_ok=True)
    files.create(unfinished)
    unfinished.write_bytes(msgspec.json.encode(names))
    files.sync(unfinished)
    unfinished.replace(listed)
    files.sync(folder)
    _carry_out(listed, names)


def finish(path: Path) -> None:
    """Carry out what is left of the list beside the database at *path*, if there is one.

    Raises:
        StoreError: another process writes one of the databases, or the disk refuses.
    """
    listed = list_beside(path)
    if not listed.exists():
        return
    try:
        names = msgspec.json.decode(listed.read_bytes(), type=list[Replacement])
        with ExitStack() as stack:
            for one in names:
                claim = Claim(listed.parent / one.path)
                stack.callback(claim.release)
                claim.exclude()
            _carry_out(listed, names)
    except (OSError, msgspec.MsgspecError) as error:
        message = f"{listed}: what it lists could not be put in its place: {error}"
        raise StoreError(message) from error


def _carry_out(listed: Path, names: Sequence[Replacement]) -> None:
    folder = listed.parent
    for one in names:
        _put(folder / one.path, None if one.aside is None else folder / one.aside)
    listed.unlink()
    files.sync(folder)


def _put(path: Path, aside: Path | None) -> None:
    fresh = fresh_for(path)
    if not fresh.exists():
        # Done before an interruption. Its names may not be on the disk yet.
        files.sync(path.parent)
        return
    if aside is not None:
        aside.mkdir(mode=0o700, exist_ok=True)
        files.hand_over(aside)
        with suppress(FileNotFoundError, FileExistsError):
            os.link(path, aside / path.name)
        wal = files.beside(path, "-wal")
        with suppress(FileNotFoundError):
            wal.rename(aside / wal.name)
        files.beside(path, "-shm").unlink(missing_ok=True)
        files.sync(aside)
        # Its name too is on the disk before the old file loses its own.
        files.sync(path.parent)
    fresh.replace(path)
    files.sync(path.parent)
