"""``gateway serve``."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import structlog

from gateway import service
from gateway.cli.console import UNAVAILABLE, config_option, fail, read_settings
from gateway.config import find_doubts, report
from gateway.errors import StoreError
from gateway.ops.log import configure

log = structlog.get_logger()


@click.command()
@config_option
def serve(path: Path) -> None:
    """Run the gateway until SIGTERM or SIGINT. SIGHUP lets it read its configuration again."""
    settings = read_settings(path, to_serve=True)
    configure(settings.log.level)
    for line in report(path, find_doubts(settings)):
        log.warning("config_doubtful", problem=line)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(service.serve(settings, path))
    except (StoreError, OSError) as error:
        fail(str(error), UNAVAILABLE)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, or asyncio's own on platforms that uvloop does not support."""
    try:
        found: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return found
