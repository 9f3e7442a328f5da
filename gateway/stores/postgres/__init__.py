"""PostgreSQL as a store: alone, or with a standby; any number of gateways write to it."""

from collections.abc import Sequence
from pathlib import Path

from gateway.care import StoreCare
from gateway.errors import StoreError
from gateway.stores.postgres.connections import Connections
from gateway.stores.postgres.migrating import check, migrate
from gateway.stores.postgres.reading import PostgresReader
from gateway.stores.postgres.store import PostgresStore
from gateway.stores.postgres.url import target_of
from gateway.stores.shares import NO_LIMIT, Bound

__all__ = ["care_for", "files_of", "open_reader", "open_store"]


def files_of(url: str) -> Sequence[Path]:
    """As `gateway.stores.StoreType.files_of`: the files are the server's."""
    target_of(url)
    return []


async def open_store(
    url: str, max_rejected: int, max_rejected_bytes: int = NO_LIMIT
) -> PostgresStore:
    """Open the store at *url*; makes its tables if there are none.

    Raises:
        StoreError: no host is a primary that may be written to, or the schema is newer.
        ValueError: the URL is not of the form that is expected.
    """
    target = target_of(url)
    connections = Connections(target)
    try:
        await migrate(connections)
    finally:
        await connections.close()
    return PostgresStore(target, Bound(max_rejected, max_rejected_bytes))


async def open_reader(url: str) -> PostgresReader:
    """Open the store at *url* for reading only.

    Raises:
        StoreError: there is no store, or it cannot be read.
        ValueError: the URL is not of the form that is expected.
    """
    connections = Connections(target_of(url), check_writes=False)
    try:
        await check(connections)
    except BaseException:
        await connections.close()
        raise
    return PostgresReader(connections)


def care_for(url: str) -> StoreCare:
    """The server has tools of its own for that.

    Raises:
        StoreError: always; names them.
    """
    raise StoreError(
        f"{target_of(url).shown} is cared for by PostgreSQL's own tools, such as pg_basebackup, "
        "pg_dump and pg_amcheck."
    )
