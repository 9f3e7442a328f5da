"""Peak memory: whatever clients send, it stays within the formula of docs/operating.md."""

import asyncio
import contextlib
import gzip
import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Process
from tests.system.wire import agent_event

MIB = 1 << 20
LIMITS = f"""
[limits]
inflight_bytes = {128 * MIB}
tenant_inflight_bytes = {128 * MIB}
[logspace]
max_body = {64 * MIB}
"""


def peak(process: Process) -> int:
    """The most memory that the process had at once so far, in bytes."""
    assert process.process is not None
    status = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))


def limited(process: Process) -> tuple[Process, int]:
    """The gateway with known limits, started, and its memory at rest."""
    config = process.config.read_text()
    process.config.write_text(config.replace("[[logspace.spaces]]", f"{LIMITS}[[logspace.spaces]]"))
    process.fresh = True
    return process.start(), peak(process)


async def put(process: Process, body: bytes, *, coding: str = "", announced: int = 0) -> int:
    """The status for a body; 0 where the gateway waits for the rest of it."""
    host, port = process.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = ["PUT /events HTTP/1.1", "Host: gateway", "logspace.space-token: development"]
    lines += [f"Content-Encoding: {coding}"] if coding else []
    lines += [f"Content-Length: {announced or len(body)}", "", ""]
    try:
        writer.write("\r\n".join(lines).encode() + body)
        async with asyncio.timeout(5 if announced else 60):
            return int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    except TimeoutError:
        return 0
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def spaces() -> bytes:
    return b"[" + b" " * (60_000_000 - 2) + b"]"


def batch(size: int, text: str) -> bytes:
    """A batch of about *size* bytes, of different events that contain *text*."""
    events = [
        {**agent_event(f"{at}"), "string-properties": {"text": [text]}}
        for at in range(size // (len(text.encode()) + 150))
    ]
    return json.dumps(events, ensure_ascii=False).encode()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    ("factor", "body"),
    [
        (4, spaces),
        (4, partial(batch, 30 * MIB, "x" * 1000)),
        (8, partial(batch, 30 * MIB, "x" * 1000 + "\N{PARROT}")),
    ],
    ids=["nothing", "text", "text that Python stores in four bytes a character"],
)
async def test_small_bodies_that_inflate_keep_within_the_budget(process, factor, body):
    gateway, at_rest = limited(process)
    packed = gzip.compress(body(), mtime=0)
    statuses = Counter(
        await asyncio.gather(*(put(gateway, packed, coding="gzip") for _ in range(20)))
    )

    assert {202, 503} == set(statuses)
    assert peak(gateway) < at_rest + factor * 128 * MIB
    assert 202 == await put(gateway, packed, coding="gzip")


@pytest.mark.slow
@pytest.mark.alone
async def test_a_hundred_slow_bodies_keep_within_the_budget(process):
    gateway, at_rest = limited(process)
    part = b" " * (16 * MIB - 1)
    statuses = Counter(
        await asyncio.gather(*(put(gateway, part, announced=16 * MIB) for _ in range(100)))
    )

    assert Counter({503: 92, 0: 8}) == statuses
    assert peak(gateway) < at_rest + 2 * 128 * MIB
