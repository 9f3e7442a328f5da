"""``gateway recover``."""

from pathlib import Path

import click

from gateway.care import Salvaged
from gateway.cli.console import progress_bars, reports, show
from gateway.stores import care_for

_SHOWN = 10


@click.command()
@click.argument("old", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("new", type=click.Path(path_type=Path, dir_okay=False))
def recover(old: Path, new: Path) -> None:
    """Copy what can be read of the damaged store OLD into a new store NEW.

    Both are files of SQLite stores; OLD is not changed, and its WAL must be beside it.
    Events keep their sequences. What could not be read is counted.

    \b
    Example: gateway recover events.db recovered.db
    """
    with reports(), progress_bars() as progress:
        done = care_for(f"sqlite:///{old}").recover(new, progress)
    show(done, _words(done))


def _words(done: Salvaged) -> str:
    words = f"{done.path}: {done.records:,} events and {done.documents:,} documents"
    if done.lost:
        ranges = [f"{first}-{last}" for first, last in done.unreadable[:_SHOWN]]
        more = " and others" if len(done.unreadable) > _SHOWN else ""
        words += f"\nAt most {done.lost:,} events are lost, sequences {', '.join(ranges)}{more}."
    return words
