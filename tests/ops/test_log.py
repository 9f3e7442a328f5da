"""Log lines of a process: JSON, one for each call, made by structlog's own chain."""

import contextlib
import json
import os
import pty
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


def test_a_traceback_on_a_terminal_shows_no_variables():
    here, there = pty.openpty()
    subprocess.run([sys.executable, "-c", TRACED], cwd=ROOT, stderr=there, check=True)
    os.close(there)
    shown = b""
    with contextlib.suppress(OSError):
        while piece := os.read(here, 65536):
            shown += piece
    os.close(here)

    assert b"ZeroDivisionError" in shown
    assert b"content of an event" not in shown
