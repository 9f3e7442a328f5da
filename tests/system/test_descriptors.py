"""A process without free file descriptors says little, says it aloud, and recovers."""

import asyncio
import json
import resource
import socket
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Process
from tests.system.wire import Client, ask, eventually, metric, one_call, one_device_event

LIMIT = 128

LIMITED = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
%s
from gateway.cli import main
main()
"""

LOOPS = {"uvloop": "", "asyncio": "sys.modules['uvloop'] = None"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")


@pytest.fixture(params=["uvloop", pytest.param("asyncio", marks=pytest.mark.slow)])
def limited(request: pytest.FixtureRequest, process: Process) -> Process:
    """A gateway process that may open few files, on each event loop."""
    process.program = ["-c", LIMITED % LOOPS[request.param]]
    return process.start()


def connected(process: Process, stack: ExitStack, count: int) -> None:
    """Open connections on which nothing is sent, until *stack* closes them."""
    host, port = process.url.removeprefix("http://").split(":")
    for _ in range(count):
        stack.enter_context(socket.create_connection((host, int(port)), timeout=10))


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def readiness(process: Process) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{process.ops_url}/readyz", timeout=10) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)["reason"]


async def test_clients_beyond_the_limit_are_turned_away_and_readiness_tells(limited):
    early = Client(limited.url)
    assert 201 == (await early.send(one_call())).status
    with ExitStack() as stack:
        connected(limited, stack, 2 * LIMIT)
        eventually(lambda: readiness(limited) == (503, "All 64 connections are in use."))
        # Who is connected is served, and late clients are not left waiting.
        assert 201 == (await early.send(one_device_event())).status
        assert await asyncio.wait_for(ask(limited.url, one_call()), 10) is None
        eventually(lambda: metric(limited.ops_url, "gateway_turned_away_total") >= LIMIT)
    eventually(lambda: readiness(limited) == (200, ""))
    assert 201 == (await ask(limited.url, one_call())).status
    early.close()

    log = limited.log.read_text()
    assert 1 == log.count("client_turned_away")
    assert "Traceback" not in log
    assert 0 == limited.stop()


async def test_without_any_free_descriptor_the_log_stays_short_and_the_gateway_recovers(limited):
    pid = limited.process.pid
    used = open_files(pid)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 5, LIMIT))
    with ExitStack() as stack:
        connected(limited, stack, 40)
        await asyncio.sleep(2)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))

    eventually(lambda: readiness(limited) == (200, ""))
    assert 201 == (await ask(limited.url, one_call())).status
    log = limited.log.read_text()
    assert log.count("connection_not_accepted") <= 1
    assert "Traceback" not in log
    assert log.count("\n") < 10
    assert 0 == limited.stop()
