"""The command line: serve, check, token, export.

Data goes to stdout, notices to stderr. Exit statuses: 78 (EX_CONFIG) for a bad
configuration, 69 (EX_UNAVAILABLE) for a store or an address that cannot be had,
74 (EX_IOERR) for output that cannot be written.
"""

import asyncio
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from gateway import __version__, app
from gateway.auth import digest_text
from gateway.checks import dialects, find_problems, tenants_of, validate
from gateway.config import Settings, read
from gateway.errors import ConfigError, StoreError
from gateway.export import cloudevent
from gateway.ops.log import configure
from gateway.record import Kind
from gateway.store import Selection
from gateway.stores import open_reader
from schemas import times

BAD_CONFIG = 78
UNAVAILABLE = 69
IO_ERROR = 74
BROKEN_PIPE = 128 + signal.SIGPIPE

_config = click.option(
    "-c",
    "--config",
    "path",
    envvar="GATEWAY_CONFIG",
    default="config.toml",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The configuration file (or GATEWAY_CONFIG).",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """One gateway for events in the dialects of Moesif, Logspace and tenant/device clients."""


@main.command()
@_config
def serve(path: Path) -> None:
    """Run the gateway until SIGTERM or SIGINT."""
    settings = _settings(path)
    configure(settings.log.level)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(app.serve(settings))
    except (StoreError, OSError) as error:
        _fail(str(error), UNAVAILABLE)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop where the extra `speed` is installed, else asyncio's own."""
    try:
        found: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return found


@main.command()
@_config
def check(path: Path) -> None:
    """Report every problem of a configuration file."""
    settings = _settings(path)
    tenants = sum(len(tenants_of(table)) for table in settings.dialects.values())
    click.echo(f"{path}: OK, {tenants} tenants", err=True)


@main.command()
def token() -> None:
    """Make a credential: print it and, on the next line, its sha256: form."""
    # 64 characters: real SDKs of the Moesif dialect want 50 or more.
    made = secrets.token_hex(32)
    click.echo(made)
    click.echo(digest_text(made))


class Timestamp(click.ParamType[int]):
    """A time as text, read as microseconds since 1970 UTC; a day alone is its midnight."""

    name = "TIME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value)
        try:
            return times.microseconds(text if "T" in text else f"{text}T00:00:00Z")
        except ValueError as error:
            self.fail(f"{text}: {error}", param, ctx)


@main.command()
@_config
@click.option("--dialect", type=click.Choice(sorted(dialects())), help="Only this dialect.")
@click.option("--tenant", help="Only this tenant.")
@click.option("--kind", help=f"Only this kind; {Kind.REJECTED} shows the quarantine.")
@click.option("--since", type=Timestamp(), help="Only what was received at or after this time.")
@click.option("--until", type=Timestamp(), help="Only what was received before this time.")
@click.option(
    "--after",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    metavar="SEQ",
    help="Only what follows this sequence.",
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most N records.")
def export(path: Path, **wanted: Any) -> None:  # Any: the options above, by name
    """Write stored records as CloudEvents 1.0, one JSON object a line.

    Reads the store beside a gateway that runs.
    """
    settings = _settings(path)
    try:
        asyncio.run(_export(settings.store.url, Selection(**wanted)))
    except StoreError as error:
        _fail(str(error), UNAVAILABLE)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _fail(f"cannot write: {error.strerror}", IO_ERROR)
        # Whoever read has read enough; keep Python from complaining at exit.
        sys.stdout = None
        sys.exit(BROKEN_PIPE)


async def _export(url: str, wanted: Selection) -> None:
    out = sys.stdout.buffer
    reader = await open_reader(url)
    try:
        async with aclosing(reader.read(wanted)) as records:
            async for sequence, record in records:
                out.write(cloudevent(sequence, record) + b"\n")
    finally:
        await reader.close()
    out.flush()


def _settings(path: Path) -> Settings:
    try:
        settings = read(path, dialects(), find_problems)
        validate(settings, str(path))
    except ConfigError as error:
        for problem in error.problems:
            where = f"{error.file}: {problem.path}" if problem.path else error.file
            click.echo(f"{where}: {problem.message}", err=True)
        sys.exit(BAD_CONFIG)
    return settings


def _fail(message: str, status: int) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    click.echo(f"{now} gateway: {message}", err=True)
    sys.exit(status)
