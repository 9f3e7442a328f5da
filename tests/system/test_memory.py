"""Peak memory: whatever clients send, it stays within the formula of docs/operating.md."""

import asyncio
import contextlib
import gzip
import json
import resource
from collections import Counter
from pathlib import Path

import pytest

from gateway.web.pieces import RESERVED
from tests.conftest import APPLICATION_ID, Process
from tests.records import eventually
from tests.system.wire import agent_event

# A busy machine takes its time to send this much; only the memory counts.
pytestmark = pytest.mark.timeout(600)

MIB = 1 << 20
LIMITS = f"""
[limits]
inflight_bytes = {128 * MIB}
tenant_inflight_bytes = {128 * MIB}
[logspace]
max_body = {64 * MIB}
"""


def memory(process: Process, name: str) -> int:
    """What the kernel says of the process's memory, in bytes."""
    assert process.process is not None
    status = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith(f"{name}:"))


def peak(process: Process) -> int:
    """The most memory that the process had at once so far, in bytes."""
    return memory(process, "VmHWM")


def limited(process: Process) -> tuple[Process, int]:
    """The gateway with known limits, started, and its memory at rest."""
    config = process.config.read_text().replace("[server]", "[server]\nbody_timeout = 300", 1)
    process.config.write_text(config.replace("[[logspace.spaces]]", f"{LIMITS}[[logspace.spaces]]"))
    process.fresh = True
    return process.start(), peak(process)


PUT = ("PUT /events", "logspace.space-token: development")
POST = ("POST /v1/actions/batch", f"X-Moesif-Application-Id: {APPLICATION_ID}")


async def send(
    process: Process,
    body: bytes,
    *,
    to: tuple[str, str] = PUT,
    coding: str = "identity",
    announced: int = 0,
) -> int:
    """The status for a body. The gateway may wait for the rest where more is *announced*."""
    host, port = process.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    target, credential = to
    lines = [f"{target} HTTP/1.1", "Host: gateway", credential, f"Content-Encoding: {coding}"]
    lines += [f"Content-Length: {announced or len(body)}", "", ""]
    try:
        writer.write("\r\n".join(lines).encode() + body)
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def spaces(size: int) -> bytes:
    return b"[" + b" " * (size - 2) + b"]"


def batch(size: int, text: str) -> bytes:
    """A batch of about *size* bytes, of different events that contain *text*."""
    events = [
        {**agent_event(f"{at}"), "action_name": "a", "string-properties": {"text": [text]}}
        for at in range(size // (len(text.encode()) + 150))
    ]
    return json.dumps(events, ensure_ascii=False).encode()


ACTIONS = 11 * MIB
BACKLOG = 20_000_000
KINDS = {
    "nothing": (4, spaces),
    "text": (4, lambda size: batch(size, "x" * 1000)),
    "text that Python stores in four bytes a character": (
        8,
        lambda size: batch(size, "x" * 1000 + "\N{PARROT}"),
    ),
}


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("factor", "make"), KINDS.values(), ids=KINDS)
async def test_small_bodies_that_inflate_keep_within_the_budget(process, factor, make):
    gateway, at_rest = limited(process)
    packed = gzip.compress(make(ACTIONS), mtime=0)
    statuses = Counter(
        await asyncio.gather(*(send(gateway, packed, to=POST, coding="gzip") for _ in range(30)))
    )

    assert {201, 503} == set(statuses)
    assert peak(gateway) < at_rest + factor * 128 * MIB
    assert 201 == await send(gateway, packed, to=POST, coding="gzip")


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("factor", "make"), KINDS.values(), ids=KINDS)
async def test_backlogs_that_inflate_take_the_memory_of_their_pieces(process, factor, make):
    gateway, at_rest = limited(process)
    packed = gzip.compress(make(BACKLOG), mtime=0)
    answers = (send(gateway, packed, coding="gzip") for _ in range(5))

    assert [202] * 5 == await asyncio.gather(*answers)
    assert peak(gateway) < at_rest + factor * 5 * (RESERVED + len(packed) + MIB)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_backlog_as_large_as_the_limit_drains_within_a_limit_of_memory(process, coding):
    gateway = process.start()
    assert 202 == await send(gateway, batch(3 * MIB, "x" * 100_000))
    assert gateway.process is not None
    most = memory(gateway, "VmData") + 64 * MIB
    resource.prlimit(gateway.process.pid, resource.RLIMIT_DATA, (most, most))
    backlog = batch(127 * MIB, "x" * 130_000)
    assert 125 * MIB < len(backlog) < 128 * MIB
    body = gzip.compress(backlog, 1) if coding == "gzip" else backlog

    assert [202, 202] == [await send(gateway, body, coding=coding) for _ in range(2)]


@pytest.mark.slow
@pytest.mark.alone
async def test_a_hundred_slow_bodies_keep_within_the_budget(process):
    gateway, at_rest = limited(process)
    part = b" " * 2 * MIB
    tasks = [asyncio.create_task(send(gateway, part, announced=16 * MIB)) for _ in range(100)]
    refused = 100 - 128 * MIB // RESERVED

    await eventually(lambda: refused <= sum(task.done() for task in tasks), 300)
    await asyncio.sleep(2)  # what the others have sent is read meanwhile
    assert [503] * refused == [task.result() for task in tasks if task.done()]
    assert peak(gateway) < at_rest + 2 * 128 * MIB
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
