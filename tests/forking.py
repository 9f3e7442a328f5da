"""Python processes that start without imports, which take most of the CPU of a start.

A process that has imported the gateway waits here and forks whenever a test wants a process of
its own to signal, to kill or to limit. The fork runs what ``python`` would run with the same
arguments. It has the modules loaded already: tests of what is loaded, and of what is loaded
first, start a Python of their own.
"""

import atexit
import contextlib
import functools
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
# What a gateway that serves has loaded.
LOADED = ("gateway.cli", "gateway.stores.sqlite", "gateway.stores.spool", "aiosqlite")


# Descriptors that are passed at most, and a number above that of any.
_MOST, _HIGH = 8, 200


class Forked:
    """A process: what tests use of ``subprocess.Popen``."""

    def __init__(self, server: "_Server", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"wait": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, when it has ended; `TimeoutExpired` after *timeout* seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                assert timeout is not None
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[object],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    sockets: Sequence[socket.socket] = (),
) -> Forked:
    """Start ``python`` with *arguments*, ``-m module ...`` or ``-c code ...``.

    It gets *sockets* as systemd passes them: as descriptors from 3 on, with its process id.
    """
    request = {
        "arguments": [*map(str, arguments)],
        "cwd": str(cwd),
        "env": dict(os.environ if env is None else env),
    }
    outputs = [1 if stdout is None else stdout.fileno(), 2 if stderr is None else stderr.fileno()]
    server = _server()
    return Forked(server, server.ask(request, [*outputs, *(one.fileno() for one in sockets)]))


def run(
    arguments: Sequence[object],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    timeout: float = 50,
) -> "subprocess.CompletedProcess[str]":
    """Run ``python`` with *arguments* to its end, and read what it writes."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = start(arguments, cwd=cwd, env=env, stdout=stdout, stderr=stderr)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(
            list(arguments), status, stdout.read().decode(), stderr.read().decode()
        )


class _Server:
    """The process that forks; one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._answers = self._channel.makefile("rb")
        atexit.register(self.close)

    def ask(self, request: Mapping[str, object], outputs: Sequence[int] = ()) -> Any:
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            if outputs:
                socket.send_fds(self._channel, [line[:1]], outputs)
                self._channel.sendall(line[1:])
            else:
                self._channel.sendall(line)
            return json.loads(self._answers.readline())

    def close(self) -> None:
        self._answers.close()
        self._channel.close()
        self._process.wait()


@functools.cache
def _server() -> _Server:
    return _Server()


def _fork_on_request(channel: socket.socket) -> dict[str, Any] | None:
    """Answer requests to the end, and return None; in a fork, return its request."""
    requests = channel.makefile("rb")
    while True:
        first, descriptors, _, _ = socket.recv_fds(channel, 1, _MOST)
        if not first:
            return None
        request: dict[str, Any] = json.loads(first + requests.readline())
        answer: int | None
        if "wait" in request:
            ended, status = os.waitpid(request["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if not answer:
                requests.close()
                channel.close()
                # By way of numbers that none of them has.
                for number, descriptor in enumerate(descriptors, _HIGH + 1):
                    os.dup2(descriptor, number)
                os.closerange(3, max(descriptors) + 1)
                for number in range(1, len(descriptors) + 1):
                    os.dup2(_HIGH + number, number)
                    os.close(_HIGH + number)
                if len(descriptors) > 2:
                    request["env"]["LISTEN_PID"] = str(os.getpid())
                return request
        for descriptor in descriptors:
            os.close(descriptor)
        channel.sendall(json.dumps(answer).encode() + b"\n")


def _main() -> None:
    for name in LOADED:
        __import__(name)
    with contextlib.suppress(ImportError):
        __import__("uvloop")
    request = _fork_on_request(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        return
    # The tests may run where Ctrl+C is ignored, as whatever a shell has put into the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    kind, program, *arguments = request["arguments"]
    sys.argv = [kind, *arguments]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _main()
