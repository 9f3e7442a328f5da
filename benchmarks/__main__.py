"""Measure the gateway beside the floors of HTTP and disk, and print the ratios."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import big_store, floors, machine, memory, report, rows
from benchmarks.report import Line
from benchmarks.rows import FULL, LONG, ROWS, Row
from benchmarks.scratch import scratch

MEMORY = "memory"
USUAL = (*(row.name for row in ROWS), MEMORY)
NAMES = (*USUAL, *(row.name for row in (*LONG, *FULL)))


class Run:
    """One run of the benchmark: rounds in which each row follows its floors."""

    def __init__(self, names: Sequence[str], rounds: int, seconds: float) -> None:
        self._rounds = rounds
        self._seconds = seconds
        self.lines = [Line(row) for row in (*ROWS, *LONG) if row.name in names]
        self.full = [Line(row) for row in FULL if row.name in names]
        self.weighs = MEMORY in names
        self.weights: list[memory.Weight] = []

    def measure(self) -> None:
        """Fill the lines."""
        with floors.bare_server() as bare, scratch() as kept:
            if self.full:
                _say("taking a copy of the full store")
                big_store.working_copy(kept)
            for number in range(1, self._rounds + 1):
                for line in self.lines:
                    _say(f"round {number}: {line.row.name}")
                    self._beside_floors(line, bare)
                if self.weighs:
                    _say(f"round {number}: {MEMORY}")
                    with scratch() as folder:
                        self.weights.append(memory.weigh(folder))
                for line in self.full:
                    _say(f"round {number}: {line.row.name}")
                    with scratch() as folder:
                        line.gateway.append(self._gateway(line.row, folder))
                    line.full.append(self._gateway(line.row, kept))

    def _beside_floors(self, line: Line, bare: floors.BareServer) -> None:
        with scratch() as folder:
            line.bare.append(bare.measure(line.row.floor, self._seconds, folder))
        with scratch() as folder:
            line.disk.append(floors.disk(folder, self._seconds / 3))
        with scratch() as folder:
            line.gateway.append(self._gateway(line.row, folder))

    def _gateway(self, row: Row, folder: Path) -> rows.Result:
        return rows.measure(row.load(), folder, self._seconds * row.lasts)

    @property
    def true(self) -> bool:
        """Whether everything that was counted agreed."""
        faults = [line.faults for line in (*self.lines, *self.full)]
        return not any(faults) and not any(one.faults for one in self.weights)

    def tables(self) -> Iterator[str]:
        """What was measured, for people."""
        if self.lines:
            yield report.rates(self.lines)
            yield report.costs(self.lines)
        if self.weights:
            yield report.weights(self.weights)
        if self.full:
            yield report.full(self.full)
            yield report.costs(self.full)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> int:
    """Run the benchmark; 1 when something counted disagreed, 2 when the machine is unfit."""
    options = _options()
    names = options.only or (NAMES if options.full else USUAL)
    run = Run(names, options.rounds, options.seconds)
    try:
        machine.FOLDER.mkdir(exist_ok=True)
        machine.need_linux()
        machine.need_wrk()
        machine.need_disk(machine.FOLDER, 4 << 30)
        described = machine.describe()
        print(described, f"rounds    {options.rounds} of {options.seconds:g} s", sep="\n")
        run.measure()
    except machine.Unfit as error:
        print(error, file=sys.stderr)
        return 2
    for table in run.tables():
        print(f"\n{table}")
    if options.rounds > 1:
        print("\nEach figure is the median of the rounds (least-greatest); max and peak the most.")
    if options.json:
        report.write_json(options.json, described, [*run.lines, *run.full], run.weights)
    return 0 if run.true else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=1, metavar="N", help="measure everything N times")
    add("--seconds", type=float, default=3.0, metavar="S", help="how long each load lasts")
    add("--full", action="store_true", help="also long, and on ten million events")
    add("--only", action="append", choices=NAMES, metavar="ROW", help=", ".join(NAMES))
    add("--json", type=Path, metavar="FILE", help="write every measurement there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
