"""Rates of each tenant and of each device."""

import json

import pytest

from gateway.errors import Reason, Refusal
from gateway.web.rates import Rate, Rates
from tests.dialects import CONTRACTS, READING, REGISTERED
from tests.web.sockets import connected, upload

WHO, OTHER = ("device", "T1"), ("device", "T2")


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def wait(rates, who=WHO, device=""):
    """The seconds that a request has to wait; 0 where it is let in."""
    try:
        rates.admit(who, device)
    except Refusal as refusal:
        assert refusal.reason is Reason.LIMITED
        return refusal.retry_after
    return 0


def test_a_burst_is_let_in_and_then_the_rate():
    clock = Clock()
    rates = Rates({"requests": Rate(2, 4)}, {}, clock)

    assert [0, 0, 0, 0, 1] == [wait(rates) for _ in range(5)]
    clock.now += 0.5
    assert [0, 1] == [wait(rates), wait(rates)]
    clock.now += 3600
    assert [0, 0, 0, 0, 1] == [wait(rates) for _ in range(5)]
    assert 0 == wait(rates, OTHER)


def test_what_a_request_held_beyond_the_burst_is_made_up_for_before_the_next():
    clock = Clock()
    rates = Rates({"events": Rate(10, 20)}, {}, clock)
    rates.admit(WHO, "")
    rates.take(WHO, "", "events", 100)

    assert 9 == wait(rates)
    clock.now += 8
    assert 1 == wait(rates)
    clock.now += 0.2
    assert 0 == wait(rates)


def test_a_device_that_sends_too_much_leaves_room_to_others():
    rates = Rates({"requests": Rate(10, 10)}, {"requests": Rate(1, 1)}, Clock())

    assert [0, 1] == [wait(rates, device="D1"), wait(rates, device="D1")]
    assert 0 == wait(rates, device="D2")


def test_what_is_refused_does_not_count():
    clock = Clock()
    rates = Rates({"requests": Rate(1, 1)}, {}, clock)
    for _ in range(100):
        wait(rates)
    clock.now += 1

    assert 0 == wait(rates)


def test_devices_that_are_paid_for_are_forgotten():
    clock = Clock()
    rates = Rates({}, {"requests": Rate(1, 1)}, clock)
    for n in range(30_000):
        clock.now += 0.01
        rates.admit(WHO, f"{n}")

    assert len(rates._paid_at) <= 10_000


@pytest.mark.parametrize("dialect", REGISTERED)
async def test_a_tenant_that_exceeds_its_rate_is_told_in_the_words_of_its_dialect(running, dialect):
    client = CONTRACTS[dialect]
    async with running({"limits": {"tenant_requests": {"rate": 1, "burst": 1}}}) as gateway:
        first, second = [
            await gateway.send(client.method, client.path, client.body.encode(), client.sent)
            for _ in range(2)
        ]
        labels = f'dialect="{dialect}",reason="limited",tenant="{client.tenant}"'
        assert 1 == await gateway.metric(f"gateway_refused_total{{{labels}}}")

    assert client.success == first.status
    assert ({"device": 429, "otlp": 429}.get(dialect, 503), "1") == (
        second.status,
        second.headers["Retry-After"],
    )
    assert client.error <= set(second.json)


@pytest.mark.parametrize(("measure", "rate"), [("events", 3), ("bytes", 300)])
async def test_events_and_bytes_count(running, measure, rate):
    batch = json.dumps([{**READING, "id": f"{n}"} for n in range(9)]).encode()
    async with running({"limits": {f"tenant_{measure}": {"rate": rate}}}) as gateway:
        assert 202 == (await gateway.logspace(batch)).status
        refused = await gateway.logspace(batch)

        assert 503 == refused.status
        assert int(refused.headers["Retry-After"]) >= 2
        assert 9 == len(await gateway.events())


DOCUMENTS = {
    "moesif": ("GET", "/v1/config", 200),
    "logspace": ("PUT", "/capabilities/c", 200),
}


@pytest.mark.parametrize("dialect", DOCUMENTS)
async def test_requests_for_documents_count_with_the_bytes_of_their_bodies(running, dialect):
    method, path, success = DOCUMENTS[dialect]
    body = json.dumps({"id": "c", "agent-capabilities": []}).encode() if method == "PUT" else b""
    measure = "bytes" if body else "requests"
    rate = {"limits": {f"tenant_{measure}": {"rate": 1}}}
    async with running(rate) as gateway:
        sent = CONTRACTS[dialect].credential
        first, second = [await gateway.send(method, path, body, sent) for _ in range(2)]

    assert success == first.status
    assert 503 == second.status
    assert 1 <= int(second.headers["Retry-After"]) <= len(body) + 1


async def test_what_needs_no_credential_has_no_rate(running):
    async with running({"limits": {"tenant_requests": {"rate": 1}}}) as gateway:
        assert [200] * 3 == [(await gateway.send("GET", "/health/probe")).status for _ in range(3)]


async def test_a_request_beyond_the_rate_is_refused_again_without_being_read(running):
    async with running({"limits": {"tenant_requests": {"rate": 1}}}) as gateway:
        body = json.dumps([READING]).encode()
        async with connected(gateway) as line:
            answers = []
            for _ in range(4):
                await line.say(upload(body))
                answers.append(await line.hear())
        labels = 'dialect="logspace",reason="limited",tenant="development"'
        assert 3 == await gateway.metric(f"gateway_refused_total{{{labels}}}")

    assert [202, 503, 503, 503] == [one.status for one in answers]
    assert 2 == len({one.headers["x-request-id"] for one in answers})
