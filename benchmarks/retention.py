"""What retention costs a gateway whose store is at its bound.

``python -m benchmarks.retention --minutes 10`` fills a store to its ``max_bytes``, and then
sends batches to it for so many minutes. Between these turns it sends them to gateways
without retention, for some seconds each: one on a copy of the store, which so has as many
events and keys, and one whose store is empty. It prints, for each turn, the rates, the ratios
to each of these, those of the CPU of an event, the size of the file as a share of its bound,
the runs of keys, and the memory of the process.
"""

import argparse
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks.gateway import Checkout, Server, ask, running, this_checkout
from benchmarks.load import Figures, Load, drive
from benchmarks.machine import check, memory, scratch
from benchmarks.rows import ROWS, row
from benchmarks.table import line, spread

_COLUMNS = {
    "events/s": ",.0f",
    "beside full": ".3f",
    "CPU": ".2f",
    "beside empty": ".3f",
    "CPU ": ".2f",
    "file/bound": ".3f",
    "runs": ".0f",
    "MiB": ".0f",
}
_DELETED = "SELECT sum(events) FROM prune"


def _copy(folder: Path, to: Path) -> None:
    """Copy the store and the spool."""
    for name in ("events.db", "spool.db"):
        with (
            closing(sqlite3.connect(f"file:{folder / name}?mode=ro", uri=True)) as db,
            closing(sqlite3.connect(to / name)) as copy,
        ):
            db.backup(copy)
            copy.execute("PRAGMA journal_mode=WAL")


def _drive(load: Load, server: Server, seconds: float, folder: Path) -> Figures:
    server.await_rest()
    return drive(load, server.url, server.pid, seconds, folder)


def _without(load: Load, checkout: Checkout, seconds: float, folder: Path | None) -> Figures:
    """Drive a gateway without retention, on a copy of the store in *folder* or an empty one."""
    with ExitStack() as stack:
        other = stack.enter_context(scratch())
        if folder is not None:
            _copy(folder, other)
        return _drive(load, stack.enter_context(running(other, checkout)), seconds, other)


def main() -> None:
    """Print one line for each turn, and a summary; fail if a load did."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retention", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=10)
    add("--megabytes", type=int, default=512, help="the bound of the store")
    add("--seconds", type=float, default=30, help="how long a turn lasts")
    add("--bare", type=float, default=8, help="the same, without retention")
    add("--row", default="batch-8", choices=[one.name for one in ROWS])
    options = parser.parse_args()
    bound, load = options.megabytes << 20, row(options.row).load()
    check(4 * bound + (2 << 30))
    checkout, turns, faults = this_checkout(), list[list[float]](), list[str]()
    print(f"bound     {bound:,} bytes\n\nturn  {'  '.join(_COLUMNS)}", flush=True)
    with scratch() as folder, running(folder, checkout, f"retention.max_bytes={bound}") as server:
        while not ask(folder, _DELETED):
            drive(load, server.url, server.pid, 5, folder)
        while len(turns) * options.seconds < options.minutes * 60:
            sides: list[Callable[[], Figures]] = [
                lambda: _drive(load, server, options.seconds, folder),
                lambda: _without(load, checkout, options.bare, folder),
                lambda: _without(load, checkout, options.bare, None),
            ]
            # The sides that are compared are neighbours, and each is the first one now and then.
            order = -1 if len(turns) % 2 else 1
            kept, full, empty = [side() for side in sides[::order]][::order]
            faults += [fault for one in (kept, full, empty) for fault in one.faults]
            ratios = [(kept.rate / one.rate, kept.cpu / one.cpu) for one in (full, empty)]
            size = (folder / "events.db").stat().st_size / bound
            runs = ask(folder, "SELECT count(*) FROM sealed_run")
            resident = memory(server.pid, "VmRSS")
            turns.append([kept.rate, *ratios[0], *ratios[1], size, runs, resident])
            cells = zip(turns[-1], _COLUMNS.values(), strict=True)
            told = [f"{value:{form}}" for value, form in cells]
            print(line(("turn", *_COLUMNS), [str(len(turns)), *told]), flush=True)
        print(f"\ndeleted   {ask(folder, _DELETED):,} events")
    for (name, form), values in zip(_COLUMNS.items(), zip(*turns, strict=True), strict=True):
        print(f"{name:12}  {spread(values, form)}")
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
