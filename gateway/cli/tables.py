"""Tables on a terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.record import EventRecord
from schemas.times import rfc3339

_SECONDS = len("2026-05-04T14:30:00")
_SHOWN = 300


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


def print_rows(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int]) -> None:
    """Show *rows* under *heads*; the columns at *numbers* are aligned to the right."""
    table = _table(*heads)
    for at in numbers:
        table.columns[at].justify = "right"
    for row in rows:
        table.add_row(*map(plain, row))
    Console().print(table)


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
