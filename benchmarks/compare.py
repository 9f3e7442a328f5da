"""Two sides under the same loads, in turns: two checkouts, or an empty store and a full one.

A machine drifts, so each round measures both sides one after the other and
compares those two. The side that begins changes with every round.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load import Figures, drive
from benchmarks.machine import scratch
from benchmarks.rows import Row, logspace, measure
from benchmarks.server import Checkout, running_gateway, stored
from benchmarks.table import aligned, checked, middle, spread


@dataclass(frozen=True, slots=True)
class Side:
    """A checkout, and the folder of the store it continues; None: an empty store each time."""

    name: str
    checkout: Checkout
    folder: Path | None = None

    def measure(self, row: Row, seconds: float) -> Figures:
        """One measurement of *row*."""
        with ExitStack() as stack:
            folder = self.folder or stack.enter_context(scratch())
            return measure(row.load(), folder, seconds, self.checkout)


@dataclass(slots=True)
class Pair:
    """A row's measurements on both sides, round by round."""

    row: Row
    one: list[Figures] = field(default_factory=list)
    other: list[Figures] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What was not as it should be."""
        return [fault for result in (*self.one, *self.other) for fault in result.faults]

    def measure(self, sides: tuple[Side, Side], seconds: float) -> None:
        """Add a round."""
        turns = [(self.one, sides[0]), (self.other, sides[1])]
        for results, side in turns if len(self.one) % 2 == 0 else reversed(turns):
            results.append(side.measure(self.row, seconds))


def fill(folder: Path, checkout: Checkout, events: int) -> None:
    """Let the gateway of *checkout* store *events* events, or a few more, in *folder*."""
    with running_gateway(folder, checkout) as server:
        while stored(folder) < events:
            drive(logspace(500), server.url, server.pid, 5, folder)


def table(pairs: Sequence[Pair], sides: tuple[Side, Side]) -> str:
    """Both sides and their ratios; a ratio above 1 says that the first side is better."""
    one, other = (side.name for side in sides)
    header = (
        *("", f"events/s {one}", other, "ratio of events/s"),
        *(f"us CPU/event {one}", other, "ratio of CPU"),
        *(f"p99 ms {one}", other, "checked", ""),
    )
    rows = []
    for pair in pairs:
        rounds = zip(pair.one, pair.other, strict=True)
        both = [(a, b) for a, b in rounds if a.cpu and b.cpu and a.rate and b.rate]
        rows.append(
            (
                pair.row.name,
                *(middle(r.rate for r in results) for results in (pair.one, pair.other)),
                spread([a.rate / b.rate for a, b in both], ".3f"),
                *(middle((r.cpu for r in results), ".2f") for results in (pair.one, pair.other)),
                spread([b.cpu / a.cpu for a, b in both], ".3f"),
                *(middle((r.p99 for r in results), ".1f") for results in (pair.one, pair.other)),
                *checked(pair.row.title, pair.faults),
            )
        )
    return aligned(header, rows)
