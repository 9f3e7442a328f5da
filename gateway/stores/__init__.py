"""The stores, by the scheme of the URL that names one.

The module of a store is imported when a URL has its scheme, and not before.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gateway.care import Care, StoreCare
from gateway.store import Reader, Store
from gateway.stores.shares import NO_LIMIT


class StoreType(Protocol):
    """What the module of a store has."""

    def files_of(self, url: str) -> Sequence[Path]:
        """The files that nobody but this store may use; the first one's folder is the store's.

        Raises:
            ValueError: the URL is not of this store's form; says which form is.
        """

    async def open_store(
        self, url: str, max_rejected: int, max_rejected_bytes: int = NO_LIMIT
    ) -> Store:
        """Open the store, keeping at most so many quarantined records and bytes of their text.

        Raises:
            StoreError: it cannot be opened.
        """

    async def open_reader(self, url: str) -> Reader:
        """Open the store for reading only, beside a gateway that may be running.

        Raises:
            StoreError: it cannot be read from outside, or not now.
        """

    def care_for(self, url: str) -> StoreCare:
        """What an operator's commands do to the store.

        Raises:
            StoreError: nothing outside the process can touch it.
        """


# ruff: noqa: PLC0415 - a gateway loads the store that it uses, and no other


def _sqlite() -> StoreType:
    from gateway.stores import sqlite

    return sqlite


def _memory() -> StoreType:
    from gateway.stores import memory

    return memory


def _postgresql() -> StoreType:
    try:
        from gateway.stores import postgres
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ValueError(
            "A store in PostgreSQL needs asyncpg: install event-gateway[postgres]."
        ) from None

    return postgres


STORES: Mapping[str, Callable[[], StoreType]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "memory": _memory,
}


def store_type(url: str) -> StoreType:
    """The kind of store that *url* names.

    Raises:
        ValueError: no store has that scheme.
    """
    scheme = url.partition(":")[0]
    if scheme not in STORES:
        raise ValueError(f"Unknown scheme '{scheme}'; supported: {', '.join(STORES)}.")
    return STORES[scheme]()


def without_password(url: str) -> str:
    """*url* as it may be shown."""
    return re.sub(r"^(postgresql://[^/:@]*):[^/]*@", r"\1:...@", url)


def files_of(url: str) -> Sequence[Path]:
    """The files that nobody but the store at *url* may use.

    Raises:
        ValueError: no store has such a URL.
    """
    return store_type(url).files_of(url)


def folder_of(url: str) -> Path:
    """Where what belongs to the store at *url* is kept: its files' folder, or the working one.

    Raises:
        ValueError: no store has such a URL.
    """
    files = files_of(url)
    return files[0].parent if files else Path()


async def open_store(url: str, max_rejected: int, max_rejected_bytes: int = NO_LIMIT) -> Store:
    """Open the store at *url*, keeping at most *max_rejected* quarantined records.

    Their texts may have *max_rejected_bytes* bytes together.

    Raises:
        ValueError: no store has such a URL.
        StoreError: the store cannot be opened.
    """
    return await store_type(url).open_store(url, max_rejected, max_rejected_bytes)


async def open_reader(url: str) -> Reader:
    """Open the store at *url* for reading only, beside a gateway that may be running.

    Raises:
        ValueError: no store has such a URL.
        StoreError: the store cannot be read.
    """
    return await store_type(url).open_reader(url)


def care_for(url: str) -> StoreCare:
    """What an operator's commands do to the store at *url*.

    Raises:
        ValueError: no store has such a URL.
        StoreError: nothing outside the process can touch it.
    """
    return store_type(url).care_for(url)


def care_for_spool(path: Path) -> Care:
    """What an operator's commands do to the spool at *path*."""
    from gateway.stores.care.spool import SpoolCare

    return SpoolCare(path)
