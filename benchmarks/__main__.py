"""The command: measure floors and gateway in turn, and print one table."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import floors, machine, rows
from benchmarks.load import Figures
from benchmarks.rows import Result, Row
from benchmarks.table import aligned, middle, most, spread


@dataclass(slots=True)
class Line:
    """A row's measurements, round by round."""

    bare: list[Figures] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    gateway: list[Result] = field(default_factory=list)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk of the checkout, gone afterwards."""
    machine.FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=machine.FOLDER))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run the benchmark; 1 when a row was not true, 2 when the machine cannot run it."""
    options = _options()
    try:
        machine.FOLDER.mkdir(exist_ok=True)
        machine.need_wrk()
        machine.need_disk(machine.FOLDER, 4 << 30)
    except machine.Unfit as error:
        print(error, file=sys.stderr)
        return 2
    print(machine.describe(), flush=True)
    wanted, _ = rows.by_name(dict.fromkeys(options.only) if options.only else None)
    lines = {row.name: Line() for row in wanted}
    with floors.bare_server() as url:
        for number in range(options.rounds):
            for row in wanted:
                print(f"round {number + 1}: {row.name}", file=sys.stderr, flush=True)
                _measure(row, lines[row.name], url, options.seconds)
    print(_rates(wanted, lines))
    print(_costs(wanted, lines))
    return int(any(one.faults for line in lines.values() for one in line.gateway))


def _measure(row: Row, line: Line, url: str, seconds: float) -> None:
    with scratch() as folder:
        line.bare.append(floors.bare(url, row.floor, seconds, folder))
    with scratch() as folder:
        line.disk.append(floors.disk(folder, seconds / 3))
    with scratch() as folder:
        line.gateway.append(rows.measure(row.load(), folder, seconds))


def _rates(wanted: list[Row], lines: dict[str, Line]) -> str:
    header = ("", "bare req/s", "disk rows/s", "events/s", "x bare", "x disk", "")
    table = []
    for row in wanted:
        line = lines[row.name]
        events = [one.events for one in line.gateway]
        bare = [one.rate for one in line.bare]
        table.append(
            (
                row.name,
                spread(bare),
                spread(line.disk),
                spread(events),
                spread([e / b for e, b in zip(events, bare, strict=True)], ".2f"),
                spread([e / d for e, d in zip(events, line.disk, strict=True)], ".2f"),
                "; ".join({fault for one in line.gateway for fault in one.faults}) or "true",
            )
        )
    return aligned(header, table)


def _costs(wanted: list[Row], lines: dict[str, Line]) -> str:
    header = ("", "p50 ms", "p99 ms", "max ms", "CPU s/1k", "peak MiB", "B/event", "fsync/s", "")
    table = []
    for row in wanted:
        results = lines[row.name].gateway
        table.append(
            (
                row.name,
                middle([one.figures.p50 for one in results], ".1f"),
                middle([one.figures.p99 for one in results], ".1f"),
                most([one.figures.worst for one in results], ".1f"),
                middle([one.per_event(one.cost.cpu * 1000) for one in results], ".4f"),
                most([one.cost.peak for one in results]),
                middle([one.per_event(one.cost.written) for one in results]),
                middle([one.cost.commits / one.figures.seconds for one in results]),
                row.title,
            )
        )
    return aligned(header, table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="measure N times")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of each load")
    parser.add_argument("--only", action="append", metavar="NAME", help="this row; repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
