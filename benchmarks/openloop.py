"""An open-loop client: it sends at a rate, whatever the answers are and however long they take.

wrk sends the next request when the last one is answered, so a slow server slows it down.
Here each request has a time at which it is due, and its latency counts from then on.
``python -m benchmarks.openloop`` reads what to send from a file, prints a line when the
measured time begins, and the figures when it is over.
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from benchmarks import payload

_TICK = 0.001
"""Seconds between two looks at what is due."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Send the text of *request* to a port of this machine, *rate* times a second.

    The first *warm* seconds are not measured, the *seconds* after them are. At most
    *connections* requests wait for their answers; others wait in the client.
    """

    port: int
    request: str
    rate: float
    connections: int
    warm: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """What a plan came to: answers by status, and the milliseconds that those with 2xx took.

    `late` counts the requests that were due and not sent, because all connections waited.
    """

    statuses: dict[str, int]
    p50: float
    p99: float
    worst: float
    late: int
    broken: int


class _Line(asyncio.Protocol):
    def __init__(self, client: "_Client") -> None:
        self.client = client
        self.due = 0.0
        self.heard = b""
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def send(self, due: float, request: bytes) -> None:
        self.due = due
        assert self.transport is not None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        heard = self.heard = self.heard + data if self.heard else data
        head, end, body = heard.partition(b"\r\n\r\n")
        if not end:
            return
        _, found, length = head.partition(b"Content-Length: ")
        if found and len(body) < int(length.split(b"\r\n", 1)[0]):
            return
        self.heard = b""
        self.client.answered(self, heard[9:12].decode())

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.client.lost(self)


class _Client:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.idle: list[_Line] = []
        self.waiting: deque[float] = deque()
        self.template = plan.request.encode("latin-1")
        # Its first eight digits differ in the events of a request, the rest in the requests.
        self.mark = payload.MARK[8:].encode()
        self.tail = payload.new_id()[8:24].encode()
        self.sent = 0
        self.from_time = float("inf")
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.broken = 0
        self.measuring = False
        self.over = False

    def request(self) -> bytes:
        self.sent += 1
        return self.template.replace(self.mark, b"%s%012x" % (self.tail, self.sent))

    async def connect(self) -> None:
        try:
            _, line = await asyncio.get_running_loop().create_connection(
                lambda: _Line(self), "127.0.0.1", self.plan.port
            )
        except OSError:
            self.broken += 1
            return
        self.ready(line)

    def ready(self, line: _Line) -> None:
        if self.waiting:
            line.send(self.waiting.popleft(), self.request())
        else:
            self.idle.append(line)

    def answered(self, line: _Line, status: str) -> None:
        if self.measuring and not self.over:
            self.statuses[status] += 1
            if status < "300" and line.due >= self.from_time:
                self.latencies.append(time.perf_counter() - line.due)
        line.due = 0.0
        self.ready(line)

    def lost(self, line: _Line) -> None:
        if self.over:
            return
        if line.due:
            self.broken += 1
        else:
            self.idle.remove(line)
        asyncio.get_running_loop().create_task(self.connect())

    async def run(self) -> Told:
        plan = self.plan
        for first in range(0, plan.connections, 50):
            many = min(50, plan.connections - first)
            await asyncio.gather(*[self.connect() for _ in range(many)])
        start = due = time.perf_counter()
        self.from_time = start + plan.warm
        end = self.from_time + plan.seconds
        while (now := time.perf_counter()) < end:
            if not self.measuring and now >= self.from_time:
                self.measuring = True
                print("measuring", flush=True)
            while due <= now:
                if self.idle:
                    self.idle.pop().send(due, self.request())
                else:
                    self.waiting.append(due)
                due += 1 / plan.rate
            await asyncio.sleep(_TICK)
        self.over = True
        took = sorted(self.latencies) or [0.0]
        return Told(
            dict(self.statuses),
            took[len(took) // 2] * 1000,
            took[int(len(took) * 0.99)] * 1000,
            took[-1] * 1000,
            len(self.waiting),
            self.broken,
        )


if __name__ == "__main__":
    _plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    _new_loop = import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=_new_loop) as _runner:
        _told = _runner.run(_Client(_plan).run())
    print(json.dumps({name: getattr(_told, name) for name in Told.__slots__}), flush=True)
