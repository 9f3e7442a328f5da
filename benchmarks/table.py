"""The one table: what each row took, round by round, on two sides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.load import Figures
from benchmarks.rows import Row

NOTE = """\
Ratios are taken round by round; above 1 the first side is better: more events a second, less CPU
for each. The ratio of CPU is the steadier one. An event of the bare handler is a request. x disk:
events/s over rows/s of a bare executemany. Several rounds: medians (least-greatest); of max and
peak the worst."""


@dataclass(slots=True)
class Line:
    """A row's figures on both sides and, as a floor, the rows a second that the disk took."""

    row: Row
    one: list[Figures] = field(default_factory=list)
    other: list[Figures] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What was not as it should be."""
        return [fault for one in (*self.one, *self.other) for fault in one.faults]

    def ratios(self, of: Callable[[Figures], float]) -> list[float]:
        """One side's figure over the other's, where both were counted."""
        pairs = [(of(a), of(b)) for a, b in zip(self.one, self.other, strict=True)]
        return [a / b for a, b in pairs if a and b]

    def cells(self) -> list[str]:
        """The row of the table."""
        one, other, told = self.one, self.other, "; ".join(dict.fromkeys(self.faults))
        return [
            self.row.name,
            middle([a.rate for a in one]),
            middle([b.rate for b in other]),
            spread(self.ratios(lambda side: side.rate), ".2f"),
            middle([a.cpu for a in one], ".1f"),
            middle([b.cpu for b in other], ".1f"),
            spread([1 / ratio for ratio in self.ratios(lambda side: side.cpu)], ".2f"),
            middle([a.rate / rows for a, rows in zip(one, self.disk, strict=True)], ".2f"),
            middle([a.p50 for a in one], ".1f"),
            middle([a.p99 for a in one], ".1f"),
            f"{max(a.worst for a in one):.1f}",
            f"{max(a.peak for a in one):.0f}",
            *(("NO", told) if told else ("yes", self.row.title)),
        ]


def table(lines: Sequence[Line], one: str, other: str) -> str:
    """The lines under the names of both sides."""
    header = (
        *("", f"events/s {one}", other, "ratio", f"us CPU/event {one}", other, "ratio", "x disk"),
        *("p50 ms", "p99 ms", "max ms", "peak MiB", "checked", ""),
    )
    return aligned(header, [line.cells() for line in lines])


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: the first column and the last flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0], cells[-1] = row[0].ljust(widths[0]), row[-1]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def line(header: Sequence[str], cells: Sequence[str]) -> str:
    """A line of a table that is printed as it grows, below its *header*."""
    return "  ".join(cell.rjust(len(name)) for name, cell in zip(header, cells, strict=True))


def middle(values: Sequence[float], form: str = ",.0f") -> str:
    """The median."""
    return format(median(values), form) if values else "-"


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """The median, and in brackets the least and the greatest where there are several."""
    if len(values) < 2:
        return middle(values, form)
    return f"{middle(values, form)} ({min(values):{form}}-{max(values):{form}})"
