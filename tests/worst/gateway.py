"""A gateway on a thread of its own, and the CPU time that its loop takes between two turns."""

import asyncio
import contextlib
import gc
import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import uvloop

from gateway.adapters import ADAPTERS
from gateway.app import Gateway
from gateway.checks import dialects
from gateway.config import resolve
from tests.conftest import CONFIG, merged


class Watched:
    """A gateway that runs. `longest` is the CPU time of its loop's longest turn, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.address: tuple[str, int] = ("", 0)
        self.measuring = False
        self.stopping = False
        self.started = threading.Event()

    async def run(self, document: Mapping[str, Any]) -> None:
        gateway = Gateway(resolve(document, dialects(ADAPTERS)), ADAPTERS)
        await gateway.start()
        self.address = gateway.address[:2]
        self.started.set()
        before = time.thread_time()
        try:
            while not self.stopping:
                await asyncio.sleep(0 if self.measuring else 0.002)
                now = time.thread_time()
                self.longest = max(self.longest, now - before)
                before = now
        finally:
            await gateway.stop()

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Send one request, and return the status of its answer."""
        client = http.client.HTTPConnection(*self.address, timeout=120)
        with contextlib.closing(client):
            client.request(method, path, body, dict(headers))
            answer = client.getresponse()
            answer.read()
            return answer.status

    def measured(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> float:
        """Send one request, and return the longest turn that it caused, in seconds."""
        self.measuring = True
        time.sleep(0.005)
        self.longest = 0.0
        status = self.send(method, path, body, headers)
        assert status < 500 or status == 503, status
        time.sleep(0.005)
        self.measuring = False
        return self.longest


@contextlib.contextmanager
def watched(folder: Path, changes: Mapping[str, Any]) -> Iterator[Watched]:
    """A gateway with the configuration of the tests and *changes*, with its files in *folder*."""
    here = {"store": {"url": f"sqlite:///{folder}/events.db"}}
    document = merged(merged(CONFIG, here), changes)
    made = Watched()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(made.run(document))

    thread = threading.Thread(target=run)
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # as `gateway serve`
    thread.start()
    try:
        assert made.started.wait(20)
        yield made
    finally:
        made.stopping = True
        thread.join(60)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
