"""Measure the gateway beside the floors of HTTP and disk, or beside another checkout."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks import compare, floors, machine
from benchmarks.compare import Pair, Side
from benchmarks.rows import ROWS, Result, Row, measure
from benchmarks.server import Checkout, this_checkout
from benchmarks.table import aligned, checked, middle, spread


@dataclass(slots=True)
class Line:
    """A row's measurements, round by round, each beside its floors."""

    row: Row
    bare: list[floors.Bare] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    gateway: list[Result] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What was not as it should be."""
        bare = [fault for one in self.bare for fault in one.figures.faults]
        return bare + [fault for one in self.gateway for fault in one.faults]

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
    *("", "events/s", "x bare", "by CPU", "x disk", "us CPU/event", "p50 ms", "p99 ms", "max ms"),
    *("lag ms", "peak MiB", "bytes/event", "events/fsync", "checked", ""),
)


def table(lines: Sequence[Line]) -> str:
    """The one table."""
    return aligned(_COLUMNS, [_cells(line) for line in lines])


def _cells(line: Line) -> tuple[str, ...]:
    results = line.gateway

    def each(read: Callable[[Result], float], form: str = ",.0f") -> str:
        return middle(map(read, results), form)

    def most(read: Callable[[Result], float], form: str = ",.0f") -> str:
        return format(max(map(read, results)), form)

    beside = list(zip(results, line.bare, line.disk, strict=True))
    return (
        line.row.name,
        spread([one.rate for one in results]),
        middle((one.rate / bare.figures.rate for one, bare, _ in beside), ".2f"),
        middle((bare.cpu / one.cpu for one, bare, _ in beside if one.cpu), ".2f"),
        middle((one.rate / disk for one, _, disk in beside), ".2f"),
        each(lambda one: one.cpu, ".1f"),
        each(lambda one: one.figures.p50, ".1f"),
        each(lambda one: one.figures.p99, ".1f"),
        most(lambda one: one.figures.worst, ".1f"),
        most(lambda one: one.cost.lag, ".1f"),
        most(lambda one: one.cost.peak),
        each(lambda one: one.cost.written / max(one.events, 1)),
        each(lambda one: one.events / max(one.cost.commits, 1)),
        *checked(line.row.title, line.faults),
    )


_NOTE = """
x bare: events/s over requests/s of a bare aiohttp handler. by CPU: the CPU time of a bare request
over that of an event. x disk: events/s over rows/s of a bare executemany. Several rounds: medians
(least-greatest); max, lag and peak are the worst. lag is the bound of a histogram's bucket."""


def _beside_floors(rows: Sequence[Row], options: argparse.Namespace) -> Sequence[Line]:
    lines, checkout = [Line(row) for row in rows], this_checkout()
    print(f"gateway   {checkout.description}", flush=True)
    with floors.bare_server() as bare:
        for line in _rounds(lines, options.rounds or 1):
            line.measure(checkout, bare, options.seconds)
    print(f"\n{table(lines)}\n{_NOTE}")
    return lines


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
        other = Checkout.at(options.against, options.against / ".venv/bin/python")
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
    if options.json:
        plain = [{**asdict(line), "row": line.row.name} for line in lines]
        options.json.write_text(json.dumps(plain, indent=1) + "\n")
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
    add("--json", type=Path, metavar="FILE", help="write every measurement there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
