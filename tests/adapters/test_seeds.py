"""The sample requests of the dialects' public pages are accepted, and exported as sent.

Each golden file ``page_*.json`` holds one sample, as JSON where the page's text
is not quite, and what the export is to show of it.
"""

import json
import urllib.request
from pathlib import Path

import pytest

from tests.adapters.speakers import SPEAKERS
from tests.conftest import GOLDEN

PAGES = sorted(GOLDEN.glob("*/page_*.json"))
NAMES = ("kind", "type", "subject", "time", "data")


def test_there_are_samples_of_every_dialect():
    assert set(SPEAKERS) == {page.parent.name for page in PAGES}


def sample(page: Path):
    return json.loads(page.read_text(encoding="utf-8"))


def shown(event):
    """What a golden file says of an exported event; of what was refused, only its text."""
    if event["kind"] == "rejected":
        event = {**event, "time": None, "data": json.loads(event["data"]["raw"])}
    return {name: event.get(name) for name in NAMES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
async def test_a_sample_is_accepted_and_exported_as_it_was_sent(gateway, page):
    exchange = sample(page)
    headers = {"Content-Type": "application/json", **SPEAKERS[page.parent.name].credential}
    answer = await gateway.send(exchange["method"], exchange["path"], exchange["body"], headers)
    events = await gateway.events()

    assert exchange["status"] == answer.status
    assert exchange["events"] == [shown(event) for event in events]
    assert {(page.parent.name, exchange["tenant"])} == {(e["dialect"], e["tenant"]) for e in events}


def test_the_command_line_exports_what_the_process_received(process):
    process.start()
    for page in PAGES:
        exchange = sample(page)
        request = urllib.request.Request(
            process.url + exchange["path"],
            json.dumps(exchange["body"]).encode(),
            {"Content-Type": "application/json", **SPEAKERS[page.parent.name].credential},
            method=exchange["method"],
        )
        with urllib.request.urlopen(request) as response:
            assert exchange["status"] == response.status
    process.stop()
    exported = [shown(event) for event in process.export()]

    for page in PAGES:
        for event in sample(page)["events"]:
            assert event in exported
