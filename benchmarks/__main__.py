"""Measure the gateway beside the floors of HTTP and disk, or beside another gateway.

That is another checkout, or this one with an empty store beside a full one. A machine
drifts, so each round measures both sides one after the other and compares those two; the
side that begins changes with every round.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import floors, gateway, machine
from benchmarks.gateway import Checkout, checkout, stored, this_checkout
from benchmarks.load import Figures, Load, drive
from benchmarks.rows import ROWS, Row, logspace, single
from benchmarks.table import NOTE, Line, table


@dataclass(frozen=True, slots=True)
class Gateway:
    """A side: a checkout, and the folder of the store it continues or None for an empty one."""

    name: str
    checkout: Checkout
    folder: Path | None = None

    def measure(self, load: Load, seconds: float) -> Figures:
        """Start it, drive it, and count what it stored."""
        with ExitStack() as stack:
            folder = self.folder or stack.enter_context(machine.scratch())
            return gateway.measure(load, folder, seconds, self.checkout)


@dataclass(frozen=True, slots=True)
class Bare:
    """A side: the floor of HTTP. One request is one event."""

    server: gateway.Server
    name: str = "bare"

    def measure(self, load: Load, seconds: float) -> Figures:
        """Drive it with single events."""
        # Batches are compared with single requests of as many clients as make it busy.
        beside = single(64 if load.batch else load.connections)
        with machine.scratch() as folder:
            return drive(beside, self.server.url, self.server.pid, seconds, folder)


@contextmanager
def _sides(options: argparse.Namespace) -> Iterator[tuple[Gateway, Gateway | Bare]]:
    this = this_checkout()
    if options.against:
        other = checkout(options.against, options.against / ".venv/bin/python")
        print(f"other     {other.description}", flush=True)
        yield Gateway("this", this), Gateway("other", other)
    elif options.stored:
        with machine.scratch() as folder:
            print(f"filling a store with {options.stored:,} events", file=sys.stderr, flush=True)
            with gateway.running(folder, this) as server:
                while stored(folder) < options.stored:
                    drive(logspace(500), server.url, server.pid, 5, folder)
            yield Gateway("full", this, folder), Gateway("empty", this)
    else:
        with floors.bare_server() as server:
            yield Gateway("gateway", this), Bare(server)


def _run(rows: Sequence[Row], options: argparse.Namespace) -> list[Line]:
    lines = [Line(row) for row in rows]
    with _sides(options) as (one, other):
        for number in range(options.rounds or (5 if options.against or options.stored else 1)):
            for line in lines:
                print(f"round {number + 1}: {line.row.name}", file=sys.stderr, flush=True)
                load, turns = line.row.load(), [(line.one, one), (line.other, other)]
                for results, side in turns if number % 2 == 0 else reversed(turns):
                    results.append(side.measure(load, options.seconds))
                with machine.scratch() as folder:
                    line.disk.append(floors.disk(folder, options.seconds / 4))
        print(f"\n{table(lines, one.name, other.name)}\n\n{NOTE}")
    return lines


def main() -> int:
    """Run the benchmark; 1 when something counted disagreed, or the machine is unfit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add, names = parser.add_argument, [row.name for row in ROWS]
    add("--only", action="append", choices=names, metavar="ROW", help=", ".join(names))
    add("--rounds", type=int, metavar="N", help="measure each row N times; 1, or 5 of two gateways")
    add("--seconds", type=float, default=2.0, metavar="S", help="how long each load lasts; 2")
    sides = parser.add_mutually_exclusive_group()
    against = "beside the checkout in DIR, which has a .venv of its own"
    sides.add_argument("--against", type=Path, metavar="DIR", help=against)
    stored = "a store that holds N events beside an empty one"
    sides.add_argument("--stored", type=int, metavar="N", help=stored)
    options = parser.parse_args()
    # Whoever ends the benchmark ends the servers that it started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    machine.check((4 << 30) + (options.stored or 0) * 1000)
    print(f"rows      {options.seconds:g} s each", flush=True)
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    return 1 if any(line.faults for line in _run(rows, options)) else 0


if __name__ == "__main__":
    sys.exit(main())
