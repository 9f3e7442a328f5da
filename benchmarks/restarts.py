"""What a gateway costs that is restarted over and over on one store.

``python -m benchmarks.restarts --lives 60 --events 50000`` starts the gateway, stores
events, stops it, and starts it again. It prints, for each life, the seconds until the
gateway listens, the CPU of the start and of what it reads afterwards, the CPU of an
event, and the peak of memory. The last lives should be like the first.

The newest keys are read from the events at each start until they fill a run, so the
figures go up and down with a period of five lives or so: averages of several lives are
compared, not single ones.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from statistics import fmean
from urllib.parse import urlsplit

from benchmarks import payload
from benchmarks.machine import CORES, cpu_seconds, describe, need_disk, peak_memory, scratch
from benchmarks.rows import logspace
from benchmarks.server import Checkout, running_gateway, stored, this_checkout
from benchmarks.table import aligned

_CLIENTS = 8
_BATCH = 100
_BYTES_PER_EVENT = 1000
_COMPARED = 15
"""Lives at each end whose averages are compared: about three runs of keys."""


@dataclass(frozen=True, slots=True)
class Life:
    """One start and stop. `start` is in seconds until it listens; CPU is in seconds."""

    start: float
    start_cpu: float
    rest_cpu: float
    event_cpu: float
    peak: float


_COLUMNS: dict[str, Callable[[Life], float]] = {
    "start s": lambda life: life.start,
    "start CPU s": lambda life: life.start_cpu,
    "CPU s until idle": lambda life: life.rest_cpu,
    "CPU us an event": lambda life: life.event_cpu * 1e6,
    "peak MiB": lambda life: life.peak,
}


def _bodies(events: int, first: int) -> Iterator[bytes]:
    before, _, after = logspace().template.partition(payload.MARK)
    tail = payload.new_id()[8:]
    ids = (f"{number:08x}" for number in range(first, first + events))
    while batch := list(islice(ids, _BATCH)):
        yield f"[{','.join(f'{before}{one}{tail}{after}' for one in batch)}]".encode()


def _send(url: str, bodies: Sequence[bytes]) -> None:
    load, address = logspace(), urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
    for body in bodies:
        connection.request(load.method, load.path, body, dict(load.headers))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 202:
            raise RuntimeError(f"The gateway answered {answer.status}.")
    connection.close()


def _live(folder: Path, checkout: Checkout, events: int, number: int) -> Life:
    bodies = list(_bodies(events, number * events))
    began = time.perf_counter()
    with running_gateway(folder, checkout) as server:
        start, start_cpu = time.perf_counter() - began, cpu_seconds(server.pid)
        server.await_rest()
        idle = cpu_seconds(server.pid)
        with ThreadPoolExecutor(_CLIENTS) as clients:
            list(clients.map(_send, [server.url] * _CLIENTS, _shares(bodies)))
        return Life(
            start=start,
            start_cpu=start_cpu,
            rest_cpu=idle - start_cpu,
            event_cpu=(cpu_seconds(server.pid) - idle) / events,
            peak=peak_memory(server.pid),
        )


def _shares(bodies: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [bodies[client::_CLIENTS] for client in range(_CLIENTS)]


def main() -> None:
    """Print one line for each life, and how the last ones compare with the first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=__doc__)
    parser.add_argument("--lives", type=int, default=60)
    parser.add_argument("--events", type=int, default=50_000, help="events in each life")
    options = parser.parse_args()
    checkout = this_checkout()
    if CORES is not None:
        os.sched_setaffinity(0, {CORES[0]})
    lives: list[Life] = []
    with scratch() as folder:
        need_disk(folder, options.lives * options.events * _BYTES_PER_EVENT)
        print(f"gateway   {checkout.description}\n{describe()}\n\nlife  {'  '.join(_COLUMNS)}")
        for number in range(options.lives):
            lives.append(_live(folder, checkout, options.events, number))
            cells = [f"{of(lives[-1]):{len(name)}.2f}" for name, of in _COLUMNS.items()]
            print(f"{number + 1:4}  {'  '.join(cells)}", flush=True)
        kept = stored(folder)
    expected = options.lives * options.events
    print(f"\nstored    {kept:,} of {expected:,} acknowledged\n\n{compared(lives)}")
    if kept != expected:
        raise SystemExit(1)


def compared(lives: Sequence[Life]) -> str:
    """The averages of the first and of the last lives, and the last as a share of the first."""
    count = min(_COMPARED, max(1, len(lives) // 2))
    rows = []
    for name, of in _COLUMNS.items():
        first, last = (fmean(map(of, some)) for some in (lives[:count], lives[-count:]))
        ratio = f"{last / first:.2f}" if first else "-"
        rows.append((name, f"{first:.2f}", f"{last:.2f}", ratio))
    return aligned(("average of", f"first {count}", f"last {count}", "last/first"), rows)


if __name__ == "__main__":
    main()
