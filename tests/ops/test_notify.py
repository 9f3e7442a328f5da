"""Messages to systemd: a real socket in its place."""

import os
import signal
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ops.notify import notify, watchdog_interval
from tests.conftest import PROCESS_CONFIG
from tests.forking import start
from tests.records import locked


@pytest.fixture
def systemd(tmp_path: Path):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(10)
        yield channel


@pytest.fixture
def service(tmp_path: Path, systemd: socket.socket):
    config = tmp_path / "config.toml"
    config.write_text(PROCESS_CONFIG)
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with (tmp_path / "log").open("wb") as log:
        process = start(
            ["-m", "gateway", "serve", "--config", config],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stderr=log,
        )
    yield process
    process.kill()
    process.wait()


def heard(systemd: socket.socket, wanted: bytes) -> bool:
    """Whether *wanted* comes, whatever comes before it."""
    try:
        while systemd.recv(4096) != wanted:
            pass
    except TimeoutError:
        return False
    return True


def drain(systemd: socket.socket) -> None:
    systemd.settimeout(0)
    try:
        while True:
            systemd.recv(4096)
    except BlockingIOError:
        pass


def test_systemd_hears_of_start_life_and_stop(service, systemd):
    assert heard(systemd, b"READY=1")
    for _ in range(3):
        assert heard(systemd, b"WATCHDOG=1")
    service.send_signal(signal.SIGTERM)
    assert heard(systemd, b"STOPPING=1")
    assert 0 == service.wait(timeout=30)


def test_a_gateway_whose_loop_does_not_turn_gives_no_sign_of_life(service, systemd):
    assert heard(systemd, b"READY=1")
    service.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    drain(systemd)
    systemd.settimeout(1)
    assert not heard(systemd, b"WATCHDOG=1")

    service.send_signal(signal.SIGCONT)
    systemd.settimeout(10)
    assert heard(systemd, b"WATCHDOG=1")


def test_an_idle_gateway_whose_store_is_locked_gives_signs_of_life(service, systemd, tmp_path):
    assert heard(systemd, b"READY=1")
    with locked(tmp_path / "events.db"):
        drain(systemd)
        systemd.settimeout(10)
        assert heard(systemd, b"WATCHDOG=1")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "20000000"}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_signs_of_life_are_given_where_systemd_asks_this_process(
    monkeypatch, environment, expected
):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert expected == watchdog_interval()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are of Linux alone")
def test_an_abstract_socket_is_addressed_by_its_name(monkeypatch):
    name = f"gateway-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as channel:
        channel.bind(f"\0{name}")
        channel.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("READY=1")

        assert b"READY=1" == channel.recv(4096)
