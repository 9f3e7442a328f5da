"""How long a client waits while others pipeline requests without pause.

``python -m benchmarks.fairness`` prints, for the gateway and for bare aiohttp in
the same run, the median and the longest latency of one client that asks for
``GET /health/probe``, beside 0, 1, 5 and 20 connections that pipeline it.
"""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.floors import bare_server
from benchmarks.gateway import Server, running, this_checkout
from benchmarks.load import Figures, Load, drive, flood
from benchmarks.machine import scratch
from benchmarks.table import aligned

_PROBE = Load("/health/probe", {}, "", connections=1, method="GET")

# Whenever all its requests are answered, a connection sends as many again.
_SCRIPT = f"""
function init() many = string.rep({_PROBE.request().decode()!r}, 500) end
function request() return many end
"""


def _measure(server: Server, connections: int, seconds: float, folder: Path) -> Figures:
    with ExitStack() as stack:
        if connections:
            script = folder / "pipeline.lua"
            script.write_text(_SCRIPT)
            stack.enter_context(flood(server.url, connections, script))
            time.sleep(0.5)
        return drive(_PROBE, server.url, server.pid, seconds, folder)


def main() -> None:
    """Print one line for each number of connections that pipeline."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load lasts; 3")
    seconds, rows = parser.parse_args().seconds, []
    with scratch() as folder, running(folder, this_checkout()) as ours, bare_server() as bare:
        for connections in (0, 1, 5, 20):
            one, other = (_measure(side, connections, seconds, folder) for side in (ours, bare))
            figures = (one.p50, one.worst, other.p50, other.worst, one.p50 / other.p50)
            rows.append((str(connections), *(f"{figure:.2f}" for figure in figures)))
    header = ("pipelining", "median ms", "max ms", "bare median", "bare max", "ratio of medians")
    print(aligned(header, rows))


if __name__ == "__main__":
    main()
