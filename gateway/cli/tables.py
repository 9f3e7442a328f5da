"""Tables on a terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.record import EventRecord
from gateway.rejected import Marked
from schemas.times import rfc3339

_SECONDS = len("2026-05-04T14:30:00")
_SHOWN = 300
_INDENT = 2
_BEFORE = 30
_MOST_CARETS = 40


def print_events(found: Iterable[tuple[int, EventRecord]]) -> None:
    """Show events, a row each, with as much of their text as fits."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("Sequence", justify="right", no_wrap=True)
    table.add_column("Received (UTC)", no_wrap=True)
    for head in ("Tenant", "Kind", "Type", "Subject"):
        table.add_column(head, no_wrap=True, max_width=20)
    table.add_column("Event", no_wrap=True, ratio=1, min_width=10)
    for sequence, record in found:
        cells = (
            f"{sequence}",
            shown_time(record.received_at),
            f"{record.dialect}/{record.tenant}",
            record.kind,
            record.type,
            record.subject or "",
            record.data[:_SHOWN],
        )
        table.add_row(*map(plain, cells))
    if table.row_count:
        Console().print(table)


def print_rows(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Iterable[int],
    unbroken: Iterable[int] = (),
    *,
    whole: bool = False,
) -> None:
    """Show *rows* under *heads*; the columns at *numbers* are aligned to the right.

    What stands in a column of *unbroken* is not broken into lines. With *whole* nothing is
    cut: what does not fit goes on in the next line.
    """
    table = _table(*heads)
    for at in numbers:
        table.columns[at].justify = "right"
    for at in unbroken:
        table.columns[at].no_wrap = True
    for column in table.columns:
        column.overflow = "fold" if whole else column.overflow
    for row in rows:
        table.add_row(*map(plain, row))
    Console().print(table)


def print_marked(heads: Iterable[tuple[str, str]], text: str, problems: Iterable[Marked]) -> None:
    """Show *heads*, then each problem with the part of *text* that it is about, then the text."""
    console = Console(highlight=False)
    for name, value in heads:
        console.print(Text.assemble((f"{name:10}", "dim"), plain(value)))
    whole = plain(text)
    for problem in problems:
        console.print()
        console.print(Text.assemble((problem.path or "(whole text)", "bold red"), ": "), end="")
        console.print(plain(problem.message))
        if problem.start is not None and problem.end is not None:
            whole.stylize("bold red", problem.start, problem.end)
            _print_excerpt(console, text, problem.start, problem.end, missing=problem.missing)
    console.print()
    console.print(whole)


def _print_excerpt(console: Console, text: str, start: int, end: int, *, missing: bool) -> None:
    """Show a line of *text* with carets under the part that is meant."""
    first = max(0, start - _BEFORE)
    room = console.width - _INDENT - (start - first)
    shown = plain(text[first : start + room])
    carets = "^" * max(1, min(end - start, room, _MOST_CARETS))
    said = " lacks it" if missing else ""
    console.print(" " * _INDENT, shown, sep="", no_wrap=True, overflow="crop", soft_wrap=False)
    console.print(
        " " * (_INDENT + start - first), Text(carets, "bold red"), said, sep="", no_wrap=True
    )


def duration(seconds: int) -> str:
    """A time span in its largest unit that is not coarse."""
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def shown_time(micros: int) -> str:
    """A time in UTC, to the second."""
    return rfc3339(micros)[:_SECONDS].replace("T", " ")


def plain(text: str) -> Text:
    """Text of a client: no markup, and nothing that a terminal would obey."""
    return Text("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text))


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head)
    return table
