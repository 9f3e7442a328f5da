"""Aligned text: the only thing that the benchmark prints."""

from collections.abc import Sequence
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


def spread(values: Sequence[float | None], form: str = ",.0f") -> str:
    """The median, and in brackets the least and the greatest where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    middle = format(median(known), form)
    if len(known) == 1:
        return middle
    return f"{middle} ({format(min(known), form)}-{format(max(known), form)})"


def middle(values: Sequence[float | None], form: str = ",.0f") -> str:
    """The median alone."""
    known = [value for value in values if value is not None]
    return format(median(known), form) if known else "-"


def most(values: Sequence[float | None], form: str = ",.0f") -> str:
    """The greatest alone."""
    known = [value for value in values if value is not None]
    return format(max(known), form) if known else "-"
