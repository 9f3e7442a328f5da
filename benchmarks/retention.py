"""What retention costs a gateway whose store is at its bound.

``python -m benchmarks.retention --minutes 10`` fills a store to its ``max_bytes``, and then
sends batches to it for so many minutes. Between these turns it sends them to gateways
without retention, for some seconds each: one on a copy of the store, which so has as many
events and keys, and one whose store is empty. It prints, for each turn, the rates, the ratio
to the full store, that of the CPU of an event, the size of the file as a share of its bound,
the runs of keys, and the memory of the process.
"""

import argparse
import os
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.gateway import Checkout, Server, running, this_checkout
from benchmarks.load import Figures, drive
from benchmarks.machine import check, describe, resident_memory, scratch
from benchmarks.rows import ROWS, Row
from benchmarks.table import spread


class Seconds(NamedTuple):
    """How long a load lasts, with retention and without."""

    kept: float
    bare: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A load on each side: with retention, without on as full a store, without on an empty one.

    `size` is that of the file, `runs` are runs of keys.
    """

    kept: Figures
    bare: Figures
    empty: Figures
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


def _copy(folder: Path, to: Path) -> None:
    """Copy the store and the spool."""
    for name in ("events.db", "spool.db"):
        with (
            closing(sqlite3.connect(f"file:{folder / name}?mode=ro", uri=True)) as db,
            closing(sqlite3.connect(to / name)) as copy,
        ):
            db.backup(copy)
            copy.execute("PRAGMA journal_mode=WAL")
    os.sync()


def _turn(
    row: Row, folder: Path, server: Server, checkout: Checkout, seconds: Seconds, number: int
) -> Turn:
    load = row.load()

    def kept() -> Figures:
        server.await_rest()
        return drive(load, server.url, server.pid, seconds.kept, folder)

    def bare(full: bool) -> Figures:
        with scratch() as other:
            if full:
                _copy(folder, other)
            with running(other, checkout) as without:
                without.await_rest()
                return drive(load, without.url, without.pid, seconds.bare, other)

    # The sides that are compared are neighbours, and each is the first one now and then.
    if number % 2:
        figures = (kept(), bare(full=True), bare(full=False))
    else:
        figures = (bare(full=False), bare(full=True), kept())[::-1]
    return Turn(
        *figures,
        size=(folder / "events.db").stat().st_size,
        runs=_ask(folder, "SELECT count(*) FROM sealed_run"),
        memory=resident_memory(server.pid),
    )


_HEADER = "turn  events/s  without, full  ratio   CPU  without, empty  file/bound  runs  MiB"


def _line(number: int, turn: Turn, bound: int) -> str:
    return (
        f"{number:4}  {turn.kept.rate:8,.0f}  {turn.bare.rate:13,.0f}  {turn.rate:5.3f}"
        f"  {turn.cpu:4.2f}  {turn.empty.rate:14,.0f}  {turn.size / bound:10.3f}  {turn.runs:4}"
        f"  {turn.memory:3.0f}"
    )


def _summary(turns: Sequence[Turn], bound: int, deleted: int) -> str:
    sizes = [turn.size / bound for turn in turns]
    empty = [turn.kept.rate / turn.empty.rate for turn in turns]
    cpu = [turn.kept.cpu / turn.empty.cpu for turn in turns]
    full = [turn.rate for turn in turns], [turn.cpu for turn in turns]
    return (
        f"beside a full store    rate {spread(full[0], '.3f')}, CPU {spread(full[1], '.3f')}\n"
        f"beside an empty store  rate {spread(empty, '.3f')}, CPU {spread(cpu, '.3f')}\n"
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
    parser.add_argument("--seconds", type=float, default=30, help="how long a turn lasts")
    parser.add_argument("--bare", type=float, default=8, help="the same, without retention")
    parser.add_argument("--row", default="batch-8", choices=[row.name for row in ROWS])
    options = parser.parse_args()
    bound, [row] = options.megabytes << 20, [row for row in ROWS if row.name == options.row]
    check(4 * bound + (2 << 30))
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
            seconds = Seconds(options.seconds, options.bare)
            turn = _turn(row, folder, server, checkout, seconds, len(turns) + 1)
            turns.append(turn)
            print(_line(len(turns), turn, bound), flush=True)
        deleted = _ask(folder, "SELECT sum(events) FROM prune")
    print(f"\n{_summary(turns, bound, deleted)}")
    if faults := [
        fault
        for turn in turns
        for one in (turn.kept, turn.bare, turn.empty)
        for fault in one.faults
    ]:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
