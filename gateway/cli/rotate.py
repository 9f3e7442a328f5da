"""``gateway rotate``."""

from pathlib import Path

import click

from gateway.care import Progress
from gateway.cli.console import command_writer, config_option, read_settings, reports, show
from gateway.errors import StoreError
from gateway.store import Rotates, Store


@click.command()
@config_option
def rotate(path: Path) -> None:
    """Begin a new, empty store; the old one gets a dated name and stays readable.

    The running gateway does it and goes on. Sequences continue. The new store knows the
    events of the old one, so that a late retry is still a duplicate, and has all documents.

    \b
    Example: gateway rotate
    """
    settings = read_settings(path)
    with reports():
        done = command_writer(settings, "rotate", {}, _rotate)
    words = f"The old store is {done['sealed']}; the next sequence is {done['next_sequence']:,}."
    show(done, words)


async def _rotate(store: Store, progress: Progress) -> object:
    if not isinstance(store, Rotates):
        raise StoreError("This kind of store has no files to rotate.")
    return await store.rotate(progress)
