"""``gateway verify``."""

import sys
from pathlib import Path

import click

from gateway.care import Finding
from gateway.cli.console import (
    DAMAGED,
    care_of_all,
    config_option,
    progress_bars,
    read_settings,
    reports,
    show,
)
from gateway.stores import care_for


@click.command()
@config_option
@click.option("--store", "url", help="Examine another store, a sealed one for example, by its URL.")
def verify(path: Path, url: str | None) -> None:
    """Examine the store and the spool; exit with 65 if anything is wrong with them.

    Works beside a gateway that runs. What arrives meanwhile waits in the WAL.

    \b
    Example: gateway verify
    """
    settings = read_settings(path)
    with reports():
        try:
            parts = care_of_all(settings) if url is None else [care_for(url)]
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--store") from None
        with progress_bars() as progress:
            found = [finding for part in parts for finding in part.verify(progress)]
    show_findings(found)
    if any(one.verdict == "bad" for one in found):
        sys.exit(DAMAGED)


def show_findings(found: list[Finding]) -> None:
    """Write a line for each finding."""
    for one in found:
        show(one, f"{one.verdict:8}{one.subject}: {one.message}")
