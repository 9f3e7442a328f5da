"""An open-loop client: it sends at a rate, whatever the answers are and however long they take.

wrk sends the next request when the last one is answered, so a slow server slows it down.
Here each request has a time at which it is due, and its latency counts from then on.
``python -m benchmarks.openloop`` reads a `Plan` from stdin and prints what it `Told`.
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import cast

from benchmarks import payload
from benchmarks.floors import run
from benchmarks.machine import cpu_seconds

_TICK = 0.001
"""Seconds between two looks at what is due."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Send the text of *request* to a port of process *pid*, *rate* times a second.

    The first *warm* seconds are not measured, the *seconds* after them are. At most
    *connections* requests wait for their answers; others wait in the client.
    """

    port: int
    pid: int
    request: str
    rate: float
    connections: int
    seconds: float
    warm: float = 2.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a plan came to: answers by status, and the milliseconds that those with 2xx took.

    `accepted` and `refused` are answers a second, `cpu` is the share of a core that the
    server used. `late` counts the requests that were due and not sent, because all
    connections waited.
    """

    statuses: dict[str, int]
    accepted: float
    refused: float
    cpu: float
    p50: float
    p99: float
    late: int
    broken: int


class _Line(asyncio.Protocol):
    def __init__(self, client: "_Client") -> None:
        self.client = client
        self.due = 0.0
        self.heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def send(self, due: float, request: bytes) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.heard += data
        head, end, body = self.heard.partition(b"\r\n\r\n")
        length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
        if end and len(body) >= int(length or 0):
            self.heard = b""
            self.client.answered(self, head[9:12].decode())

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.lost(self)


class _Client:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.idle: list[_Line] = []
        self.waiting: deque[float] = deque()
        # The first eight digits differ in the events of a request, the rest in the requests.
        rest = payload.MARK[8:]
        first, *parts = plan.request.split(payload.MARK)
        marked = [f"{number:08x}{rest}{part}" for number, part in enumerate(parts)]
        self.template = "".join([first, *marked]).encode("latin-1")
        self.mark = rest.encode()
        self.tail = payload.new_id()[8:24].encode()
        self.sent = self.broken = 0
        self.begin = self.end = float("inf")
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []

    def request(self) -> bytes:
        self.sent += 1
        return self.template.replace(self.mark, b"%s%012x" % (self.tail, self.sent))

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, line = await loop.create_connection(lambda: _Line(self), "127.0.0.1", self.plan.port)
        except OSError:
            self.broken += 1
        else:
            self.ready(line)

    def ready(self, line: _Line) -> None:
        if self.waiting:
            line.send(self.waiting.popleft(), self.request())
        else:
            self.idle.append(line)

    def answered(self, line: _Line, status: str) -> None:
        now = time.perf_counter()
        if self.begin <= now < self.end:
            self.statuses[status] += 1
            if status < "300" and line.due >= self.begin:
                self.latencies.append((now - line.due) * 1000)
        line.due = 0.0
        self.ready(line)

    def lost(self, line: _Line) -> None:
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
        due = time.perf_counter()
        self.begin, self.end = due + plan.warm, due + plan.warm + plan.seconds
        due = await self.send_until(due, self.begin)
        before, began = cpu_seconds(plan.pid), time.perf_counter()
        await self.send_until(due, self.end)
        cpu, took = cpu_seconds(plan.pid) - before, time.perf_counter() - began
        accepted = sum(count for status, count in self.statuses.items() if status < "300")
        latencies = sorted(self.latencies) or [0.0]
        return Told(
            statuses=dict(self.statuses),
            accepted=accepted / took,
            refused=(self.statuses["503"] + self.statuses["429"]) / took,
            cpu=cpu / took,
            p50=latencies[len(latencies) // 2],
            p99=latencies[int(len(latencies) * 0.99)],
            late=len(self.waiting),
            broken=self.broken,
        )

    async def send_until(self, due: float, end: float) -> float:
        while (now := time.perf_counter()) < end:
            while due <= now:
                if self.idle:
                    self.idle.pop().send(due, self.request())
                else:
                    self.waiting.append(due)
                due += 1 / self.plan.rate
            await asyncio.sleep(_TICK)
        return due


async def _main() -> None:
    told = await _Client(Plan(**json.load(sys.stdin))).run()
    print(json.dumps(asdict(told)), flush=True)


if __name__ == "__main__":
    run(_main())
