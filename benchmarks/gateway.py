"""The gateway under load: the real ``gateway serve`` of a checkout, as a process of its own."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.load import REPEATED, Figures, Load, drive
from benchmarks.machine import ROOT, Unfit, cpu_seconds, on_server_core

APPLICATION = "acme-" + "0123456789" * 6

_CONFIG = f"""
server.listen = "%s"
ops.listen = "%s"
moesif.applications = [{{tenant = "acme", ids = ["{APPLICATION}"]}}]
logspace.spaces = [{{tenant = "development", tokens = ["development"]}}]
device.tenants = [{{tenant = "T1", devices = ["D1"]}}]
device.keys = [{{key = "K1", tenants = ["T1"]}}]
"""

_ASK = """
import gateway, json, platform
from importlib.metadata import distributions
known = {one.name.lower(): one.version for one in distributions()}
loop = "uvloop " + known["uvloop"] if "uvloop" in known else "asyncio's loop"
told = f"Python {platform.python_version()}, aiohttp {known['aiohttp']}, {loop}"
print(json.dumps([gateway.__file__, told]))
"""

# A checkout that is measured must not import another one's modules.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout of the project: the command that runs it, and what that stands on."""

    command: Sequence[str]
    description: str


def checkout(folder: Path, python: Path) -> Checkout:
    """The checkout in *folder*, run by *python*, in whose environment it is installed.

    Raises:
        Unfit: it is not installed there.
    """
    try:
        asked = subprocess.run(
            [python, "-c", _ASK], cwd="/", env=_ENVIRONMENT, capture_output=True, check=True
        )
        file, told = json.loads(asked.stdout)
    except (OSError, subprocess.CalledProcessError):
        raise Unfit(f"{python} cannot import the gateway: make -C {folder} .venv/dev") from None
    if not Path(file).resolve().is_relative_to(folder.resolve()):
        raise Unfit(f"{python} runs {file}, which is not in {folder}.")
    git = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    # The script is run by this Python, so that a copied environment does not start another one's.
    serve = (str(python), str(python.with_name("gateway")), "serve")
    return Checkout(serve, f"{commit or 'no commit'}, {told}, in {folder}")


def this_checkout() -> Checkout:
    """The checkout that this benchmark is part of; prints what it is."""
    this = checkout(ROOT, Path(sys.executable))
    print(f"gateway   {this.description}", flush=True)
    return this


@dataclass(frozen=True, slots=True)
class Server:
    """A running gateway: its address and its process id."""

    url: str
    pid: int

    def await_rest(self) -> None:
        """Wait until the process is idle: a store that holds events still reads after its start."""
        used, rested, deadline = cpu_seconds(self.pid), 0, time.monotonic() + 60
        while rested < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
            now = cpu_seconds(self.pid)
            used, rested = now, rested + 1 if now - used <= 0.01 else 0


@contextmanager
def running(folder: Path, checkout: Checkout, options: str = "") -> Iterator[Server]:
    """The gateway of *checkout* with its store in *folder*, while it runs; *options* are TOML."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [one.getsockname() for one in sockets]
    for one in sockets:
        one.close()
    config, log = folder / "config.toml", folder / "gateway.log"
    config.write_text(_CONFIG % tuple(f"{host}:{port}" for host, port in addresses) + options)
    command = on_server_core([*checkout.command, "--config", str(config)])
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=folder, stderr=stderr, env=_ENVIRONMENT)
    try:
        deadline = time.monotonic() + 60
        while not all(map(_answers, addresses)):
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"The gateway did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        # taskset replaces itself by what it runs, so this is the gateway's own id.
        yield Server(f"http://127.0.0.1:{addresses[0][1]}", process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(address: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(address, timeout=5):
        return True
    return False


def ask(folder: Path, sql: str) -> int:
    """The number that *sql* finds in the store in *folder*; 0 where there is no store, or NULL."""
    if not (folder / "events.db").exists():
        return 0
    with closing(sqlite3.connect(f"file:{folder / 'events.db'}?mode=ro", uri=True)) as db:
        return int(db.execute(sql).fetchone()[0] or 0)


def stored(folder: Path) -> int:
    """How many events the store in *folder* holds."""
    return ask(folder, "SELECT count(*) FROM event")


def measure(load: Load, folder: Path, seconds: float, checkout: Checkout) -> Figures:
    """Start a gateway on the store in *folder*, drive it, stop it, count what it stored."""
    before = stored(folder)
    with running(folder, checkout) as server:
        server.await_rest()
        figures = drive(load, server.url, server.pid, seconds, folder)
    return checked(figures, load, stored(folder) - before)


def checked(figures: Figures, load: Load, kept: int) -> Figures:
    """*figures* with a fault if the *kept* events are not those that were acknowledged."""
    # Requests in flight at the end may be stored or not.
    repeated = REPEATED if load.repeats else 0
    least, in_flight = figures.requests * (load.events - repeated), load.connections * load.events
    if least <= kept <= least + in_flight + repeated:
        return figures
    return replace(figures, faults=(*figures.faults, f"{kept:,} stored of {least:,}"))
