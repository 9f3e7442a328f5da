"""Makes the tables, or brings them to the newest schema, whichever gateway comes first."""

from collections.abc import Sequence
from importlib import resources

from gateway.errors import StoreError
from gateway.stores.postgres.connections import Connection, Connections

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('event-gateway schema'))"
_TABLE = "CREATE TABLE IF NOT EXISTS gateway_schema (version integer NOT NULL)"
_VERSION = "SELECT coalesce(max(version), 0) FROM gateway_schema"
_EXISTS = "SELECT to_regclass('gateway_schema') IS NOT NULL"
_LONGEST = 600.0


def scripts() -> Sequence[str]:
    """The numbered scripts that make the schema, oldest first."""
    folder = resources.files("gateway.stores.postgres") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text() for name in names]


async def migrate(connections: Connections) -> None:
    """Bring the schema to the newest version.

    Raises:
        StoreError: the schema is newer than this gateway, or the server refuses.
    """
    wanted = scripts()

    async def work(connection: Connection) -> None:
        if await connection.fetchval(_EXISTS) and await _version(connection, len(wanted)):
            return
        async with connection.transaction():
            await connection.execute(_LOCK)
            await connection.execute(_TABLE)
            version = await connection.fetchval(_VERSION)
            for number, script in enumerate(wanted[version:], start=version + 1):
                await connection.execute(script)
                await connection.execute("INSERT INTO gateway_schema VALUES ($1)", number)

    await connections.run(work, command=_LONGEST)


async def check(connections: Connections) -> None:
    """Raise StoreError unless there is a store with the newest schema."""

    async def work(connection: Connection) -> None:
        if not await connection.fetchval(_EXISTS):
            raise StoreError("The database has no store; start a gateway first.")
        if not await _version(connection, len(scripts())):
            raise StoreError("The store has an older schema; start a gateway first.")

    await connections.run(work)


async def _version(connection: Connection, newest: int) -> bool:
    """Whether the schema is the newest one. Raises StoreError if it is newer than that."""
    version = await connection.fetchval(_VERSION)
    if version > newest:
        raise StoreError(
            f"The store's schema {version} is newer than this gateway, which knows {newest}."
        )
    return bool(version == newest)
