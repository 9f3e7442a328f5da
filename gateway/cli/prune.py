"""``gateway prune``."""

from pathlib import Path
from typing import Any

import click
import msgspec

from gateway.care import Progress
from gateway.checks import dialects, spool_path
from gateway.cli.console import (
    command_writer,
    config_option,
    read_settings,
    reports,
    show,
)
from gateway.cli.moments import Timestamp
from gateway.erasure import erase, noted_backups
from gateway.store import Selection, Store
from gateway.stores import files_of
from gateway.stores.spool import open_spool


@click.command()
@config_option
@click.option(
    "--before", "until", type=Timestamp(), required=True, help="Only what was received before."
)
@click.option("--dialect", type=click.Choice(sorted(dialects())), help="Only this dialect.")
@click.option("--tenant", help="Only this tenant.")
@click.option("--kind", help="Only this kind; rejected is the quarantine.")
@click.option("--subject", help="Only of this subject, and what is quarantined and mentions it.")
def prune(path: Path, **wanted: Any) -> None:  # Any: the options above, by name
    """Erase stored, quarantined and spooled events, so that no byte of them remains.

    The running gateway does it and goes on. The result names the files that may still
    have them: backups and rotated stores.

    \b
    Example: gateway prune --before 400d --tenant acme
    """
    settings = read_settings(path)

    async def alone(store: Store, progress: Progress) -> object:
        spool = await open_spool(spool_path(settings), settings.spool.max_events)
        try:
            return await erase(store, spool, Selection(**wanted), progress, settled=0)
        finally:
            await spool.close()

    with reports():
        given = msgspec.to_builtins(Selection(**wanted))
        done = command_writer(settings, "prune", given, alone)
        done["left"] += noted_backups(files_of(settings.store.url))
    left = "".join(f"\nNot erased: {one}." for one in done["left"])
    events = f"{done['stored']:,} stored and {done['spooled']:,} spooled events"
    show(done, f"Erased {events}, and {done['documents']:,} documents.{left}")
