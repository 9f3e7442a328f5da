"""Servers for these tests, which are slow."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.proxy import Proxy
from tests.postgres.servers import Server, running_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/postgres/" in str(item.path):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("postgresql"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server."""
    with running_server() as made:
        yield made


@pytest.fixture
def running(running: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """As in `tests.conftest`. A store without files has no folder that the spool could be in."""
    spool = {"spool": {"path": str(tmp_path / "spool.db")}}
    return lambda changes: running({**spool, **changes})


@pytest.fixture
async def url(server: Server) -> str:
    """The URL of an empty database."""
    return await server.create_database()


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """A proxy before the server."""
    async with Proxy(server) as made:
        yield made
