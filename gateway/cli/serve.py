"""``gateway serve``."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import structlog

from gateway import service
from gateway.app import Gateway
from gateway.cli import demo
from gateway.cli.console import (
    BAD_CONFIG,
    CONFIG,
    DEMO,
    DEMO_CONFIG,
    IO_ERROR,
    UNAVAILABLE,
    fail,
    read_settings,
)
from gateway.config import Overrides, Settings, find_doubts, parse, report
from gateway.errors import StoreError
from gateway.ops.activation import is_activated
from gateway.ops.log import configure

log = structlog.get_logger()


@click.command()
@click.option(
    "-c",
    "--config",
    "given",
    envvar="GATEWAY_CONFIG",
    show_default=f"{CONFIG} if there is one, else a demo",
    type=click.Path(path_type=Path),
    help="The configuration file (or GATEWAY_CONFIG).",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Listen for clients there, in place of [server] listen.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Log this and above, in place of [log] level.",
)
def serve(given: Path | None, listen: str | None, log_level: str | None) -> None:
    """Run the gateway until SIGTERM or SIGINT. SIGHUP lets it read its configuration again.

    Where no configuration is named and there is no config.toml, this starts a demo on this
    machine alone. It prints a curl command for each dialect. Its configuration, with new
    credentials, and its events are in gateway-demo/, which the next start and the other
    commands use again in the same working directory. No other place is searched: name a
    file in /etc with --config or GATEWAY_CONFIG.

    \b
    Example: gateway serve --log-level debug
    """
    overrides: dict[str, dict[str, object]] = {}
    if listen is not None:
        overrides["server"] = {"listen": listen}
    if log_level is not None:
        overrides["log"] = {"level": log_level}
    if listen is not None and is_activated():
        raise click.UsageError("systemd passes the sockets to listen on: leave --listen out.")
    if given is None and not CONFIG.exists():
        _serve_demo(overrides)
    else:
        path = given or CONFIG
        _serve(read_settings(path, overrides, to_serve=True), path, overrides, lambda _: None)


def _serve_demo(overrides: Overrides) -> None:
    if is_activated():
        fail("a demo does not listen on the sockets of systemd: name a configuration", BAD_CONFIG)
    try:
        demo.prepare()
    except OSError as error:
        fail(f"there is no configuration, and a demo cannot be made: {error}", IO_ERROR)
    settings = read_settings(DEMO_CONFIG, overrides, to_serve=True)
    if (address := demo.open_to_others(settings)) is not None:
        fail(
            f"{address} is open to other machines, and a demo is not, because its credentials "
            f"are in plain text in {DEMO}/. Name a configuration of your own with --config.",
            BAD_CONFIG,
        )

    def welcome(gateway: Gateway) -> None:
        click.echo(demo.welcome(settings, gateway.address))

    _serve(settings, DEMO_CONFIG, overrides, welcome)


def _serve(
    settings: Settings, path: Path, overrides: Overrides, when_started: Callable[[Gateway], None]
) -> None:
    configure(settings.log.level)
    for line in report(path, find_doubts(settings)):
        log.warning("config_doubtful", problem=line)
    document = parse(path) if overrides else {}
    for name, options in overrides.items():
        for option, value in options.items():
            written = document.get(name, {}).get(option)
            log.warning("config_overridden", option=f"{name}.{option}", value=value, file=written)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(
                service.serve(settings, path, overrides=overrides, when_started=when_started)
            )
    except (StoreError, OSError) as error:
        fail(str(error), UNAVAILABLE)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, or asyncio's own on platforms that uvloop does not support."""
    try:
        found: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return found
