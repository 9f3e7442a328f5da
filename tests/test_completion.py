"""Completion at the Tab key."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, command

SECONDS = 60


class Terminal:
    """bash at a terminal, in which ``gateway`` is this program."""

    def __init__(self, folder: Path) -> None:
        program = folder / "bin" / "gateway"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
        program.chmod(0o755)
        self._side, other = pty.openpty()
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            stdin=other,
            stdout=other,
            stderr=other,
            cwd=folder,
            start_new_session=True,
            env={
                "HOME": str(folder),
                "PATH": f"{program.parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "PS1": "$ ",
                "TERM": "dumb",
                "INPUTRC": "/dev/null",
            },
        )
        os.close(other)

    def type(self, keys: str, until: str) -> str:
        """Press *keys*; return what is shown, as soon as *until* is part of it."""
        os.write(self._side, keys.encode())
        shown, deadline = "", time.monotonic() + SECONDS
        while until not in shown:
            ready, _, _ = select.select([self._side], [], [], deadline - time.monotonic())
            assert ready, shown
            shown += os.read(self._side, 4096).decode()
        return shown

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._side)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_and_options_after_an_install(tmp_path):
    done = command(
        "completion", "bash", "--install", cwd=tmp_path, XDG_DATA_HOME=str(tmp_path / "share")
    )
    installed = done.stdout.strip()
    assert f"{tmp_path}/share/bash-completion/completions/gateway" == installed
    assert f"source {installed}" in done.stderr

    terminal = Terminal(tmp_path)
    try:
        terminal.type(f"source {installed}; echo re''ady\n", until="ready")
        assert "gateway rebuild-keys" in terminal.type("gateway rebu\t", until="rebuild-keys")
        terminal.type("\x15", until="")
        assert "--follow" in terminal.type("gateway tail --fol\t", until="--follow")
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("shell", "variable", "file"),
    [
        ("zsh", "XDG_DATA_HOME", "zsh/site-functions/_gateway"),
        ("fish", "XDG_CONFIG_HOME", "fish/completions/gateway.fish"),
    ],
)
def test_the_completion_of_other_shells_is_put_where_they_look(tmp_path, shell, variable, file):
    done = command("completion", shell, "--install", cwd=tmp_path, **{variable: str(tmp_path)})

    assert f"{tmp_path / file}\n" == done.stdout
    printed = command("completion", shell, cwd=tmp_path).stdout
    assert printed.rstrip() == (tmp_path / file).read_text().rstrip()
    assert "_GATEWAY_COMPLETE" in printed


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    done = command(
        "completion", "bash", "--install", cwd=tmp_path, XDG_DATA_HOME=str(tmp_path / "file")
    )

    assert 74 == done.exit_code
    assert "Not a directory" in done.stderr
