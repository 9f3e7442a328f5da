"""Rubbish for a while: no unexpected 5xx, no exception, and memory and descriptors as before."""

import errno
import json
import os
import random
import re
import socket
import sys
import time
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.adapters.test_recordings import Sent
from tests.conftest import PROCESS_CONFIG, Process
from tests.dialects import CONTRACTS, REGISTERED
from tests.fuzz.messages import FRAMINGS, Messages
from tests.schemas.decoding import every_decoder
from tests.schemas.documents import mutated

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.randrange(1 << 30)
GROWTH = 64 << 20
"""Bytes by which memory may grow after the first third of the messages."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * SECONDS + 300)]

# Where the framing is lost, a body that never ends is given up after `body_timeout` only.
CONFIG = PROCESS_CONFIG.replace("[server]", "[server]\nbody_timeout = 3").replace(
    "[[device.keys]]", '[redact]\nheaders = ["cookie"]\nkeys = ["password"]\n\n[[device.keys]]'
)
_STATUS = re.compile(rb"(?:\A|\r\n\r\n|[}\]])HTTP/1\.[01] (\d{3}) ")


def exchange(process: Process, message: bytes) -> list[int]:
    """Send a message, end the sending, and return the statuses of all answers."""
    host, _, port = process.url.removeprefix("http://").rpartition(":")
    heard = b""
    with socket.create_connection((host, int(port)), timeout=20) as line:
        try:
            line.sendall(message)
            line.shutdown(socket.SHUT_WR)
            while piece := line.recv(1 << 16):
                heard += piece
        except OSError as error:
            # The gateway may have ended the connection before all was said.
            if not (isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN):
                raise
    return [int(status) for status in _STATUS.findall(heard)]


def memory(process: Process) -> int:
    assert process.process is not None
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


def descriptors(process: Process) -> int:
    assert process.process is not None
    return len(list(Path(f"/proc/{process.process.pid}/fd").iterdir()))


def assert_well(process: Process, before: int) -> None:
    """It takes events of every dialect, holds no more files than before, and logged no fault."""
    for dialect in REGISTERED:
        known = CONTRACTS[dialect]
        event = json.dumps({**json.loads(known.body), "timestamp": time.time_ns() // 10**6}) \
            if dialect == "device" else known.body  # fmt: skip
        head = "".join(f"{name}: {value}\r\n" for name, value in known.sent.items())
        start = f"{known.method} {known.path} HTTP/1.1\r\nHost: x\r\n{head}".encode()
        assert exchange(process, start + FRAMINGS[0](event.encode())) == [known.success], dialect
    deadline = time.monotonic() + 10
    while descriptors(process) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert descriptors(process) <= before
    for line in process.log.read_text().splitlines():
        told = json.loads(line)
        assert told["level"] not in ("error", "critical"), told
        assert "exception" not in told, told


@pytest.fixture
def fuzzed(process: Process) -> Process:
    process.config.write_text(CONFIG)
    return process.start()


def test_rubbish_leaves_the_gateway_as_it_was(fuzzed):
    messages = Messages(SEED)
    started, sent, settled, peak = time.monotonic(), 0, 0, 0
    statuses: dict[int, int] = {}
    assert_well(fuzzed, before=1 << 20)
    before = descriptors(fuzzed)
    while time.monotonic() < started + SECONDS:
        message = messages.next()
        for status in exchange(fuzzed, message):
            statuses[status] = statuses.get(status, 0) + 1
            assert status < 500 or status == 503, (status, message)
        sent += 1
        if sent % 100 == 0:
            peak = max(peak, memory(fuzzed))
            if time.monotonic() < started + SECONDS / 3:
                settled = peak
    assert_well(fuzzed, before)
    told = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    sys.stdout.write(f"\nseed {SEED}: {sent} messages, {peak >> 20} MiB at most; {told}\n")
    assert peak <= settled + GROWTH


ADDRESSES = {
    "moesif.Event": "/v1/events",
    "moesif.Action": "/v1/actions",
    "moesif.User": "/v1/users",
    "moesif.Company": "/v1/companies",
    "moesif.Subscription": "/v1/subscriptions",
    "logspace.Event": "/events",
    "device.Event": "",
    "otlp.LogDocument": "/v1/logs",
    "otlp.SpanDocument": "/v1/traces",
}
RECORDS = {"otlp.LogDocument": "log_record", "otlp.SpanDocument": "span"}
"""The part of a document that a client of OTLP sends as an element of a batch."""


def test_documents_made_of_the_schemas_leave_the_gateway_as_it_was(fuzzed):
    assert_well(fuzzed, before=1 << 20)
    before = descriptors(fuzzed)
    decoders = every_decoder()

    @hypothesis.settings(max_examples=max(100, int(SECONDS) * 5))
    @hypothesis.given(st.sampled_from(sorted(ADDRESSES)), st.data())
    def send(name: str, data: st.DataObject) -> None:
        known = CONTRACTS[name.partition(".")[0]]
        schema = decoders[name].schema
        if name in RECORDS:
            schema = schema.fields[RECORDS[name]].schema
        body = data.draw(mutated(schema)).encode("utf-8", "surrogatepass")
        batch = b"[" + body + b"]" if name.startswith("logspace") else body
        if name in RECORDS:
            around = known.batch_at(ADDRESSES[name])
            batch = around.head.encode() + body + around.tail.encode()
        sent = Sent(known.method, ADDRESSES[name] or known.path, [*known.sent.items()], batch)
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.headers)
        start = f"{sent.method} {sent.path} HTTP/1.1\r\nHost: x\r\n{head}".encode()
        [status] = exchange(fuzzed, start + FRAMINGS[0](sent.body))
        assert status in {known.success, 400, 409}

    send()
    assert_well(fuzzed, before)
