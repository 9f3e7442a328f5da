"""``gateway export``."""

import asyncio
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from gateway.checks import dialects
from gateway.cli.console import (
    IO_ERROR,
    UNAVAILABLE,
    Timestamp,
    config_option,
    fail,
    read_settings,
)
from gateway.errors import StoreError
from gateway.export import cloudevent
from gateway.record import Kind
from gateway.store import Selection
from gateway.stores import open_reader

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

    Reads the store beside a gateway that runs.
    """
    settings = read_settings(path)
    try:
        asyncio.run(_export(url or settings.store.url, Selection(**wanted)))
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


async def _export(url: str, wanted: Selection) -> None:
    out = sys.stdout.buffer
    reader = await open_reader(url)
    try:
        async with aclosing(reader.read(wanted)) as records:
            async for sequence, record in records:
                out.write(cloudevent(sequence, record) + b"\n")
    finally:
        await reader.close()
    out.flush()
