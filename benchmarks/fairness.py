"""How long a client waits while others pipeline requests without pause.

``python -m benchmarks.fairness`` prints, for the gateway and for bare aiohttp in
the same run, the median and the longest latency of one client that asks for
``GET /health/probe``, beside 0, 1, 5 and 20 connections that pipeline it.
"""

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import gateway
from benchmarks.floors import bare_server
from benchmarks.gateway import Server
from benchmarks.load import Figures, Load, drive
from benchmarks.machine import on_client_core, scratch

_PROBE = Load("/health/probe", {}, "", connections=1, method="GET")

# Whenever all its requests are answered, a connection sends as many again.
_SCRIPT = f"""
function init() many = string.rep({_PROBE.request().decode()!r}, 500) end
function request() return many end
"""


def _measure(server: Server, connections: int, folder: Path) -> Figures:
    if not connections:
        return drive(_PROBE, server.url, server.pid, 3, folder)
    script = folder / "pipeline.lua"
    script.write_text(_SCRIPT)
    wrk = ["wrk", "-t", "1", "-c", str(connections), "-d", "60s", "-s", str(script), server.url]
    with subprocess.Popen(on_client_core(wrk), stdout=subprocess.DEVNULL) as greedy:
        try:
            time.sleep(0.5)
            return drive(_PROBE, server.url, server.pid, 3, folder)
        finally:
            greedy.kill()


def main() -> None:
    """Print one line for each number of connections that pipeline."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        ours = stack.enter_context(gateway.running(folder, gateway.this_checkout()))
        bare = stack.enter_context(bare_server())
        print("pipelining  gateway median/max ms  bare aiohttp median/max ms  ratio of medians")
        for connections in (0, 1, 5, 20):
            one, other = (_measure(server, connections, folder) for server in (ours, bare))
            print(
                f"{connections:10}  {one.p50:14.2f} / {one.worst:6.1f}"
                f"  {other.p50:19.2f} / {other.worst:6.1f}  {one.p50 / other.p50:16.2f}"
            )


if __name__ == "__main__":
    main()
