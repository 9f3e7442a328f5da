"""``gateway rebuild-keys``."""

from pathlib import Path

import click

from gateway.cli.console import config_option, progress_bars, read_settings, reports, show
from gateway.stores import care_for


@click.command(name="rebuild-keys")
@config_option
def rebuild_keys(path: Path) -> None:
    """Make the index of keys, by which duplicates are found, anew from the events.

    Stop the gateway before. Keys of events of earlier, rotated stores are kept.

    \b
    Example: gateway rebuild-keys
    """
    settings = read_settings(path)
    with reports(), progress_bars() as progress:
        count = care_for(settings.store.url).rebuild_keys(progress)
    show({"keys": count}, f"The keys of {count:,} events are indexed.")
