"""The socket for commands to the gateway that runs."""

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.care import Progress
from gateway.errors import StoreError
from gateway.ops import control
from gateway.ops.control import Command, ControlServer, NotRunning, ask


async def count(arguments: Mapping[str, Any], progress: Progress) -> object:
    for done in range(arguments["to"]):
        progress("count", done + 1, arguments["to"])
        await asyncio.sleep(0)
    return {"counted": arguments["to"]}


async def refuse(arguments: Mapping[str, Any], progress: Progress) -> object:
    raise StoreError("not today")


async def fail(arguments: Mapping[str, Any], progress: Progress) -> object:
    raise RuntimeError("a bug")


COMMANDS = {"count": count, "refuse": refuse, "fail": fail}


@asynccontextmanager
async def listening(
    path: Path, commands: Mapping[str, Command] = COMMANDS
) -> AsyncIterator[Callable[..., Any]]:
    server = ControlServer(path, commands)
    await server.start()

    async def asked(command: str, progress: Progress = lambda *_: None, **arguments: Any) -> Any:
        return await asyncio.to_thread(ask, path, command, arguments, progress)

    try:
        yield asked
    finally:
        await server.close()


async def test_commands_run_one_after_another(tmp_path):
    steps: list[str] = []

    async def note(arguments: Mapping[str, Any], progress: Progress) -> object:
        for _ in range(200):
            steps.append(arguments["name"])
            await asyncio.sleep(0)
        return None

    async with listening(tmp_path / "control", {"note": note}) as asked:
        await asyncio.gather(asked("note", name="a"), asked("note", name="b"))

    assert ["a", "b"] == sorted({*steps})
    assert steps in (sorted(steps), sorted(steps, reverse=True))


async def test_a_command_reports_its_progress_and_its_result(tmp_path):
    steps: list[Any] = []
    async with listening(tmp_path / "control") as asked:
        result = await asked("count", lambda *step: steps.append(step), to=3)

    assert {"counted": 3} == result
    assert [("count", 1, 3), ("count", 2, 3), ("count", 3, 3)] == steps


@pytest.mark.parametrize(
    ("command", "words"),
    [("refuse", "not today"), ("fail", "a bug"), ("other", "count, refuse, fail")],
)
async def test_a_command_that_fails_says_why_and_the_next_one_works(tmp_path, command, words):
    async with listening(tmp_path / "control") as asked:
        with pytest.raises(StoreError, match=words):
            await asked(command)
        assert {"counted": 1} == await asked("count", to=1)


async def test_only_its_owner_can_connect(tmp_path):
    async with listening(tmp_path / "control"):
        assert 0o600 == stat.S_IMODE((tmp_path / "control").stat().st_mode)
    assert not (tmp_path / "control").exists()


async def test_where_no_gateway_listens_nothing_is_asked(tmp_path):
    path = tmp_path / "control"
    with pytest.raises(NotRunning):
        ask(path, "count", {"to": 1}, lambda *_: None)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with pytest.raises(NotRunning):
        ask(path, "count", {"to": 1}, lambda *_: None)

    async with listening(path) as asked:
        assert {"counted": 1} == await asked("count", to=1)


async def test_a_file_that_is_no_socket_is_not_replaced(tmp_path):
    (tmp_path / "control").write_text("notes")

    with pytest.raises(OSError, match="in use"):
        await ControlServer(tmp_path / "control", COMMANDS).start()
    assert "notes" == (tmp_path / "control").read_text()


async def test_a_folder_with_a_long_name_can_hold_the_socket(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    async with listening(folder / "control") as asked:
        assert {"counted": 1} == await asked("count", to=1)


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b'{"command": 1}\n', b"\xff\n", b"x" * 100_000])
async def test_a_line_that_is_no_request_ends_the_connection_and_no_other(
    tmp_path, line, monkeypatch
):
    monkeypatch.setattr(control, "_LONGEST_REQUEST", 1 << 16)
    async with listening(tmp_path / "control") as asked:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control")
        writer.write(line)
        answer = await reader.readline()
        writer.close()
        assert answer == b"" or "error" in json.loads(answer)
        assert {"counted": 1} == await asked("count", to=1)


async def test_a_gateway_that_stops_ends_the_command_that_runs(tmp_path):
    running = asyncio.Event()

    async def hang(arguments: Mapping[str, Any], progress: Progress) -> object:
        running.set()
        await asyncio.sleep(60)
        return None

    async with listening(tmp_path / "control", {"hang": hang}) as asked:
        waiting = asyncio.create_task(asked("hang"))
        await running.wait()
    with pytest.raises(StoreError, match="ended before it answered"):
        await waiting
