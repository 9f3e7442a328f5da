"""Aligned text: the only thing that the benchmark prints."""

from collections.abc import Iterable, Sequence
from statistics import median


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: the first column and the last flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    last = len(widths) - 1
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [
            cell.ljust(width) if at in (0, last) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def middle(values: Iterable[float], form: str = ",.0f") -> str:
    """The median."""
    return format(median(values), form)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """The median, and in brackets the least and the greatest where there are several."""
    if not values:
        return "-"
    if len(values) == 1:
        return middle(values, form)
    return f"{middle(values, form)} ({format(min(values), form)}-{format(max(values), form)})"


def checked(title: str, faults: Iterable[str]) -> tuple[str, str]:
    """Whether all was as it should be, and the row's title or what was not."""
    told = dict.fromkeys(faults)
    return ("NO", "; ".join(told)) if told else ("yes", title)
