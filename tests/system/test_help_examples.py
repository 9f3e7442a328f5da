"""The help of every command ends with an example, which works as pasted."""

import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gateway.cli import main
from gateway.stores.sqlite import open_store
from tests.conftest import APPLICATION_ID, ROOT, Process, command
from tests.forking import run, start
from tests.records import closing, make_record, make_rejected

LONGEST = 30
"""Seconds."""

UNTIL_STOPPED = {"serve": "gateway_started", "tail": "specversion"}
"""Commands that go on, and what they write once they work."""

STATUSES = {"rejected replay": (0, 1), "doctor": (0, 69)}
"""Of commands that say by a status what they found: an event that is still invalid, a full disk."""

LAST = ("prune", "rotate")
"""Commands that remove events, or move them elsewhere."""

AFTER_A_STOP = ("restore", "recover", "rebuild-keys", "serve")
"""Commands that no gateway may run beside; the first needs what the example of backup made."""


def commands(group: click.Group = main, before: str = "") -> Iterator[str]:
    """The names of all commands, as they are typed."""
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from commands(one, f"{before}{name} ")
        else:
            yield f"{before}{name}"


COMMANDS = list(commands())


def example(name: str) -> str:
    """The command line at the end of the help of the command *name*."""
    told = command(*name.split(), "--help", cwd=ROOT).stdout
    [shown] = [line for line in told.splitlines() if line.startswith("  Example: ")]
    return shown.removeprefix("  Example: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example_of_it(name):
    assert example(name).startswith(f"gateway {name}")


class Prompt:
    """A folder in which example lines are pasted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "bin" / "gateway"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
        program.chmod(0o755)
        inherited = {k: v for k, v in os.environ.items() if k != "GATEWAY_CONFIG"}
        self.environment = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder / "share"),
        }

    def paste(self, line: str, *, statuses: tuple[int, ...] = (0,)) -> None:
        """Run *line*, in a shell if it needs one, and require one of *statuses*."""
        if "$" in line:
            arguments = ["bash", "-c", line]
            done = subprocess.run(
                arguments, cwd=self.folder, env=self.environment, capture_output=True, check=False
            )
        else:
            words = shlex.split(line)[1:]
            done = run(["-m", "gateway", *words], cwd=self.folder, env=self.environment)
        assert done.returncode in statuses, (line, done.stderr)

    def paste_and_interrupt(self, line: str, sign: str) -> None:
        """Run *line* until it writes *sign*, then interrupt it."""
        output = self.folder / "output"
        with output.open("wb") as out:
            words = shlex.split(line)[1:]
            process = start(
                ["-m", "gateway", *words],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        deadline = time.monotonic() + LONGEST
        while sign not in output.read_text():
            assert time.monotonic() < deadline, (line, output.read_text())
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(LONGEST), (line, output.read_text())


def send_one(process: Process) -> None:
    """An event of the tenant acme and of type GET, which the examples look for."""
    sent = urllib.request.Request(
        f"{process.url}/v1/events",
        b'{"request": {"time": "2026-01-15T10:00:00Z", "verb": "GET", "uri": "https://a.example"}}',
        {"X-Moesif-Application-Id": APPLICATION_ID},
    )
    urllib.request.urlopen(sent).close()


@pytest.fixture
async def aged(process: Process) -> Process:
    """A gateway with events of long ago, for those who want to delete one."""
    old = [make_rejected("x", received_at=0), make_record(received_at=0, tenant="acme")]
    async with closing(await open_store(f"sqlite:///{process.folder}/events.db", 10)) as store:
        await store.append(old)
    return process


def test_the_examples_of_all_commands_work_as_pasted(aged):
    process, prompt = aged, Prompt(aged.folder)
    process.start()
    # status and send ask where the configuration says.
    config = process.config.read_text()
    for url in (process.url, process.ops_url):
        config = config.replace("127.0.0.1:0", url.removeprefix("http://"), 1)
    process.config.write_text(config)
    send_one(process)
    others = [name for name in COMMANDS if name not in (*LAST, *AFTER_A_STOP)]
    for name in (*others, *LAST):
        if name in UNTIL_STOPPED:
            prompt.paste_and_interrupt(example(name), UNTIL_STOPPED[name])
        else:
            prompt.paste(example(name), statuses=STATUSES.get(name, (0,)))
    process.stop()
    for name in AFTER_A_STOP:
        if name in UNTIL_STOPPED:
            prompt.paste_and_interrupt(example(name), UNTIL_STOPPED[name])
        else:
            prompt.paste(example(name))
