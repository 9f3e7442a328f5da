"""The stores under test: every registered one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.store import Store
from gateway.stores import STORES, open_store
from gateway.stores.shares import NO_LIMIT
from tests.postgres.servers import Server, new_database, running_server

MARKS = {"postgresql": [pytest.mark.slow, pytest.mark.xdist_group("postgresql")]}
URLS = {"memory": "memory:", "sqlite": "sqlite:///{folder}/events.db"}
"""The URL of each store for a test; a new store adds its own, or a fixture of its name."""


@pytest.fixture(params=[pytest.param(one, marks=MARKS.get(one, ())) for one in sorted(STORES)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is empty."""
    if request.param in URLS:
        return URLS[request.param].format(folder=tmp_path)
    made: str = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server."""
    with running_server() as made:
        yield made


@pytest.fixture
def postgresql(server: Server) -> str:
    """The URL of an empty database."""
    return new_database(server)


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Callable[..., Awaitable[Store]]]:
    """Opens the store with bounds on its quarantine."""
    made: list[Store] = []

    async def open_one(max_rejected: int, max_rejected_bytes: int = NO_LIMIT) -> Store:
        made.append(await open_store(url, max_rejected, max_rejected_bytes))
        return made[-1]

    yield open_one
    for store in made:
        await store.close()


@pytest.fixture
async def store(opened: Callable[..., Awaitable[Store]]) -> Store:
    return await opened(100)
