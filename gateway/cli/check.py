"""``gateway check``."""

from pathlib import Path

import click

from gateway.checks import tenants_of
from gateway.cli.console import config_option, read_settings
from gateway.config import find_doubts, report


@click.command()
@config_option
def check(path: Path) -> None:
    """Report every problem of a configuration file, and what may be one."""
    settings = read_settings(path, to_serve=True)
    for line in report(path, find_doubts(settings)):
        click.echo(f"warning: {line}", err=True)
    tenants = sum(len(tenants_of(table)) for table in settings.dialects.values())
    click.echo(f"{path}: OK, {tenants} tenants", err=True)
