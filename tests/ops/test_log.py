"""Log lines of a process: JSON, one for each call, made by structlog's own chain."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.forking import run

SCRIPT = """
import sys, logging, structlog
from gateway.ops.log import configure

configure(sys.argv[1])
def mark(logger, level, event):
    return {**event, "marked": level}
structlog.configure(processors=[mark, *structlog.get_config()["processors"]])
log = structlog.get_logger().bind(tenant="acme")
log.debug("debugged")
log.info("informed", count=1)
log.warning("warned")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
logging.getLogger("a.library").warning("a library says %s", "so")
"""


def lines(level: str) -> list[dict[str, object]]:
    done = run(["-c", SCRIPT, level])
    assert 0 == done.returncode, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["debugged", "informed", "warned", "failed", "a library says so"]),
        ("info", ["informed", "warned", "failed", "a library says so"]),
        ("error", ["failed"]),
    ],
)
def test_a_processor_that_is_added_sees_every_line_of_the_level_and_above(level, events):
    found = lines(level)

    assert events == [line["event"] for line in found]
    assert [line["level"] for line in found] == [line["marked"] for line in found]


def test_a_line_has_its_time_its_context_and_the_traceback():
    informed, _, failed, library = lines("info")

    assert ("acme", 1, "info") == (informed["tenant"], informed["count"], informed["level"])
    assert str(informed["timestamp"]).endswith("Z")
    assert "ZeroDivisionError" in str(failed["exception"])
    assert "a.library" == library["logger"]


TRACED = """
import structlog
from gateway.ops.log import configure

configure("info")
held_in_a_variable = "content of " + "an event"
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("it_failed")
"""


def on_terminal(script: str, **environment: str) -> str:
    """What *script* writes to stderr where that is a terminal."""
    here, there = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "NO_COLOR": "", **environment}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, stderr=there, check=True, env=env)
    os.close(there)
    shown = b""
    with contextlib.suppress(OSError):
        while piece := os.read(here, 65536):
            shown += piece
    os.close(here)
    return shown.decode()


def test_a_traceback_on_a_terminal_shows_no_variables():
    shown = on_terminal(TRACED)

    assert "ZeroDivisionError" in shown
    assert "content of an event" not in shown


REQUESTS = """
import asyncio, sys
from pathlib import Path
from tests.conftest import serving
from gateway.ops.log import configure

configure("info")

async def main(folder):
    event = {"id": "1", "system": "s", "agent-id": "a", "timestamp": "2026-01-01T00:00:00Z"}
    async with serving(folder) as gateway:
        await gateway.logspace([event, {}])
        await gateway.logspace([event])
        await gateway.send("PUT", "/events", [], {"logspace.space-token": "wrong"})
        await gateway.send("GET", "/nowhere")

asyncio.run(main(Path(FOLDER)))
"""


def test_a_terminal_has_one_short_line_a_request(tmp_path):
    script = REQUESTS.replace("FOLDER", repr(str(tmp_path)))
    plain = on_terminal(script, NO_COLOR="1").splitlines()
    coloured = on_terminal(script).splitlines()
    first, second, third, fourth = (line for line in plain if " ms" in line)

    assert re.fullmatch(
        r"\d\d:\d\d:\d\d  202  logspace/development  1 stored, 1 rejected  [\d.]+ ms  "
        r"\[1\]\.id: .*",
        first,
    )
    assert "1 duplicate" in second
    assert second.endswith("there already: 1")
    assert re.search(r"  403  logspace  credential_unknown  .*PUT /events from 127.0.0.1$", third)
    assert re.search(r"  404  -  no_such_address  .*GET /nowhere from 127.0.0.1$", fourth)
    assert "\x1b" not in "".join(plain)
    found = [line for line in coloured if " ms" in line]
    assert ["\x1b[32m202", "\x1b[32m202", "\x1b[33m403", "\x1b[33m404"] == [
        re.search(r"\x1b\[3\dm\d{3}", line)[0] for line in found
    ]


JOURNAL = """
import os, sys
found = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino + int(sys.argv[1])}"
import structlog
from gateway.ops.log import configure, RequestLog

configure("debug")
log = structlog.get_logger()
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(log, level)("told")
RequestLog().write(20, "request_answered", {})
"""


def test_lines_for_the_journal_begin_with_their_priority():
    for_journal = run(["-c", JOURNAL, "0"]).stderr.splitlines()
    elsewhere = run(["-c", JOURNAL, "1"]).stderr.splitlines()

    assert ["<7>", "<6>", "<4>", "<3>", "<2>", "<6>"] == [line[:3] for line in for_journal]
    names = ["debug", "info", "warning", "error", "critical", "info"]
    assert names == [json.loads(line[3:])["level"] for line in for_journal]
    assert names == [json.loads(line)["level"] for line in elsewhere]
