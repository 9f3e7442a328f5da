"""What a gateway costs that is restarted over and over on one store.

``python -m benchmarks.restarts --lives 60 --seconds 1`` starts the gateway, lets clients
store events for so long, stops it, and starts it again. The last lives should be like the
first.

The newest keys are read from the events at each start until they fill a run, so the
figures go up and down with a period of some lives: averages of several lives are
compared, not single ones.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from benchmarks import gateway, machine
from benchmarks.gateway import Checkout, stored
from benchmarks.load import Figures, drive
from benchmarks.rows import logspace
from benchmarks.table import aligned, line

_COMPARED = 15
"""Lives at each end whose averages are compared: about three runs of keys."""

_COLUMNS = ("start s", "start CPU s", "CPU s until idle", "CPU us an event", "peak MiB")


def _live(folder: Path, checkout: Checkout, seconds: float) -> tuple[list[float], Figures]:
    """Start and stop it once; return a figure for each column, and those of the load."""
    began, before, load = time.perf_counter(), stored(folder), logspace()
    with gateway.running(folder, checkout) as server:
        start, start_cpu = time.perf_counter() - began, machine.cpu_seconds(server.pid)
        server.await_rest()
        rest_cpu = machine.cpu_seconds(server.pid) - start_cpu
        took = drive(load, server.url, server.pid, seconds, folder)
    took = gateway.checked(took, load, stored(folder) - before)
    return [start, start_cpu, rest_cpu, took.cpu, took.peak], took


def main() -> int:
    """Print one line for each life, and how the last ones compare with the first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=__doc__)
    parser.add_argument("--lives", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=1.0, help="of load in each life")
    options = parser.parse_args()
    machine.check()
    checkout, lives, faults = gateway.this_checkout(), list[list[float]](), 0
    print(f"\nlife  {'  '.join(_COLUMNS)}  checked")
    with machine.scratch() as folder:
        for number in range(1, options.lives + 1):
            life, took = _live(folder, checkout, options.seconds)
            lives.append(life)
            faults += len(took.faults)
            cells = line(("life", *_COLUMNS), [str(number), *(f"{one:.2f}" for one in life)])
            print(f"{cells}  {'; '.join(took.faults) or 'yes'}", flush=True)
        print(f"\nstored    {stored(folder):,} events\n\n{_compared(lives)}")
    return 1 if faults else 0


def _compared(lives: Sequence[Sequence[float]]) -> str:
    """The averages of the first and of the last lives, and the last as a share of the first."""
    count, rows = min(_COMPARED, max(1, len(lives) // 2)), []
    for name, values in zip(_COLUMNS, zip(*lives, strict=True), strict=True):
        first, last = fmean(values[:count]), fmean(values[-count:])
        rows.append((name, f"{first:.2f}", f"{last:.2f}", f"{last / first:.2f}" if first else "-"))
    return aligned(("average of", f"first {count}", f"last {count}", "last/first"), rows)


if __name__ == "__main__":
    sys.exit(main())
