"""``gateway export``."""

import asyncio
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway.checks import dialects
from gateway.cli.console import (
    DAMAGED,
    IO_ERROR,
    UNAVAILABLE,
    config_option,
    fail,
    read_settings,
)
from gateway.cli.moments import Timestamp
from gateway.errors import StoreError
from gateway.export import cloudevent
from gateway.record import Kind
from gateway.store import Selection
from gateway.stores import open_reader

_LISTED = 10
_BROKEN_PIPE = 128 + signal.SIGPIPE


@click.command()
@config_option
@click.option("--store", "url", help="Another store, a sealed one for example, by its URL.")
@click.option("--dialect", type=click.Choice(sorted(dialects())), help="Only this dialect.")
@click.option("--tenant", help="Only this tenant.")
@click.option("--kind", help=f"Only this kind; {Kind.REJECTED} shows the quarantine.")
@click.option("--subject", help="Only of this subject.")
@click.option("--since", type=Timestamp(), help="Only what was received at or after this time.")
@click.option("--until", type=Timestamp(), help="Only what was received before this time.")
@click.option(
    "--after",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    metavar="SEQ",
    help="Only what follows this sequence.",
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most N records.")
def export(path: Path, url: str | None, **wanted: Any) -> None:  # Any: the options above, by name
    """Write stored records as CloudEvents 1.0, one JSON object a line.

    Reads the store beside a gateway that runs. What is damaged is left out, and counted at
    the end; the exit status is then 65.
    """
    settings = read_settings(path)
    lost: list[tuple[int, int]] = []
    try:
        asyncio.run(_export(url or settings.store.url, Selection(**wanted), lost))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--store") from None
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            fail(f"cannot write: {error.strerror}", IO_ERROR)
        # Whoever read has read enough; keep Python from complaining at exit.
        sys.stdout = None
        sys.exit(_BROKEN_PIPE)

    if lost:
        fail(_words(lost), DAMAGED)


async def _export(url: str, wanted: Selection, lost: list[tuple[int, int]]) -> None:
    """Write what can be read; note in *lost* the ranges of sequences that cannot."""

    def skipped(first: int, last: int) -> None:
        lost.append((lost.pop()[0] if lost and lost[-1][1] == first - 1 else first, last))

    out = sys.stdout.buffer
    reader = await open_reader(url)
    try:
        async with aclosing(reader.read(wanted, skipped)) as records:
            async for sequence, record in records:
                try:
                    line = cloudevent(sequence, record)
                    msgspec.json.decode(line, type=msgspec.Raw)
                except (msgspec.MsgspecError, ValueError, TypeError, AttributeError, OverflowError):
                    skipped(sequence, sequence)
                else:
                    out.write(line + b"\n")
    finally:
        await reader.close()
    out.flush()


def _words(lost: list[tuple[int, int]]) -> str:
    count = sum(last - first + 1 for first, last in lost)
    ranges = [f"{first:,} to {last:,}" if first < last else f"{first:,}" for first, last in lost]
    more = f", and {len(ranges) - _LISTED} more ranges" if len(ranges) > _LISTED else ""
    return (
        f"the store is damaged: up to {count:,} events could not be read, of the sequences "
        f"{'; '.join(ranges[:_LISTED])}{more}. See gateway verify and gateway recover."
    )
