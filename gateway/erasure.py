"""Erasing on request: what a person or a tenant has sent leaves the spool and the store."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway import backups, files
from gateway.care import Progress
from gateway.errors import StoreError
from gateway.record import clock
from gateway.store import Selection, Store
from gateway.stores.mentions import prunable
from gateway.stores.spool import Spool

_NOTED = "-backups"


class Erased(msgspec.Struct, frozen=True):
    """How many events went from where, and documents. `left` names files that may still have
    them, and why.
    """

    stored: int
    spooled: int
    documents: int
    left: list[str]


async def erase(
    store: Store,
    spool: Spool,
    wanted: Selection,
    progress: Progress,
    settled: float,
    clock: Callable[[], int] = clock,
) -> Erased:
    """Erase what *wanted* selects. After *settled* seconds, what is received now is on the disk.

    *clock* gives the time in microseconds since 1970 UTC.

    Raises:
        StoreError: it is not complete, or *wanted* names what does not exist.
    """
    now = clock()
    # Even if only old events are meant: a clock that was set back makes new ones look old.
    await asyncio.sleep(settled)
    # The spool first: what leaves it meanwhile is in the store when that is searched.
    spooled = await spool.erase(lambda record: prunable(record, wanted, now))
    try:
        pruned = await store.prune(
            msgspec.structs.replace(
                wanted, until=now if wanted.until is None else min(now, wanted.until)
            ),
            progress,
        )
    except StoreError as error:
        if not spooled:
            raise
        message = f"{error} From the spool {spooled:,} events were erased."
        raise StoreError(message) from error
    return Erased(pruned.events, spooled, pruned.documents, pruned.left)


def note_backup(stores: Sequence[Path], folder: Path) -> None:
    """Note beside the store that *folder* has backups of it, for `noted_backups`."""
    for noted in (files.beside(path, _NOTED) for path in stores[:1]):
        lines = noted.read_text().splitlines() if noted.exists() else []
        if (line := str(folder.absolute())) not in lines:
            noted.write_text("".join(f"{one}\n" for one in [*lines, line]))
            files.hand_over(noted)


def noted_backups(stores: Sequence[Path]) -> list[str]:
    """The backups in the folders that were noted beside the store."""
    found: list[str] = []
    for noted in (files.beside(path, _NOTED) for path in stores[:1]):
        folders = noted.read_text().splitlines() if noted.exists() else []
        for folder in map(Path, folders):
            found += [f"{one.parent}: a backup" for one in sorted(folder.glob(f"*/{backups.LIST}"))]
    return found
