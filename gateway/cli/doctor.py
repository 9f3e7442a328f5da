"""``gateway doctor``."""

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from gateway.care import Finding
from gateway.checks import control_path, spool_path
from gateway.cli.console import UNAVAILABLE, care_of_all, config_option, read_settings, reports
from gateway.cli.verify import show_findings
from gateway.config import Settings
from gateway.errors import StoreError
from gateway.machine import examine
from gateway.ops.control import NotRunning, ask
from gateway.stores import files_of


@click.command()
@config_option
def doctor(path: Path) -> None:
    """Examine what the gateway stands on: disk, space, limits, permissions, clock, SQLite.

    Run it as the user and with the limits of the gateway. Exits with 69 if anything is bad.

    \b
    Example: gateway doctor
    """
    settings = read_settings(path)
    databases = [spool_path(settings).absolute()]
    databases += [file.absolute() for file in files_of(settings.store.url)]
    present = [file for file in databases if file.exists()]
    needed = sum(file.stat().st_size for file in present)
    with reports():
        found = list(examine([file.parent for file in databases], needed))
        # Both may stand on the same software.
        found += dict.fromkeys(
            finding for part in care_of_all(settings) for finding in part.examine_engine()
        )
        found += [_mode(file) for file in present]
        found += _running(settings)
    show_findings(found)
    if any(one.verdict == "bad" for one in found):
        sys.exit(UNAVAILABLE)


def _mode(file: Path) -> Finding:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Finding("bad", str(file), f"others can write it (mode {mode:o})")
    if mode & stat.S_IROTH and file.parent.stat().st_mode & stat.S_IXOTH:
        return Finding("warning", str(file), f"everybody can read it (mode {mode:o})")
    return Finding("ok", str(file), f"mode {mode:o}")


def _running(settings: Settings) -> Iterator[Finding]:
    path = control_path(settings)
    if path is None:
        return
    try:
        ask(path, "status", {}, lambda *_: None)
    except NotRunning:
        yield Finding("note", str(path), "no gateway runs")
    except StoreError as error:
        yield Finding("bad", str(path), f"the gateway takes no events: {error}")
    except OSError as error:
        yield Finding("warning", str(path), f"cannot be asked: {error.strerror}")
    else:
        yield Finding("ok", str(path), "the gateway takes events")
