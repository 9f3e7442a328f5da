"""How long a client waits while others pipeline requests without pause.

``python -m benchmarks.fairness`` prints, for the gateway and for bare aiohttp in
the same run, the median and the longest latency of one client that asks for
``GET /health/probe``, beside 0, 1, 5 and 20 connections that pipeline it.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.floors import bare_server
from benchmarks.machine import ROOT
from benchmarks.server import checkout, running_gateway

_REQUEST = b"GET /health/probe HTTP/1.1\r\nHost: fairness\r\n\r\n"
_IN_FLIGHT = 500
_GREEDY = (0, 1, 5, 20)


class _Pipeliner(asyncio.Protocol):
    """Keeps requests in flight, for ever: as bytes come back, as many requests follow."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(_REQUEST * _IN_FLIGHT)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_REQUEST * data.count(b"HTTP/1.1 "))


async def _pipeline(host: str, port: int, connections: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(_Pipeliner, host, port)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _latencies(host: str, port: int, seconds: float) -> list[float]:
    """Milliseconds of each request of one client that asks again as soon as it is answered."""
    reader, writer = await asyncio.open_connection(host, port)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        writer.write(_REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length or 0))
        found.append((time.perf_counter() - began) * 1000)
    writer.close()
    return found


async def _measure(url: str, connections: int, seconds: float) -> list[float]:
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 0
    greedy = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.fairness", host, str(port), str(connections)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert greedy.stdout is not None
        await greedy.stdout.readline()
        await asyncio.sleep(0.3)
        return await _latencies(host, port, seconds)
    finally:
        greedy.kill()
        await greedy.wait()


def main(seconds: float = 3.0) -> None:
    """Print one line for each number of connections that pipeline."""
    here = checkout(ROOT, Path(sys.executable))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(running_gateway(folder, here)).url
        bare = stack.enter_context(bare_server()).url
        print("pipelining  gateway median/max ms  bare aiohttp median/max ms  ratio of medians")
        for connections in _GREEDY:
            sides = [asyncio.run(_measure(url, connections, seconds)) for url in (ours, bare)]
            gateway, aiohttp = ((statistics.median(one), max(one)) for one in sides)
            print(
                f"{connections:10}  {gateway[0]:14.2f} / {gateway[1]:6.1f}"
                f"  {aiohttp[0]:19.2f} / {aiohttp[1]:6.1f}  {gateway[0] / aiohttp[0]:16.2f}"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_pipeline(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    else:
        main()
