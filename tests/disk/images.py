"""A disk that loses what was not synced, rebuilt from a trace.

The model is stricter than a file system has to be. Only fsync of a file makes its content
durable, and only fsync of a folder makes its names durable. Until then each sector and
each name may be lost or kept, whatever happens to the others. After an fsync that failed
what it should have written is kept or lost for good, and a later fsync does not help.
"""

import itertools
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.disk.trace import Step

SECTOR = 512


class Change(NamedTuple):
    """A write at *offset*, or a new length if *data* is None."""

    offset: int
    data: bytes | None


@dataclass
class File:
    """What the disk has for sure, and what was changed since."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)


class Naming(NamedTuple):
    """A change of names: *operation* as in a trace, *inode* that of the file, if it is one."""

    operation: str
    first: str
    second: str
    inode: int


Names = dict[str, int]
"""Inode of each path; 0 for a folder."""


def apply(content: bytearray, change: Change) -> None:
    """Make *change*."""
    offset, data = change
    if data is None:
        del content[offset:]
        data = b""
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def sectors(change: Change) -> list[Change]:
    """The pieces of a change that the disk keeps or loses one by one."""
    if change.data is None:
        return [change]
    pieces, at, end = [], change.offset, change.offset + len(change.data)
    while at < end:
        following = min(end, (at // SECTOR + 1) * SECTOR)
        pieces.append(Change(at, change.data[at - change.offset : following - change.offset]))
        at = following
    return pieces


def rename(names: Names, change: Naming) -> None:
    """Make a change of names, as far as it is possible in *names*."""
    operation, first, second, inode = change
    if operation in "CM":
        names[first] = inode
    elif operation == "L":
        names[second] = inode
    elif operation in "UD":
        if names.get(first) == inode:
            del names[first]
    elif operation == "R":
        names[second] = inode
        if names.get(first) == inode:
            del names[first]
        for path in [path for path in names if path.startswith(f"{first}/")]:
            names[second + path[len(first) :]] = names.pop(path)


class Disk:
    """The files below *folder*, as the disk and as the running system see them."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        """Begin with what *folder* holds now, all of it durable."""
        self._folder = folder.resolve()
        self._random = random.Random(seed)
        self._files: defaultdict[int, File] = defaultdict(File)
        self._names: Names = {str(self._folder): 0}
        for path in self._folder.rglob("*"):
            if path.is_dir():
                self._names[str(path)] = 0
            elif path.is_file() and not path.name.endswith("-shm"):
                inode = path.stat().st_ino
                self._names[str(path)] = inode
                self._files[inode] = File(bytearray(path.read_bytes()))
        self._durable = dict(self._names)
        self._unsynced: list[Naming] = []

    def follow(self, step: Step) -> None:
        """Do what a step of the trace did."""
        operation, inode, offset, first, second = step
        if operation in "WT":
            change = Change(offset, first if operation == "W" else None)
            self._files[inode].pending.append(change)
        elif operation in "CMLRUD":
            self._name(operation, first.decode(), second.decode(), inode)
        elif operation == "P":
            for file in self._files.values():
                file.begun.clear()
        elif operation == "B":
            self._files[inode].begun.append(len(self._files[inode].pending))
        elif operation in "EX":
            self._synced(inode, first.decode(), kept=operation == "E")

    def _name(self, operation: str, first: str, second: str, inode: int) -> None:
        if operation == "C":
            # The number may be that of a file that is gone.
            self._files[inode] = File()
        change = Naming(operation, first, second, inode or self._names.get(first, 0))
        rename(self._names, change)
        self._unsynced.append(change)

    def _synced(self, inode: int, folder: str, *, kept: bool) -> None:
        file = self._files[inode]
        count = file.begun.pop(0) if file.begun else 0
        if folder:
            if kept:
                self._names_synced(folder)
            return
        for change in file.pending[:count]:
            for piece in [change] if kept else sectors(change):
                if kept or self._random.random() < 0.5:
                    apply(file.content, piece)
        del file.pending[:count]
        file.begun = [max(0, mark - count) for mark in file.begun]

    def _names_synced(self, folder: str) -> None:
        left = []
        for change in self._unsynced:
            changed = {str(Path(path).parent) for path in (change.first, change.second) if path}
            if folder in changed:
                rename(self._durable, change)
            else:
                left.append(change)
        self._unsynced = left

    def killed(self, image: Path) -> None:
        """Write the files as they are if only the process dies."""
        self._write(image, self._names, 1.0)

    def cut(self, image: Path) -> None:
        """Write the files without anything that was not synced."""
        self._write(image, self._durable, 0.0)

    def shuffled(self, image: Path) -> None:
        """Write the files with a random part of what was not synced."""
        share = self._random.choice([0.1, 0.5, 0.9])
        self._shuffle(image, share, [self._random.random() < share for _ in self._unsynced])

    def every_naming(self, image: Path) -> Iterator[None]:
        """As `shuffled`, once for each subset of the names that were not synced."""
        for kept in itertools.product([False, True], repeat=len(self._unsynced)):
            self._shuffle(image, self._random.choice([0.1, 0.5, 0.9]), kept)
            yield

    def _shuffle(self, image: Path, share: float, kept: Sequence[bool]) -> None:
        names = dict(self._durable)
        for change in itertools.compress(self._unsynced, kept):
            rename(names, change)
        self._write(image, names, share)

    def _write(self, image: Path, names: Names, share: float) -> None:
        shutil.rmtree(image, ignore_errors=True)
        image.mkdir()
        written: dict[int, Path] = {}
        for path, inode in sorted(names.items()):
            target = image / Path(path).relative_to(self._folder)
            # What is in a folder whose own name was lost cannot be found.
            if str(Path(path).parent) not in names and path != str(self._folder):
                continue
            if inode == 0:
                target.mkdir(exist_ok=True)
            elif inode in written:
                target.hardlink_to(written[inode])
            else:
                target.write_bytes(self._content(self._files[inode], share))
                written[inode] = target

    def _content(self, file: File, share: float) -> bytearray:
        content = bytearray(file.content)
        for change in file.pending:
            for piece in [change] if share == 1.0 else sectors(change) if share else ():
                if share == 1.0 or self._random.random() < share:
                    apply(content, piece)
        return content
