"""What the commands share: exit statuses, the configuration, words for the operator."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import msgspec
import structlog

from gateway.care import Care, Progress, StoreCare
from gateway.checks import control_path, load, spool_path
from gateway.config import Overrides, Settings, report
from gateway.errors import ConfigError, Damaged, StoreError
from gateway.ops.control import NotRunning, ask
from gateway.store import Store
from gateway.stores import care_for, care_for_spool, files_of, open_store

DAMAGED = 65
UNAVAILABLE = 69
IO_ERROR = 74
BAD_CONFIG = 78

CONFIG = Path("config.toml")
DEMO = Path("gateway-demo")
"""The folder of a demo, see `gateway.cli.demo`."""

DEMO_CONFIG = DEMO / CONFIG


def found_config() -> Path | None:
    """The configuration in the working directory: its own, else that of a demo."""
    return next((path for path in (CONFIG, DEMO_CONFIG) if path.exists()), None)


def _or_found(_: click.Context, __: click.Parameter, given: Path | None) -> Path:
    return given or found_config() or CONFIG


config_option = click.option(
    "-c",
    "--config",
    "path",
    envvar="GATEWAY_CONFIG",
    callback=_or_found,
    show_default=f"{CONFIG}, else the demo's {DEMO_CONFIG}",
    type=click.Path(path_type=Path),
    help="The configuration file (or GATEWAY_CONFIG).",
)


def read_settings(
    path: Path, overrides: Overrides = MappingProxyType({}), *, to_serve: bool = False
) -> Settings:
    """The settings in the file *path*, as `load`; if they are invalid, report why and exit."""
    try:
        return load(path, overrides=overrides, to_serve=to_serve)
    except ConfigError as error:
        click.echo("\n".join(report(path, error.problems)), err=True)
        if path == CONFIG and not path.exists():
            click.echo(
                "Name a configuration with --config or GATEWAY_CONFIG; "
                "`gateway serve` without one starts a demo.",
                err=True,
            )
        sys.exit(BAD_CONFIG)


def fail(message: str, status: int) -> None:
    """Say on stderr what went wrong, with the time, and exit."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    click.echo(f"{now} gateway: {message}", err=True)
    sys.exit(status)


@contextmanager
def reports() -> Iterator[None]:
    """Turn what a store or a disk refuses into words on stderr and an exit status."""
    try:
        yield
    except Damaged as error:
        fail(str(error), DAMAGED)
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    except OSError as error:
        fail(str(error), IO_ERROR)


def care_of_all(settings: Settings) -> tuple[Care, StoreCare]:
    """What commands do to the spool and the store, in the order in which to copy them.

    An event that moves from the spool to the store between two copies is in both, and
    is stored once after a restore. In the other order it could be in neither.

    Raises:
        StoreError: nothing outside the gateway can touch the store.
    """
    return care_for_spool(spool_path(settings)), care_for(settings.store.url)


def command_writer(
    settings: Settings,
    command: str,
    arguments: Mapping[str, object],
    alone: Callable[[Store, Progress], Awaitable[object]],
) -> Any:  # Any: the result, as JSON has it
    """Let the running gateway do *command*; where none runs, open the store and do *alone*.

    Raises:
        StoreError: it could not be done.
    """
    path = control_path(settings)
    with progress_bars() as progress:
        try:
            return ask(path, command, arguments, progress)
        except NotRunning:
            with logs_on_stderr():
                return msgspec.to_builtins(asyncio.run(_alone(settings, alone, progress)))


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """Keep what the parts of a gateway log out of the results."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        yield
    finally:
        structlog.configure(**before)


async def _alone(
    settings: Settings, work: Callable[[Store, Progress], Awaitable[object]], progress: Progress
) -> object:
    url = settings.store.url
    for path in files_of(url):
        if not path.exists():
            raise StoreError(f"{path}: there is no store")
    kept = settings.quarantine
    store = await open_store(url, kept.max_records, kept.max_bytes)
    try:
        return await work(store, progress)
    finally:
        await store.close()


def show(result: object, words: str) -> None:
    """Write *result* to stdout: in *words* on a terminal, else as a line of JSON."""
    click.echo(words if sys.stdout.isatty() else msgspec.json.encode(result))


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on stderr, one for each stage, if it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    # Where no bar is shown, nothing needs rich.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    bars = Bars(console=Console(stderr=True))
    shown: dict[str, Any] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in shown:
            bars.start()
            shown[stage] = bars.add_task(stage)
        bars.update(shown[stage], completed=done, total=total)

    try:
        yield progress
    finally:
        if shown:
            bars.stop()
