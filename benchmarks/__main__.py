"""Measure the gateway beside the floors of HTTP and disk, or beside another checkout."""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks import compare, floors, machine
from benchmarks.compare import Pair, Side
from benchmarks.load import Figures
from benchmarks.rows import ROWS, Row, measure
from benchmarks.server import Checkout, checkout, this_checkout
from benchmarks.table import aligned, checked, middle, spread


@dataclass(slots=True)
class Line:
    """A row's measurements, round by round, each beside its floors."""

    row: Row
    bare: list[Figures] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    gateway: list[Figures] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What was not as it should be."""
        return [fault for one in (*self.bare, *self.gateway) for fault in one.faults]

    def measure(self, checkout: Checkout, bare: floors.BareServer, seconds: float) -> None:
        """Add a round."""
        load = self.row.load()
        with machine.scratch() as folder:
            # Batches are compared with single requests of as many clients as make it busy.
            connections = load.connections if not load.batch else 64
            self.bare.append(bare.measure(connections, seconds / 2, folder))
        with machine.scratch() as folder:
            self.disk.append(floors.disk(folder, seconds / 4))
        with machine.scratch() as folder:
            self.gateway.append(measure(load, folder, seconds, checkout))


_Measured = TypeVar("_Measured", Line, Pair)

_COLUMNS = (
    *("", "events/s", "us CPU/event", "x bare", "by CPU", "x disk", "p50 ms", "p99 ms", "max ms"),
    *("peak MiB", "checked", ""),
)


def table(lines: Sequence[Line]) -> str:
    """The one table."""
    return aligned(_COLUMNS, [_cells(line) for line in lines])


def _cells(line: Line) -> tuple[str, ...]:
    results = line.gateway
    beside = list(zip(results, line.bare, line.disk, strict=True))
    return (
        line.row.name,
        spread([one.rate for one in results]),
        middle([one.cpu for one in results], ".1f"),
        middle([one.rate / bare.rate for one, bare, _ in beside], ".2f"),
        middle([bare.cpu / max(one.cpu, 1e-9) for one, bare, _ in beside], ".2f"),
        middle([one.rate / disk for one, _, disk in beside], ".2f"),
        middle([one.p50 for one in results], ".1f"),
        middle([one.p99 for one in results], ".1f"),
        format(max(one.worst for one in results), ".1f"),
        format(max(one.peak for one in results), ".0f"),
        *checked(line.row.title, line.faults),
    )


_NOTE = """
x bare: events/s over requests/s of a bare aiohttp handler. by CPU: the CPU of a bare request over
that of an event. x disk: events/s over rows/s of a bare executemany. Several rounds: medians
(least-greatest), and of max and peak the worst."""


def _beside_floors(rows: Sequence[Row], options: argparse.Namespace) -> Sequence[Line]:
    lines, this = [Line(row) for row in rows], this_checkout()
    print(f"gateway   {this.description}", flush=True)
    with floors.bare_server() as bare:
        for line in _rounds(lines, options.rounds or 1):
            line.measure(this, bare, options.seconds)
    print(f"\n{table(lines)}\n\n{_floors(lines)}\n{_NOTE}")
    return lines


def _floors(lines: Sequence[Line]) -> str:
    bare = [one for line in lines for one in line.bare]
    rate, cpu = middle([one.rate for one in bare]), middle([one.cpu for one in bare], ".1f")
    rows = middle([rate for line in lines for rate in line.disk])
    return f"floors: bare {rate} requests/s, {cpu} us CPU each; disk {rows} rows/s"


_PAIR_NOTE = """
Ratios above 1 mean that {} is better: more events a second, less CPU. Medians of {} rounds
(least-greatest). The ratio of CPU is the steadier one."""


def _beside_another(rows: Sequence[Row], options: argparse.Namespace) -> Sequence[Pair]:
    pairs, rounds = [Pair(row) for row in rows], options.rounds or 5
    with _sides(options) as sides:
        for side in sides:
            print(f"{side.name:9} {side.checkout.description}", flush=True)
        for pair in _rounds(pairs, rounds):
            pair.measure(sides, options.seconds)
    print(f"\n{compare.table(pairs, sides)}\n{_PAIR_NOTE.format(sides[0].name, rounds)}")
    return pairs


@contextmanager
def _sides(options: argparse.Namespace) -> Iterator[tuple[Side, Side]]:
    this = this_checkout()
    if options.against:
        other = checkout(options.against, options.against / ".venv/bin/python")
        yield Side("this", this), Side("other", other)
        return
    with machine.scratch() as folder:
        print(f"filling a store with {options.stored:,} events", file=sys.stderr, flush=True)
        compare.fill(folder, this, options.stored)
        yield Side("full", this, folder), Side("empty", this)


def _rounds(lines: Sequence[_Measured], rounds: int) -> Iterator[_Measured]:
    for number in range(1, rounds + 1):
        for line in lines:
            print(f"round {number}: {line.row.name}", file=sys.stderr, flush=True)
            yield line


def main() -> int:
    """Run the benchmark; 1 when something counted disagreed, 2 when the machine is unfit."""
    options = _options()
    # Whoever ends the benchmark ends the servers that it started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    needed = (4 << 30) + (options.stored or 0) * 1000
    try:
        machine.check(needed)
        print(machine.describe(), f"rows      {options.seconds:g} s each", sep="\n", flush=True)
        run = _beside_another if options.against or options.stored else _beside_floors
        lines = run(rows, options)
    except machine.Unfit as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if any(line.faults for line in lines) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [row.name for row in ROWS]
    add = parser.add_argument
    add("--only", action="append", choices=names, metavar="ROW", help=", ".join(names))
    add("--rounds", type=int, metavar="N", help="measure each row N times; 1, or 5 in turns")
    add("--seconds", type=float, default=2.0, metavar="S", help="how long each load lasts; 2")
    sides = parser.add_mutually_exclusive_group()
    against = "in turns with the checkout in DIR, which has a .venv of its own; prints ratios"
    sides.add_argument("--against", type=Path, metavar="DIR", help=against)
    stored = "an empty store in turns with one that holds N events; prints ratios"
    sides.add_argument("--stored", type=int, metavar="N", help=stored)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
