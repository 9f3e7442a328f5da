"""``gateway events`` and ``gateway tail``."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.checks import dialects
from gateway.cli.console import config_option, progress_bars, read_settings, reports
from gateway.cli.moments import Timestamp
from gateway.cli.tables import print_events
from gateway.export import cloudevent
from gateway.query import Search
from gateway.record import EventRecord
from gateway.store import Reader, Selection
from gateway.stores import open_reader

_POLL = 0.5
"""Seconds between two looks for new events."""

_QUIET_SECONDS = 0.5
_PAGE = 500
FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def _filters(command: FunctionT) -> FunctionT:
    """Add the options that say which events are wanted."""
    for option in (
        click.option("--text", "--grep", help="Only with this in the JSON text of the event."),
        click.option("--subject", help="Only of this subject: a user, a device, an agent."),
        click.option("--type", help="Only of this type."),
        click.option("--kind", help="Only of this kind."),
        click.option("--tenant", help="Only of this tenant."),
        click.option("--dialect", type=click.Choice(sorted(dialects())), help="Only this dialect."),
        click.option("--store", "url", help="Another store, a sealed one for example, by its URL."),
        config_option,
    ):
        command = option(command)
    return command


@click.command()
@_filters
@click.option("--id", help="Only with this id: that of the client, or that of the gateway.")
@click.option("--since", type=Timestamp(), help="Only what was received at this time or later.")
@click.option("--until", type=Timestamp(), help="Only what was received before this time.")
@click.option(
    "-n",
    "--last",
    "limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="At most N events.",
)
@click.option(
    "--before",
    type=click.IntRange(1, 2**63 - 1),
    metavar="SEQ",
    help="Only what is older than this sequence.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=10,
    show_default=True,
    help="Look no longer than this, then say where to go on.",
)
def events(path: Path, url: str | None, seconds: float, **wanted: Any) -> None:  # Any: the options
    """Show the newest events: a table on a terminal, CloudEvents, one a line, in a pipe.

    Reads the store beside a gateway that runs.

    \b
    Example: gateway events --tenant acme --since 1h --last 5
    """
    settings = read_settings(path)
    with reports():
        asyncio.run(_events(url or settings.store.url, Search(**wanted), seconds))


async def _events(url: str, wanted: Search, seconds: float) -> None:
    reader = await open_reader(url)
    try:
        await _check(reader, wanted)
        with progress_bars() as progress:
            began = time.monotonic()

            def passed(done: int, total: int) -> None:
                # Most searches are over before a bar could be read.
                if time.monotonic() - began > _QUIET_SECONDS:
                    progress("looking", done, total)

            page = await reader.search(wanted, seconds, passed)
    finally:
        await reader.close()
    _show(page.found)
    if page.before is not None and len(page.found) < wanted.limit:
        click.echo(
            f"Stopped after {seconds:g} s; go on with --before {page.before}, "
            "or look longer with --seconds.",
            err=True,
        )
    elif page.before is not None and sys.stderr.isatty():
        click.echo(f"Older ones: --before {page.before}", err=True)
    elif not page.found:
        click.echo("No such events.", err=True)


@click.command()
@_filters
@click.option(
    "-n",
    "--last",
    "limit",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Begin with the last N events.",
)
@click.option("--follow/--no-follow", "-f", default=True, help="Go on with what comes in.")
def tail(path: Path, url: str | None, follow: bool, **wanted: Any) -> None:  # Any: the options
    """Show the last events, then each new one as soon as it is stored, until Ctrl+C.

    \b
    Example: gateway tail --tenant acme --type GET
    """
    settings = read_settings(path)
    with reports():
        try:
            asyncio.run(_tail(url or settings.store.url, Search(**wanted), follow=follow))
        except (KeyboardInterrupt, BrokenPipeError):
            sys.exit(0)


async def _tail(url: str, wanted: Search, *, follow: bool) -> None:
    reader = await open_reader(url)
    try:
        await _check(reader, wanted)
        newest = await reader.search(Search(limit=1), _POLL)
        after = newest.found[0][0] if newest.found else 0
        page = await reader.search(wanted, 10 * _POLL)
        shown = [one for one in reversed(page.found) if one[0] <= after]
        _show(shown)
        while follow:
            await asyncio.sleep(_POLL)
            after = await _show_new(reader, wanted, after)
    finally:
        await reader.close()


async def _show_new(reader: Reader, wanted: Search, after: int) -> int:
    """Show what follows sequence *after*; return the last sequence that was looked at."""
    found: list[tuple[int, EventRecord]] = []
    last = after
    async for sequence, record in reader.read(Selection(after=after, limit=_PAGE)):
        last = sequence
        if wanted.fits(record):
            found.append((sequence, record))
    _show(found)
    return last


async def _check(reader: Reader, wanted: Search) -> None:
    """Say which tenants, or kinds, there are if the one that is wanted is not among them."""
    streams = await reader.streams()
    for at, (option, name) in enumerate(
        (("--dialect", wanted.dialect), ("--tenant", wanted.tenant), ("--kind", wanted.kind))
    ):
        there = sorted({stream[at] for stream in streams})
        if name is not None and name not in there:
            known = ", ".join(there) or "none, the store is empty"
            raise click.BadParameter(
                f"The store has no events of '{name}'. There are: {known}.", param_hint=option
            )


def _show(found: Any) -> None:
    if sys.stdout.isatty():
        print_events(found)
        return
    for sequence, record in found:
        click.echo(cloudevent(sequence, record))
