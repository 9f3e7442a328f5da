"""``gateway check``."""

from pathlib import Path

import click

from gateway.checks import tenants_of
from gateway.cli.console import config_option, read_settings


@click.command()
@config_option
def check(path: Path) -> None:
    """Report every problem of a configuration file."""
    settings = read_settings(path)
    tenants = sum(len(tenants_of(table)) for table in settings.dialects.values())
    click.echo(f"{path}: OK, {tenants} tenants", err=True)
