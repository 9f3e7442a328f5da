"""``gateway restore``."""

from pathlib import Path

import click

from gateway import backups
from gateway.care import Restored
from gateway.cli.console import (
    care_of_all,
    config_option,
    progress_bars,
    read_settings,
    reports,
    show,
)


@click.command()
@config_option
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False))
def restore(path: Path, backup: Path) -> None:
    """Put the copies in the folder BACKUP in the place of the store and the spool.

    Stop the gateway before. What was there is moved aside, not deleted. Events that
    wait in the present spool stay in it. Sequences continue after the highest one
    that may have been given. If this is interrupted, the next start finishes it.

    \b
    Example: gateway restore "$(ls -d backups/* | tail -n 1)"
    """
    settings = read_settings(path)
    with reports(), progress_bars() as progress:
        spool, store = care_of_all(settings)
        done = backups.restore(backup, store, [spool], progress)
    for one in done:
        show(one, _words(one))


def _words(one: Restored) -> str:
    words = f"{one.path}: {one.records:,} events restored"
    words += f", {one.kept:,} kept" if one.kept else ""
    words += f"; the next sequence is {one.next_sequence:,}" if one.role == "store" else ""
    words += f"; what was there is in {one.replaced}" if one.replaced else ""
    return f"{words}\n{one.note}" if one.note else words
