"""What the commands share: exit statuses, the configuration, words for the operator."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.checks import dialects, find_problems, validate
from gateway.config import Settings, read
from gateway.errors import ConfigError

UNAVAILABLE = 69
IO_ERROR = 74
BAD_CONFIG = 78

config_option = click.option(
    "-c",
    "--config",
    "path",
    envvar="GATEWAY_CONFIG",
    default="config.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The configuration file (or GATEWAY_CONFIG).",
)


def read_settings(path: Path) -> Settings:
    """The settings in the file *path*; if they are invalid, report why and exit."""
    try:
        settings = read(path, dialects(), find_problems)
        validate(settings, str(path))
    except ConfigError as error:
        for problem in error.problems:
            where = f"{error.file}: {problem.path}" if problem.path else error.file
            click.echo(f"{where}: {problem.message}", err=True)
        sys.exit(BAD_CONFIG)
    return settings


def fail(message: str, status: int) -> None:
    """Say on stderr what went wrong, with the time, and exit."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    click.echo(f"{now} gateway: {message}", err=True)
    sys.exit(status)
