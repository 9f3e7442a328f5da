"""Socket activation: real descriptors, passed to a real process as systemd does."""

import asyncio
import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import forking
from tests.conftest import PROCESS_CONFIG, ROOT, command
from tests.system.wire import LOGSPACE, Client, Request, agent_event, ask


class Systemd:
    """Holds sockets, and starts gateways that get them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        (folder / "config.toml").write_text(PROCESS_CONFIG)
        self.stack = ExitStack()
        self.process: forking.Forked | None = None

    def listen(self) -> socket.socket:
        return self.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))

    def start(self, names: str, *sockets: socket.socket) -> None:
        """Start a gateway; return once it is ready, or has ended."""
        environment = {"LISTEN_FDS": str(len(sockets)), "PYTHONPATH": str(ROOT)}
        if names:
            environment["LISTEN_FDNAMES"] = names
        already = self.told().count("gateway_started")
        with self.log.open("ab") as log:
            self.process = forking.start(
                ["-m", "gateway", "serve"],
                cwd=self.folder,
                env={**os.environ, **environment},
                stderr=log,
                sockets=sockets,
            )
        deadline = time.monotonic() + 60
        while self.told().count("gateway_started") == already and self.process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def told(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.stack.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    made.close()


def url(one: socket.socket) -> str:
    host, port = one.getsockname()
    return f"http://{host}:{port}"


def event(name: str) -> Request:
    return Request("PUT", "/events", LOGSPACE, [agent_event(name)])


def test_named_sockets_are_used_instead_of_the_addresses_of_the_configuration(systemd):
    public, second, ops = systemd.listen(), systemd.listen(), systemd.listen()
    systemd.start("public:ops:public", public, ops, second)

    for number, one in enumerate((public, second)):
        answer = asyncio.run(ask(url(one), event(f"{number}")))
        assert answer is not None
        assert 202 == answer.status
    with urllib.request.urlopen(f"{url(ops)}/readyz") as ready:
        assert {"status": "ready"} == json.load(ready)
    [started] = [json.loads(line) for line in systemd.told().splitlines() if "_started" in line]
    assert [url(public), url(ops)] == [f"http://{started[name]}" for name in ("address", "ops")]
    assert 0 == systemd.stop()


@pytest.mark.parametrize(
    "names",
    ["", *(pytest.param(one, marks=pytest.mark.slow) for one in ("gateway.socket", "unknown"))],
)
async def test_a_socket_that_is_alone_is_the_public_one(systemd, names):
    public = systemd.listen()
    systemd.start(names, public)

    client = Client(url(public))
    assert 202 == (await client.send(event("1"))).status
    client.close()


def test_sockets_without_a_known_name_end_the_start(systemd):
    systemd.start("public:gateway.socket", systemd.listen(), systemd.listen())

    assert systemd.process is not None
    assert 69 == systemd.process.wait(timeout=30)
    assert "FileDescriptorName= must be public or ops" in systemd.told()


def test_a_socket_that_does_not_listen_ends_the_start(systemd):
    with socket.socket() as idle:
        systemd.start("public", idle)

        assert systemd.process is not None
        assert 69 == systemd.process.wait(timeout=30)
    assert "does not listen for TCP connections" in systemd.told()


@pytest.mark.parametrize("restarts", [1, pytest.param(3, marks=pytest.mark.slow)])
async def test_a_restart_refuses_no_connection_and_loses_no_request(systemd, restarts):
    """Clients that connect anew for each event are all answered 202."""
    public = systemd.listen()
    systemd.start("public", public)
    answers: list[int | None] = []
    done = asyncio.Event()

    async def send(name: int) -> None:
        number = 0
        while not done.is_set():
            number += 1
            client = Client(url(public))
            answer = await client.send(event(f"{name}-{number}"))
            client.close()
            answers.append(answer and answer.status)

    tasks = [asyncio.create_task(send(name)) for name in range(4)]
    for _ in range(restarts):
        await asyncio.sleep(0.3)
        assert 0 == await asyncio.to_thread(systemd.stop)
        before = len(answers)
        await asyncio.to_thread(systemd.start, "public", public)
    await asyncio.sleep(0.3)
    done.set()
    await asyncio.gather(*tasks)
    assert 0 == systemd.stop()

    assert {202} == set(answers)
    assert len(answers) > before + 4
    exported = command("export", "--config", "config.toml", cwd=systemd.folder)
    assert len(answers) == len(exported.stdout.splitlines())
