"""Fixtures for the tests with real clients; they are slow, and may have to install first."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import installs
from tests.conftest import APPLICATION_ID, Process

HERE = Path(__file__).parent
PATIENCE = 30.0
"""Seconds that something may take which SDKs do in the background, mostly within two."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is slow, and may have to wait for an installation.

    One process does it, so that nothing is installed twice at a time.
    """
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(600))
            item.add_marker(pytest.mark.xdist_group("clients"))


@pytest.fixture(scope="session")
def python_sdks() -> str:
    return str(installs.python_sdks())


@pytest.fixture(scope="session")
def node_sdks() -> Path:
    return installs.node_sdks()


@pytest.fixture(scope="session")
def chromium() -> str:
    return installs.chromium()


def eventually(look: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """What *look* sees as soon as it is *enough*; what it saw last when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if enough(seen) or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def stored(process: Process, count: int, *options: str) -> list[dict[str, Any]]:
    """The records of the store, once there are *count* of them."""
    return eventually(lambda: process.export(*options), lambda records: len(records) >= count)


def requests(process: Process, method: str, path: str, at_least: int = 1) -> list[dict[str, Any]]:
    """The gateway's log lines of the requests for *path*; they follow the answers by a little."""

    def look() -> list[dict[str, Any]]:
        text, _, _ = process.log.read_bytes().rpartition(b"\n")
        lines = [json.loads(line) for line in text.splitlines()]
        return [line for line in lines if (line.get("method"), line.get("path")) == (method, path)]

    return eventually(look, lambda lines: len(lines) >= at_least)


def keep_port(process: Process) -> Process:
    """Give *process* a port that it keeps when it starts anew: clients know one address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = process.config.read_text()
    process.config.write_text(config.replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
    return process


HOLD_THE_LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(process: Process) -> Iterator[None]:
    """Another process holds the lock that writing to the store takes."""
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(process.folder / "events.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert b"held\n" == holder.stdout.readline()
        yield
        holder.communicate()


class Script:
    """A program that uses an SDK as its users do, and speaks JSON lines with the test."""

    def __init__(self, folder: Path, *command: str, **environment: str) -> None:
        self.errors = folder / f"{Path(command[1]).stem}.stderr"
        with self.errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
            )

    def ask(self, question: Any) -> Any:
        """Write a line and read its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        return self.hear()

    def hear(self) -> Any:
        """The next line that the program means for us: SDKs print to its output as well."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"> "):
                return json.loads(line[2:])
        pytest.fail(f"It said nothing more:\n{self.errors.read_text()}")

    def end(self) -> None:
        # SDKs flush in the background and have nothing to lose here: the test has read it all.
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def script(process: Process, tmp_path: Path) -> Iterator[Callable[..., Script]]:
    """Start a program beside a running gateway; it is told the address and the id."""
    started: list[Script] = []

    def start(*command: str, **environment: str) -> Script:
        environment |= {"GATEWAY_URL": process.url, "APPLICATION_ID": APPLICATION_ID}
        started.append(Script(tmp_path, *command, **environment))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def python(script: Callable[..., Script], python_sdks: str) -> Callable[[str], Script]:
    """Start one of the programs in `python/`."""
    return lambda name: script(python_sdks, str(HERE / "python" / name))


@pytest.fixture
def node(script: Callable[..., Script], node_sdks: Path) -> Callable[[str], Script]:
    """Start one of the programs in `node/`."""
    return lambda name: script("node", str(HERE / "node" / name), NODE_PATH=str(node_sdks))
