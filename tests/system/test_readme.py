"""The commands of the README and of the pages print what the pages show."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.forking import Forked, start

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
PORTS = ("8080", "8081")

_BLOCKS = re.compile(r"```sh\n(?P<command>[^`]*)```\n+```(?:text|json)\n(?P<answer>[^`]*)```")

_INCIDENTS = re.compile(r"^## Incidents\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def _examples(page: Path) -> list[tuple[str, str]]:
    """The commands of a page that show their answer; those of incidents have tests of their own."""
    text = _INCIDENTS.sub("", page.read_text())
    return [match.group("command", "answer") for match in _BLOCKS.finditer(text)]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# What differs from one run to the next.
_VARYING = ("id", "receivedat")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def _taken(port: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(port)))
        except OSError:
            return True
    return False


def _other_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Reader:
    """Somebody in a fresh clone, at whose prompt commands are pasted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        taken = any(map(_taken, PORTS))
        self._ports = {port: _other_port() if taken else port for port in PORTS}
        config = (ROOT / "config.example.toml").read_text()
        (folder / "config.example.toml").write_text(self._here(config))
        command = folder / ".venv" / "bin" / "gateway"
        command.parent.mkdir(parents=True)
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
        command.chmod(0o755)

    def _here(self, text: str) -> str:
        for documented, port in self._ports.items():
            text = text.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{port}")
        return text

    def start(self, log: Path) -> Forked:
        """What `make serve` starts."""
        with log.open("wb") as errors:
            arguments = ["-m", "gateway", "serve", "--config", "config.example.toml"]
            server = start(arguments, cwd=self.folder, stderr=errors)
        deadline = time.monotonic() + 60
        while b"gateway_started" not in log.read_bytes():
            if time.monotonic() > deadline or server.poll() is not None:
                server.kill()
                raise RuntimeError(log.read_text())
            time.sleep(0.02)
        return server

    def paste(self, command: str) -> str:
        """Run a command as it stands on a page; return what it prints."""
        done = subprocess.run(
            ["bash", "-c", self._here(command)],
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return done.stdout.decode()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    server = reader.start(tmp_path / "gateway.ops.log")
    yield reader
    server.terminate()
    assert 0 == server.wait(timeout=40)


def test_the_readme_shows_each_dialect_and_how_to_see_what_arrived():
    shown = " ".join(command for command, _ in _examples(README))

    assert README.read_text().count("\ncurl ") == shown.count("curl ")
    assert "X-Moesif-Application-Id" in shown
    assert "logspace.space-token" in shown
    assert "X-Moki-TenantAPIToken" in shown
    assert "gateway export" in shown


@pytest.mark.parametrize("page", [page for page in PAGES if _examples(page)], ids=_name)
def test_the_commands_of_a_page_give_the_answers_that_it_shows(reader: Reader, page: Path):
    for command, answer in _examples(page):
        given = reader.paste(command)
        if "gateway export" in command:
            assert _constant(answer) == _constant(given), command
        else:
            assert answer == given, command


def _constant(lines: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in lines.splitlines()]
    return [{k: v for k, v in event.items() if k not in _VARYING} for event in events]
