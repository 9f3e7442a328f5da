"""One batch as large as the limit allows: what it takes beyond the idle process, and who waits.

While it is taken in, small requests to /livez, which the same loop answers, tell
how long the loop stood still.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from benchmarks import machine, payload
from benchmarks.server import APPLICATION, Server, stored_after

EVENTS = 12_000
_EVENT_BYTES = 1047
"""With its comma 1,048: twelve thousand come to just under the 12 MiB that a batch may have."""

_EVERY = 0.002


@dataclass(frozen=True, slots=True)
class Weight:
    """What the batch took: MiB beyond the idle process, and times in milliseconds.

    `stall` is the longest wait of a probe meanwhile, `calm` the longest before
    it, `lag` the gateway's own word, or None where it has none.
    """

    size: float
    extra: float
    answer: float
    stall: float
    calm: float
    lag: float | None
    faults: tuple[str, ...]


class _Prober(threading.Thread):
    """Asks /livez every two milliseconds and remembers the longest wait."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._ended = threading.Event()
        self.worst = 0.0

    def run(self) -> None:
        with closing(socket.create_connection(self._address, timeout=60)) as probe:
            while not self._ended.is_set():
                started = time.perf_counter()
                probe.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                probe.recv(4096)
                self.worst = max(self.worst, (time.perf_counter() - started) * 1000)
                time.sleep(_EVERY)

    def __enter__(self) -> Self:
        self.start()
        # Its connection is there before anything is measured.
        time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def weigh(folder: Path) -> Weight:
    """Send the batch to a gateway on an empty store in *folder*."""
    body = payload.batch(payload.moesif(_EVENT_BYTES), EVENTS)
    with _on_client_core(), Server(folder) as server:
        ops, public = _address(server.ops_url), _address(server.url)
        with _Prober(ops) as before:
            time.sleep(0.5)
        server.forget_peak()
        idle = server.cost()
        with _Prober(ops) as during:
            started = time.perf_counter()
            status = _send(public, body)
            answer = (time.perf_counter() - started) * 1000
            # What is let go of or trimmed after the answer counts too.
            time.sleep(0.2)
        cost = server.cost()
    kept = stored_after(folder / "events.db", 0)
    faults = [] if status == 201 else [f"answered {status}"]
    if kept != EVENTS:
        faults.append(f"{kept:,} kept of {EVENTS:,}")
    return Weight(
        size=len(body) / (1 << 20),
        extra=cost.peak - idle.peak,
        answer=answer,
        stall=during.worst,
        calm=before.worst,
        lag=cost.lag,
        faults=tuple(faults),
    )


def _send(address: tuple[str, int], body: bytes) -> int:
    head = (
        "POST /v1/events/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-Moesif-Application-Id: {APPLICATION}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with closing(socket.create_connection(address, timeout=60)) as connection:
        connection.sendall(head.encode())
        connection.sendall(body)
        return int(connection.recv(4096).split()[1])


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


@contextmanager
def _on_client_core() -> Iterator[None]:
    """Keep this process, which is the client now, off the server's core."""
    usual = os.sched_getaffinity(0)
    if machine.CORES is not None:
        os.sched_setaffinity(0, {machine.CORES[0]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)
