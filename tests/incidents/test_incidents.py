"""Each incident of the runbook is staged, and found by the commands that the runbook has for it.

The commands are those of the page. What they show here has to have the shape of what the page
shows, and the words that name the cause.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.conftest import ROOT, Process
from tests.incidents.scene import CONFIG, SPACE_TOKEN, Scene, call, shape

PAGE = ROOT / "docs" / "operating.md"
MOST_COMMANDS = 2
SECONDS = 30
"""How long it may take until a count or a line is where the operator looks for it."""

_SECTION = re.compile(r"^### (?P<title>.+)\n(?P<text>(?:(?!^##).*\n)*)", re.MULTILINE)
_STEP = re.compile(r"```sh\n(?P<command>[^`]*)\n```\n+```(?:text|json)\n(?P<shown>[^`]*)```")


def runbook() -> dict[str, list[tuple[str, str]]]:
    """The incidents of the page: to each its commands, with what they show."""
    text = PAGE.read_text().partition("\n## Incidents\n")[2].partition("\n## ")[0]
    return {
        section["title"]: [(step["command"], step["shown"]) for step in _STEP.finditer(section[0])]
        for section in _SECTION.finditer(text + "\n")
    }


def wrong_credential(scene: Scene) -> None:
    scene.begin()
    for number in range(3):
        assert 401 == scene.moesif(call(number), secret="of-another-system-" + "0" * 40)


def rotated_on_one_side(scene: Scene) -> None:
    scene.begin()
    assert 201 == scene.moesif(call())
    new = CONFIG.replace("0123456789" * 6, "9876543210" * 6)
    scene.process.stop()
    scene.begin(new)
    for number in range(3):
        assert 401 == scene.moesif(call(number))


def partly_rejected(scene: Scene) -> None:
    scene.begin()
    broken = call(2)
    del broken["request"]["time"]
    for number in range(3):
        assert 201 == scene.moesif([call(number), broken], "/v1/events/batch")


def locked_store(scene: Scene) -> None:
    scene.begin()
    other = scene.enter(closing(sqlite3.connect(scene.folder / "events.db")))
    other.execute("BEGIN IMMEDIATE")
    for number in range(5):
        assert 201 == scene.moesif(call(number))


def reused_ids(scene: Scene) -> None:
    scene.begin()
    for number in range(5):
        assert 201 == scene.moesif(call(number, transaction_id="order-1"))


def wrong_path(scene: Scene) -> None:
    scene.begin()
    for number in range(3):
        assert 404 == scene.moesif(call(number), "/proxy/v1/events")


def clock_far_off(scene: Scene) -> None:
    scene.begin()
    for device in range(3):
        assert 201 == scene.device(f"D{device}")
    assert 201 == scene.device("D7", timestamp=1_000_000_000_000)


def disk_nearly_full(scene: Scene) -> None:
    small = scene.folder / "small"
    small.mkdir()
    scene.on_small_disk(small)
    scene.begin(CONFIG + f'[store]\nurl = "sqlite:///{small.name}/events.db"\n')
    status = 201
    number = 0
    while status == 201:
        number += 1
        assert number < 1000
        status = scene.moesif([call(n, note="x" * 2000) for n in range(20)], "/v1/events/batch")
    assert 503 == status


def device_that_floods(scene: Scene) -> None:
    scene.begin(CONFIG + "[limits]\ndevice_events = { rate = 1, burst = 30 }\n")
    for device in range(5):
        assert 201 == scene.device(f"D{device}")
    answers = {scene.device("D9", severity=1 + number % 5) for number in range(100)}
    assert {429} <= answers


def sampling_of_0(scene: Scene) -> None:
    scene.begin(CONFIG.replace('tenant = "acme"', 'tenant = "acme"\nsample_rate = 0'))
    event = {
        "id": "e-1",
        "type": "os/cpu",
        "system": "web-1",
        "agent-id": "web-1/cpu",
        "timestamp": "2026-01-15T10:00:00Z",
    }
    assert 202 == scene.send("PUT", "/events", [event], {"logspace.space-token": SPACE_TOKEN})[0]


INCIDENTS: dict[str, tuple[Callable[[Scene], None], list[str]]] = {
    "A client has a wrong credential": (
        wrong_credential,
        ["credential_unknown 3", "shop/1.4", "credential_sha256"],
    ),
    "A credential was changed on one side only": (
        rotated_on_one_side,
        ["credential_unknown", "credential_sha256", '"tenant":"acme"'],
    ),
    "Batches are rejected in part": (
        partly_rejected,
        ["request.time", "Missing data for required field."],
    ),
    "The store is locked": (locked_store, ["database is locked", "5 events spooled"]),
    "A client gives two events the same id": (reused_ids, ["id_reused", "order-1"]),
    "A client sends to a wrong path": (wrong_path, ["no_such_address 3", "/proxy/v1/events"]),
    "The clock of a device is far off": (clock_far_off, ["device_clock_skewed", '"device":"D7"']),
    "The disk is nearly full": (disk_nearly_full, ["NOT READY", "the disk is nearly full"]),
    "One device sends too much": (device_that_floods, ["limited", "/devices/D9/"]),
    "An SDK sends nothing because of sampling": (
        sampling_of_0,
        ["moesif/acme 0 0 0", "sample_rate", "SDKs send no API calls"],
    ),
}


def test_the_runbook_has_the_incidents_that_are_staged_here():
    assert [*INCIDENTS] == [*runbook()]


@pytest.fixture
def scene(process: Process) -> Iterator[Scene]:
    made = Scene(process)
    yield made
    made.close()


@pytest.mark.parametrize("title", INCIDENTS)
def test_an_incident_is_found_by_the_commands_of_the_runbook(scene, title):
    stage, words = INCIDENTS[title]
    steps = runbook()[title]
    assert 1 <= len(steps) <= MOST_COMMANDS
    stage(scene)

    deadline = time.monotonic() + SECONDS
    while wrong := differences(scene, steps, words):
        assert time.monotonic() < deadline, "\n".join(wrong)
        time.sleep(0.3)


def differences(scene: Scene, steps: list[tuple[str, str]], words: list[str]) -> list[str]:
    """What the commands show otherwise than the page, and *words* that they do not show."""
    wrong, everything = [], ""
    for command, expected in steps:
        shown = scene.paste(command)
        everything += re.sub(" +", " ", shown)
        if shape(shown) != shape(expected):
            wrong += [f"$ {command}", *shape(expected), "but:", shown]
    return wrong + [f"not shown: {word}" for word in words if word not in everything]
