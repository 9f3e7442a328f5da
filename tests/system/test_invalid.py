"""What happens to invalid events, alone and among valid ones."""

import json
from typing import Any

import pytest

from tests.system.wire import (
    DEVICE,
    LOGSPACE,
    MOESIF,
    Answer,
    Request,
    agent_event,
    ask,
    call,
    device_event,
    name_of,
)

DIALECTS = {
    "moesif": (
        lambda events: Request("POST", "/v1/events/batch", MOESIF, events),
        lambda name: call(name, transaction=False),
        {"request": {"verb": "GET", "uri": "https://a/ü"}},
        "request.time",
        201,
    ),
    "logspace": (
        lambda events: Request("PUT", "/events", LOGSPACE, events),
        agent_event,
        {"id": "ü", "type": "t", "system": "s", "agent-id": "a", "timestamp": "yesterday"},
        "timestamp",
        202,
    ),
}


class Case:
    """A dialect, a batch of 100 of which the 42nd is bad, and a batch of bad ones alone."""

    def __init__(self, dialect: str) -> None:
        self.request, make, self.bad, self.path, self.success = DIALECTS[dialect]
        self.names = [f"good-{n}" for n in range(99)]
        good = [make(name) for name in self.names]
        self.batch = self.request([*good[:41], self.bad, *good[41:]])
        self.bad_alone = self.request([self.bad, 7])


@pytest.fixture(params=sorted(DIALECTS))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def errors(answer: Answer) -> list[dict[str, Any]]:
    """The faults that an answer names, in either dialect's words."""
    return answer.json.get("errors") or answer.json["parameters"]["errors"]


async def test_one_bad_event_of_a_hundred_is_quarantined_and_the_others_are_stored(gateway, case):
    answer = await ask(gateway.url, case.batch)

    assert case.success == answer.status
    assert "1" == answer.headers["gateway-rejected"]
    [rejected] = await gateway.events(kind="rejected")
    assert "invalid" == rejected["type"]
    assert case.path in [problem["path"] for problem in rejected["data"]["problems"]]
    assert case.bad == json.loads(rejected["data"]["raw"])
    stored = [event for event in await gateway.events() if event["kind"] != "rejected"]
    assert case.names == list(map(name_of, stored))


async def test_refuse_stores_nothing_of_a_batch_with_one_bad_event(running, case):
    async with running({"ingest": {"on_invalid": "refuse"}}) as gateway:
        answer = await ask(gateway.url, case.batch)

        assert 400 == answer.status
        assert f"[41].{case.path}" in [error["path"] for error in errors(answer)]
        assert [] == await gateway.events()


async def test_a_batch_of_invalid_events_is_refused_and_quarantined_once(gateway, case):
    for _ in range(3):
        answer = await ask(gateway.url, case.bad_alone)
        assert 400 == answer.status
        assert {f"[0].{case.path}", "[1]"} <= {error["path"] for error in errors(answer)}

    assert ["invalid", "invalid"] == [event["type"] for event in await gateway.events()]


async def test_accept_quarantines_a_batch_of_invalid_events_and_succeeds(running, case):
    async with running({"ingest": {"on_invalid": "accept"}}) as gateway:
        answer = await ask(gateway.url, case.bad_alone)

        assert case.success == answer.status
        assert "2" == answer.headers["gateway-rejected"]
        assert 2 == len(await gateway.events(kind="rejected"))


@pytest.mark.parametrize("on_invalid", ["refuse", "quarantine", "accept"])
async def test_an_empty_batch_succeeds_without_storing_anything(running, case, on_invalid):
    async with running({"ingest": {"on_invalid": on_invalid}}) as gateway:
        assert case.success == (await ask(gateway.url, case.request([]))).status
        assert [] == await gateway.events()


async def test_a_body_that_is_not_json_is_refused_and_quarantined_unchanged(gateway, case):
    body = case.request(b'[{"a": tru}\xff\x00]')
    for _ in range(2):
        assert 400 == (await ask(gateway.url, body)).status

    [kept] = await gateway.events()
    assert "not_json" == kept["type"]
    assert '[{"a": tru}\\xff\x00]' == kept["data"]["raw"]


@pytest.mark.parametrize("on_invalid", ["quarantine", "accept"])
async def test_an_invalid_device_event_is_refused_and_quarantined(running, on_invalid):
    event = {**device_event("x"), "severity": 9}
    path = "/rest/v1/api/tenants/T1/devices/D1/events"
    async with running({"ingest": {"on_invalid": on_invalid}}) as gateway:
        answer = await ask(gateway.url, Request("POST", path, DEVICE, event))

        assert [400, 6] == [answer.status, answer.json["error"]]
        assert "severity" in answer.json["message"]
        [kept] = await gateway.events(kind="rejected", dialect="device")
        assert event == json.loads(kept["data"]["raw"])
