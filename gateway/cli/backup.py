"""``gateway backup``."""

from pathlib import Path

import click

from gateway import backups
from gateway.cli.console import (
    care_of_all,
    config_option,
    progress_bars,
    read_settings,
    reports,
    show,
)
from gateway.erasure import note_backup
from gateway.stores import files_of


@click.command()
@config_option
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Then delete all but the newest N backups.",
)
def backup(path: Path, folder: Path, keep: int | None) -> None:
    """Copy the spool and the store into a new, dated folder in FOLDER.

    Works beside a gateway that runs. The copies are durable and read back before the
    command ends.

    \b
    Example: gateway backup backups --keep 7
    """
    settings = read_settings(path)
    with reports(), progress_bars() as progress:
        made, listed = backups.make(folder, care_of_all(settings), keep, progress)
        note_backup(files_of(settings.store.url), folder)
    show({"folder": str(made), "files": listed.files}, f"{made}: {_words(listed)}")


def _words(listed: backups.Backup) -> str:
    return ", ".join(f"{one.role} with {one.records:,} events" for one in listed.files)
