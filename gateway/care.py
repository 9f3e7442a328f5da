"""The contract of an operator's care for a store: copies, checks, repairs.

All of it blocks, and runs in the process of a command, mostly beside a gateway that runs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol

import msgspec

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is."""


Verdict = Literal["ok", "note", "warning", "bad"]


class Finding(msgspec.Struct, frozen=True):
    """What a check found about its subject, a file for example."""

    verdict: Verdict
    subject: str
    message: str


class Salvaged(msgspec.Struct, frozen=True):
    """What was copied out of a damaged store. `lost` is how many events it may have had besides.

    `unreadable` are the ranges of sequences that could not be read, ends included.
    """

    path: str
    records: int
    documents: int
    lost: int
    unreadable: list[tuple[int, int]]
    next_sequence: int


class Copied(msgspec.Struct, frozen=True):
    """A file of a backup; `last_sequence` is the highest one that was ever given."""

    role: str
    name: str
    size: int
    sha256: str
    records: int
    last_sequence: int


class Restored(msgspec.Struct, frozen=True):
    """What a restore did to one file. `replaced` is where the former files are.

    `kept` counts records of the former file that were taken over. New records are
    numbered from `next_sequence`. `note` says what could not be done as usual.
    """

    role: str
    path: str
    records: int
    kept: int
    next_sequence: int
    replaced: str | None
    note: str | None


class Care(Protocol):
    """What can be done to one store, or to the spool."""

    @property
    def role(self) -> str:
        """``store`` or ``spool``."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep every other writer away.

        Raises:
            StoreError: another process writes it, a gateway for example.
        """

    def backup(self, folder: Path, progress: Progress) -> Copied:
        """Write a copy into *folder*, durable and read back, beside whoever writes.

        Raises:
            StoreError: it cannot be read, or the copy cannot be written.
            Damaged: it was copied, but a check of the copy found damage.
        """

    def check(self, folder: Path, copied: Copied, progress: Progress) -> None:
        """Read a copy in *folder* and compare it with what was noted when it was made.

        Raises:
            Damaged: it is not the same, or it is not there.
        """

    def prepare(self, folder: Path, copied: Copied, made_at: int, progress: Progress) -> Restored:
        """Make of a copy made at *made_at* microseconds what is to replace what is there.

        Must be `exclusive`. Nothing is replaced yet. No sequence that may have been given
        since the copy will be given again.

        Raises:
            StoreError: the copy cannot be read or written.
            Damaged: the copy is not what was backed up.
        """

    def discard(self) -> None:
        """Delete what `prepare` has made."""

    def verify(self, progress: Progress) -> Iterator[Finding]:
        """Examine all that can be examined, beside whoever writes."""

    def examine_engine(self) -> Iterator[Finding]:
        """What is known of the software that keeps the files."""


class StoreCare(Care, Protocol):
    """What can be done to a store besides."""

    def replace(self, prepared: Sequence[Restored]) -> None:
        """Put everything that was prepared, also for others, in its place, or nothing.

        Must be `exclusive`. What is there is moved to folders beside it. Interrupted, it is
        finished when the store is next opened, or by `finish_replacing`.

        Raises:
            StoreError: the disk refused.
        """

    def finish_replacing(self) -> None:
        """Finish a `replace` that was interrupted, if there is one.

        Raises:
            StoreError: another process writes the files, or the disk refuses.
        """

    def recover(self, new: Path, progress: Progress) -> Salvaged:
        """Copy what can be read into a new store at *new*, with its sequences.

        Raises:
            StoreError: nothing can be read, or *new* exists or cannot be written.
        """

    def rebuild_keys(self, progress: Progress) -> int:
        """Make the index of keys anew from the events; return how many events have a key.

        Raises:
            StoreError: another process writes the store, or it cannot be read.
        """
