"""Replayed traffic of real clients: every event is stored exactly once."""

import base64
import functools
import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio

from tests.conftest import serving
from tests.dialects import GOLDEN

RECORDED = sorted(
    path
    for dialect in ("moesif", "logspace")
    for path in (GOLDEN / dialect).iterdir()
    if not path.name.startswith("page_") and path.suffix != ".toml"
)
KINDS = {
    "events": "api_call",
    "actions": "action",
    "users": "user",
    "companies": "company",
    "subscriptions": "subscription",
}
_HOP = {"content-length", "host", "connection", "transfer-encoding"}


class Sent(msgspec.Struct):
    """One recorded request."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def carries_events(self) -> bool:
        if self.method not in ("POST", "PUT"):
            return False
        return "capabilities" not in self.path

    def elements(self) -> list[Any]:
        """The events of the body, as the client wrote them."""
        inflate = {"gzip": gzip.decompress, "deflate": zlib.decompress}
        text = inflate.get(self.header("content-encoding") or "", bytes)(self.body)
        document = json.loads(text)
        return document if isinstance(document, list) else [document]


def moesif_requests(path: Path) -> list[Sent]:
    return [
        Sent(
            one["method"],
            one["path"],
            [(name, value) for name, value in one["headers"]],
            # Of newer recordings the text of the body can be read.
            base64.b64decode(one["body_base64"])
            if "body_base64" in one
            else one.get("body", "").encode(),
        )
        for one in json.loads(path.read_bytes())["requests"]
    ]


def logspace_requests(path: Path) -> list[Sent]:
    """Cut a wire log: ``>>>`` before each request, ``<<<`` before its answer."""
    found = []
    for text in re.findall(r"^>>> [^\n]*\n(.*?)\n<<< ", path.read_text("utf-8"), re.M | re.S):
        head, _, body = text.partition("\n\n")
        line, *headers = head.split("\n")
        method, target, _ = line.split(" ")
        pairs = [(name, value.strip()) for name, _, value in (h.partition(":") for h in headers)]
        found.append(Sent(method, target, pairs, body.strip("\n").encode()))
    return found


def requests_of(path: Path) -> list[Sent]:
    return moesif_requests(path) if path.suffix == ".json" else logspace_requests(path)


async def replay(running: Any, path: Path) -> tuple[list[tuple[Sent, Any]], list[Any]]:
    """Send all requests of a recording; return them with their answers, and what is stored."""
    requests = requests_of(path)
    ids = {one.header("x-moesif-application-id") for one in requests} - {None}
    changes = {"moesif": {"applications": [{"tenant": "acme", "ids": sorted(ids)}]}} if ids else {}
    async with running(changes) as gateway:
        answers = []
        for one in requests:
            kept = [(name, value) for name, value in one.headers if name.lower() not in _HOP]
            answers.append((one, await gateway.send(one.method, one.path, one.body, kept)))
        return answers, await gateway.events()


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=RECORDED,
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
async def replayed(request, tmp_path_factory):
    """A recording, its requests with their answers, and what is stored."""
    running = functools.partial(serving, tmp_path_factory.mktemp("replayed"))
    return request.param, *await replay(running, request.param)


def test_every_recording_contains_events():
    assert [] == [
        path.name for path in RECORDED if not any(one.carries_events for one in requests_of(path))
    ]


def test_every_request_is_answered_with_success(replayed):
    path, answers, _ = replayed
    success = {"moesif": 201, "logspace": 202}[path.parent.name]

    assert [] == [
        (one.method, one.path, answer)
        for one, answer in answers
        if one.carries_events and answer.status != success
    ]
    assert [] == [(one.method, one.path, answer) for one, answer in answers if answer.status >= 500]


def test_every_event_is_stored_once_and_unchanged(replayed):
    path, answers, stored = replayed
    expected, seen = [], set()
    for one, _ in answers:
        if not one.carries_events:
            continue
        name = one.path.removesuffix("/batch").rsplit("/", 1)[-1]
        kind = KINDS[name] if path.parent.name == "moesif" else "event"
        for event in one.elements():
            client_id = event.get("transaction_id") or event.get("transactionId") or event.get("id")
            if not event or (client_id and (kind, client_id) in seen):
                continue
            seen.add((kind, client_id))
            expected.append((kind, event))

    assert expected == [(e["kind"], e["data"]) for e in stored if e["kind"] != "rejected"]


def test_invalid_events_are_in_quarantine(replayed):
    _, answers, stored = replayed
    empty = [
        event for one, _ in answers if one.carries_events for event in one.elements() if not event
    ]

    assert empty == [json.loads(e["data"]["raw"]) for e in stored if e["kind"] == "rejected"]
