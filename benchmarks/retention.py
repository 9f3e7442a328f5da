"""What retention costs a gateway whose store is at its bound.

``python -m benchmarks.retention --minutes 10`` fills a store to its ``max_bytes``, and then
sends batches to it and to a gateway without retention, in turns, for so many minutes
each. It prints, for each turn, both rates and their ratio, the CPU of an event, the size
of the file as a share of its bound, the runs of keys, and the memory of the process.
"""

import argparse
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.gateway import Checkout, Server, running, this_checkout
from benchmarks.load import Figures, drive
from benchmarks.machine import check, describe, resident_memory, scratch
from benchmarks.rows import ROWS, Row
from benchmarks.table import spread


@dataclass(frozen=True, slots=True)
class Turn:
    """A load on each side. `size` is that of the file, `runs` are runs of keys."""

    kept: Figures
    bare: Figures
    size: int
    runs: int
    memory: float

    @property
    def rate(self) -> float:
        """The rate with retention, as a share of the one without."""
        return self.kept.rate / self.bare.rate

    @property
    def cpu(self) -> float:
        """The CPU of an event with retention, over that of one without."""
        return self.kept.cpu / self.bare.cpu


def _ask(folder: Path, sql: str) -> int:
    with closing(sqlite3.connect(f"file:{folder / 'events.db'}?mode=ro", uri=True)) as db:
        return int(db.execute(sql).fetchone()[0] or 0)


def _turn(
    row: Row, folder: Path, server: Server, checkout: Checkout, seconds: float, *, first: bool
) -> Turn:
    load = row.load()

    def kept() -> Figures:
        server.await_rest()
        return drive(load, server.url, server.pid, seconds, folder)

    def bare() -> Figures:
        with scratch() as other, running(other, checkout) as without:
            without.await_rest()
            return drive(load, without.url, without.pid, seconds, other)

    figures = (kept(), bare()) if first else (bare(), kept())[::-1]
    return Turn(
        *figures,
        size=(folder / "events.db").stat().st_size,
        runs=_ask(folder, "SELECT count(*) FROM sealed_run"),
        memory=resident_memory(server.pid),
    )


_HEADER = "turn  events/s     without  ratio   CPU  file/bound  runs  MiB"


def _line(number: int, turn: Turn, bound: int) -> str:
    return (
        f"{number:4}  {turn.kept.rate:8,.0f}  {turn.bare.rate:10,.0f}  {turn.rate:5.3f}"
        f"  {turn.cpu:4.2f}  {turn.size / bound:10.3f}  {turn.runs:4}  {turn.memory:3.0f}"
    )


def _summary(turns: Sequence[Turn], bound: int, deleted: int) -> str:
    sizes = [turn.size / bound for turn in turns]
    return (
        f"rate      {spread([turn.rate for turn in turns], '.3f')} of that without retention\n"
        f"CPU       {spread([turn.cpu for turn in turns], '.3f')} of that without retention\n"
        f"file      {min(sizes):.3f} to {max(sizes):.3f} of max_bytes\n"
        f"memory    {turns[0].memory:.0f} MiB after the first turn, {turns[-1].memory:.0f} after "
        f"the last, {median(turn.memory for turn in turns):.0f} in the middle\n"
        f"deleted   {deleted:,} events"
    )


def main() -> None:
    """Print one line for each turn, and a summary; fail if a load did."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retention", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--megabytes", type=int, default=512, help="the bound of the store")
    parser.add_argument("--seconds", type=float, default=10, help="how long a turn lasts")
    parser.add_argument("--row", default="batch-8", choices=[row.name for row in ROWS])
    options = parser.parse_args()
    bound, [row] = options.megabytes << 20, [row for row in ROWS if row.name == options.row]
    check(3 * bound + (2 << 30))
    checkout, turns = this_checkout(), list[Turn]()
    print(f"gateway   {checkout.description}\n{describe()}")
    print(f"bound     {bound:,} bytes, {row.title}\n\n{_HEADER}", flush=True)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        retention = f"retention.max_bytes = {bound}"
        server = stack.enter_context(running(folder, checkout, retention))
        while not _ask(folder, "SELECT sum(events) FROM prune"):
            drive(row.load(), server.url, server.pid, 5, folder)
        while len(turns) * options.seconds < options.minutes * 60:
            first = len(turns) % 2 == 0
            turn = _turn(row, folder, server, checkout, options.seconds, first=first)
            turns.append(turn)
            print(_line(len(turns), turn, bound), flush=True)
        deleted = _ask(folder, "SELECT sum(events) FROM prune")
    print(f"\n{_summary(turns, bound, deleted)}")
    if faults := [
        fault for turn in turns for one in (turn.kept, turn.bare) for fault in one.faults
    ]:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
