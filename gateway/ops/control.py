"""The control socket: an operator's commands to the gateway that runs.

Only the process that writes a store may change its files, so commands ask it. A request
is one line of JSON, ``{"command": "...", "arguments": {...}}``. The answer is any number
of lines ``{"stage": "...", "done": 1, "total": 9}``, then one line, ``{"result": {...}}``
or ``{"error": "..."}``. The socket has mode 0600: whoever may read the store may connect.
"""

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gateway.care import Progress
from gateway.errors import StoreError

log = structlog.get_logger()

Command = Callable[[Mapping[str, Any], Progress], Awaitable[object]]  # arguments are JSON
"""Does something with the arguments of a request; returns what msgspec can write as JSON."""

_LONGEST_NAME = 100
"""Bytes of a path that any system takes as the address of a Unix socket."""

_LONGEST_REQUEST = 64 << 20
"""Bytes: a request may hold the text of an event, or the ids of all that is in quarantine."""


class Request(msgspec.Struct):
    """A command by name, with its arguments."""

    command: str
    arguments: dict[str, Any] = {}  # Any: JSON


class Line(msgspec.Struct, omit_defaults=True):
    """A line of an answer."""

    stage: str = ""
    done: int = 0
    total: int = 0
    result: Any = None  # Any: JSON
    error: str = ""


_REQUEST = msgspec.json.Decoder(Request)
_LINE = msgspec.json.Decoder(Line)


class ControlServer:
    """Answers on a Unix socket. Commands run one after another."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._turn = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. The writer's lock must be held: a socket that is there was left by a crash.

        Raises:
            OSError: the socket cannot be made.
        """
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(self._path) as name:
                listener.bind(name)
        except OSError as error:
            listener.close()
            raise OSError(error.errno, f"{self._path}: {error.strerror}") from error
        # Nobody can connect before it listens.
        self._path.chmod(0o600)
        self._server = await asyncio.start_unix_server(
            self._accept, sock=listener, limit=_LONGEST_REQUEST
        )

    async def close(self) -> None:
        """Stop listening, cancel the command that runs, and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            answer = await self._answer(await reader.readline(), writer)
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
        except (OSError, ValueError):
            log.info("control_connection_lost")
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> Line:
        def progress(stage: str, done: int, total: int) -> None:
            # Whoever asked may have gone; the command goes on.
            if not writer.is_closing():
                writer.write(msgspec.json.encode(Line(stage, done, total)) + b"\n")

        try:
            request = _REQUEST.decode(line)
            command = self._commands[request.command]
        except msgspec.MsgspecError as error:
            return Line(error=str(error))
        except KeyError:
            return Line(error=f"Unknown command; known: {', '.join(self._commands)}.")
        try:
            async with self._turn:
                result = await command(request.arguments, progress)
        except (StoreError, ValueError) as error:
            log.warning("command_failed", command=request.command, error=str(error))
            return Line(error=str(error))
        except Exception as error:
            log.exception("command_failed", command=request.command)
            return Line(error=repr(error))
        log.info("command_done", command=request.command)
        return Line(result=result)


class NotRunning(Exception):
    """No gateway listens on the socket."""


def ask(
    path: Path, command: str, arguments: Mapping[str, object], progress: Progress
) -> Any:  # Any: JSON
    """Let the gateway that listens on *path* do *command*; return its result, as JSON has it.

    Raises:
        NotRunning: no gateway listens there.
        StoreError: the gateway refused, failed, or ended before it answered.
        PermissionError: the socket belongs to another user.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _short(path) as name:
                connection.connect(name)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning(str(path)) from error
        request = Request(command, dict(arguments))
        connection.sendall(msgspec.json.encode(request) + b"\n")
        with connection.makefile("rb") as lines:
            for text in lines:
                line = _LINE.decode(text)
                if line.error:
                    raise StoreError(line.error)
                if not line.stage:
                    return line.result
                progress(line.stage, line.done, line.total)
    raise StoreError("The gateway ended before it answered; look at its log.")


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for *path* that is short enough for the system."""
    name = str(path.absolute())
    if len(os.fsencode(name)) <= _LONGEST_NAME or not Path("/proc/self/fd").exists():
        yield name
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
