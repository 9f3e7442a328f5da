"""A folder with a configuration, its files, and clients that go on while a command runs."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.record import EventRecord
from gateway.stores.spool import open_spool
from gateway.stores.sqlite import open_store
from tests.conftest import PROCESS_CONFIG, Process, command
from tests.records import closing
from tests.system.test_crash import Story


class Site:
    """A gateway's folder, with its store and spool, while no gateway runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = folder / "events.db"
        self.spool = folder / "spool.db"
        (folder / "config.toml").write_text(PROCESS_CONFIG)

    async def store(self, *records: EventRecord, max_rejected: int = 100) -> None:
        async with closing(await open_store(f"sqlite:///{self.events}", max_rejected)) as store:
            await store.append(records)

    async def queue(self, *records: EventRecord) -> None:
        async with closing(await open_spool(self.spool, 1000)) as spool:
            await spool.append(records)

    def run(self, *arguments: str, status: int = 0) -> list[Any]:
        """Run a command, and read the JSON lines that it writes."""
        done = command(*arguments, cwd=self.folder)
        assert status == done.exit_code, (done.stderr, done.stdout, done.exception)
        self.notices = done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def exported(self, *options: str) -> list[tuple[int, Any]]:
        """The sequence and the data of each stored event."""
        return [(int(event["sequence"]), event["data"]) for event in self.run("export", *options)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@asynccontextmanager
async def traffic(process: Process, clients: int = 8) -> AsyncIterator[Story]:
    """Clients of every dialect that send all the time."""
    story = Story(seed=1)
    tasks = [asyncio.create_task(story.client(process.url, [])) for _ in range(clients)]
    try:
        yield story
        for task in tasks:
            if task.done():
                await task
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


def spoil(path: Path, page: int, size: int = 8192) -> None:
    """Overwrite a page of a database, the first one being 1, with bytes that mean nothing."""
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
