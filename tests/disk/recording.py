"""A gateway under the shim, clients that send to it, and what it did to its disk."""

import asyncio
import contextlib
import mmap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests import records
from tests.conftest import Process
from tests.disk.images import Disk
from tests.disk.trace import Step, answers, durable_before, read
from tests.system.test_crash import Story
from tests.system.wire import Request

CLIENTS = 12


class Control:
    """Makes the disk of a process under the shim fail."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(16))
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), 16)

    @contextlib.contextmanager
    def _set(self, at: int, value: int) -> Iterator[None]:
        self._bytes[at] = value
        try:
            yield
        finally:
            self._bytes[at] = 0

    def failing_fsync(self) -> contextlib.AbstractContextManager[None]:
        """Each fsync fails with EIO and does nothing."""
        return self._set(0, 1)

    def held_fsync(self) -> contextlib.AbstractContextManager[None]:
        """An fsync that begins returns only afterwards."""
        return self._set(0, 2)

    def full(self) -> contextlib.AbstractContextManager[None]:
        """Nothing can be written: ENOSPC."""
        return self._set(1, 1)

    def slow(self, milliseconds: int) -> contextlib.AbstractContextManager[None]:
        """Each fsync takes so much longer."""
        return self._set(2, milliseconds)


class Recording:
    """What clients sent and heard, and what became of the disk step by step."""

    def __init__(self, process: Process, shim: Path) -> None:
        folder = process.folder
        self.process = process
        self.story = Story(seed=5)
        self.control = Control(folder.parent / f"{folder.name}.control")
        self._trace = folder.parent / f"{folder.name}.trace"
        self._disk = Disk(folder)
        process.fresh = True
        process.environment = {
            "LD_PRELOAD": str(shim),
            "SHIM_FOLDER": str(folder),
            "SHIM_TRACE": str(self._trace),
            "SHIM_CONTROL": str(self.control.path),
        }
        self.steps: list[Step] = []

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Clients of every dialect send meanwhile. The process may end before."""
        before = len(self.story.answered)
        tasks = [
            asyncio.create_task(self.story.client(self.process.url, [])) for _ in range(CLIENTS)
        ]
        await records.eventually(lambda: len(self.story.answered) >= before + 50, 30)
        yield
        for task in tasks:
            if not task.done():
                task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)

    def read(self) -> None:
        """Read what was recorded."""
        self.steps = read(self._trace)

    def early(self) -> list[str]:
        """Events of successful answers that had left before an fsync of theirs returned."""
        durable = durable_before(self.steps)
        return [
            name
            for sent in answers(self.steps)
            if sent.request_id in self.story.answered
            for name in self.story.answered[sent.request_id].events
            if durable.get(name, sent.at) >= sent.at
        ]

    def images(
        self, points: list[int], image: Path, mode: Callable[[Disk, Path], None]
    ) -> Iterator[set[str]]:
        """Write the disk after each of *points* steps; give what was acknowledged by then."""
        sent = {
            one.at: self.story.answered[one.request_id]
            for one in answers(self.steps)
            if one.request_id in self.story.answered
        }
        told: set[str] = set()
        wanted = sorted(points)
        for at, step in enumerate(self.steps):
            self._disk.follow(step)
            told |= sent.get(at, Request("", "", {}, None)).events.keys()
            while wanted and wanted[0] == at:
                wanted.pop(0)
                mode(self._disk, image)
                yield set(told)
