"""The stores, by the scheme of the URL that names one."""

from collections.abc import Awaitable, Callable, Mapping

from gateway.store import Store
from gateway.stores import memory, sqlite

STORES: Mapping[str, Callable[[str, int], Awaitable[Store]]] = {
    "sqlite": sqlite.open_store,
    "memory": memory.open_store,
}
"""Each opens the store at a URL, keeping at most so many quarantined records."""


def scheme_of(url: str) -> str:
    """The part of a store's URL before the colon."""
    return url.partition(":")[0]


async def open_store(url: str, max_rejected: int) -> Store:
    """Open the store that *url* names.

    Raises:
        KeyError: no store has that scheme.
        StoreError: the store cannot be opened.
    """
    return await STORES[scheme_of(url)](url, max_rejected)
