"""The sample requests of the dialects' public pages are accepted, and exported as sent.

Each golden file ``page_*.json`` holds one sample, as JSON where the page's text
is not quite, and what the export is to show of it.
"""

import json
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import Process
from tests.dialects import CONTRACTS, EVERY, GOLDEN, REGISTERED, config_text

PAGES = sorted(GOLDEN.glob("*/page_*.json"))
NAMES = ("kind", "type", "subject", "time", "data")


def test_there_are_samples_of_every_dialect():
    assert set(CONTRACTS) == {page.parent.name for page in PAGES}


def sample(page: Path):
    return json.loads(page.read_text(encoding="utf-8"))


def shown(event, expected):
    """What a golden file says of an exported event; of what was refused, only its text.

    An event without a time of its own has the time of its arrival, which no file can tell.
    """
    assert set(NAMES) - set(expected) <= {"time"}
    if event["kind"] == "rejected":
        event = {**event, "time": None, "data": json.loads(event["data"]["raw"])}
    return {name: event.get(name) for name in expected}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
async def test_a_sample_is_accepted_and_exported_as_it_was_sent(running, page):
    exchange = sample(page)
    headers = CONTRACTS[page.parent.name].sent
    async with running(adapters=EVERY) as gateway:
        answer = await gateway.send(exchange["method"], exchange["path"], exchange["body"], headers)
        events = await gateway.events()

    assert exchange["status"] == answer.status
    expected = exchange["events"]
    assert expected == [shown(*pair) for pair in zip(events, expected, strict=True)]
    assert {(page.parent.name, exchange["tenant"])} == {(e["dialect"], e["tenant"]) for e in events}


LISTEN = """
server.listen = "127.0.0.1:0"
ops.listen = "127.0.0.1:0"
"""


@pytest.fixture
def process(tmp_path):
    """A process that serves every registered dialect."""
    made = Process(tmp_path, LISTEN + config_text())
    yield made.start()
    made.kill_if_running()


def test_the_command_line_exports_what_the_process_received(process):
    served = [page for page in PAGES if page.parent.name in REGISTERED]
    for page in served:
        exchange = sample(page)
        request = urllib.request.Request(
            process.url + exchange["path"],
            json.dumps(exchange["body"]).encode(),
            CONTRACTS[page.parent.name].sent,
            method=exchange["method"],
        )
        with urllib.request.urlopen(request) as response:
            assert exchange["status"] == response.status
    process.stop()
    exported = process.export()

    for page in served:
        for event in sample(page)["events"]:
            assert event in [shown(one, event) for one in exported]
