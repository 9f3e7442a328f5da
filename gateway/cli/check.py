"""``gateway check``."""

import sys
from pathlib import Path

import click
import msgspec

from gateway.checks import load, tenants_of
from gateway.cli.console import BAD_CONFIG, config_option, read_settings
from gateway.config import Placed, find_doubts, place, report
from gateway.errors import ConfigError


@click.command()
@config_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Write a JSON array of findings, each with level, option, file, line, column, message.",
)
def check(path: Path, as_json: bool) -> None:
    """Report every problem of a configuration file, and what may be one.

    Exits with 78 if the gateway would not start with it.

    \b
    Example: gateway check --json
    """
    if as_json:
        _write_findings(path)
        return
    settings = read_settings(path, to_serve=True)
    for line in report(path, find_doubts(settings)):
        click.echo(f"warning: {line}", err=True)
    every = (one for table in settings.dialects.values() for one in tenants_of(table))
    tenants = sum(one.written for one in every)
    click.echo(f"{path}: OK, {tenants} tenants", err=True)


def _write_findings(path: Path) -> None:
    try:
        problems, level = find_doubts(load(path, to_serve=True)), "warning"
    except ConfigError as error:
        problems, level = [*error.problems], "error"
    click.echo(msgspec.json.encode([_finding(level, one) for one in place(path, problems)]))
    if level == "error":
        sys.exit(BAD_CONFIG)


def _finding(level: str, found: Placed) -> dict[str, str | int | None]:
    return {
        "level": level,
        "option": found.path,
        "file": found.file,
        "line": found.line,
        "column": found.column,
        "message": found.message,
    }
