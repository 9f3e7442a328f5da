"""The content of quarantined records."""

import json

import msgspec
import pytest

from gateway.adapter import Head, Inbound, Rejected, Tenant
from gateway.intake.intake import quarantine
from gateway.intake.redact import Redactor, Rules
from schemas import Problem
from tests.records import NOW

OPEN = Redactor(Rules(), {})
STRICT = Redactor(Rules.of([], ["password"]), {})
PROBLEMS = [Problem("request.time", "Missing data for required field.")]


def inbound(body: bytes = b"") -> Inbound:
    head = Head("POST", "/v1/events", {}, lambda name: None, lambda name: ())
    return Inbound(head, Tenant("acme"), body, NOW, "192.0.2.1")


def of_event(raw: bytes, redactor: Redactor = OPEN):
    return quarantine.of_event("moesif", inbound(), Rejected(3, PROBLEMS, raw), redactor)


def of_body(body: bytes, redactor: Redactor = OPEN):
    return quarantine.of_body("moesif", inbound(body), Problem("", "Not JSON."), redactor)


def test_an_invalid_event_is_quarantined_with_its_problems_and_its_text():
    record = of_event(b'{"a": 1}')

    assert ("moesif", "acme", "rejected", "invalid", None) == (
        record.dialect,
        record.tenant,
        record.kind,
        record.type,
        record.subject,
    )
    assert (NOW, NOW, "192.0.2.1") == (record.time, record.received_at, record.client_address)
    assert {
        "problems": [{"path": "request.time", "message": "Missing data for required field."}],
        "raw": '{"a": 1}',
        "path": "/v1/events",
        "position": 3,
    } == json.loads(record.data)


def test_a_quarantined_body_has_the_reason_not_json():
    record = of_body(b"a: 1")

    assert "not_json" == record.type
    assert {
        "problems": [{"path": "", "message": "Not JSON."}],
        "raw": "a: 1",
        "path": "/v1/events",
    } == json.loads(record.data)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\xff\xfe\x00", "\\xff\\xfe\x00"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        ("é🎉".encode(), "é🎉"),
        (b'"\\ud800"', '"\\ud800"'),
    ],
)
def test_invalid_utf8_is_shown_as_escapes(raw, shown):
    assert shown == json.loads(of_body(raw).data)["raw"]


def test_equal_content_has_the_same_key_and_different_content_another():
    assert of_event(b"1").key == of_event(b"1").key
    assert of_event(b"1").key != of_event(b"2").key
    assert 16 == len(of_event(b"1").key)


def test_equal_content_of_two_tenants_has_two_keys():
    other = msgspec.structs.replace(inbound(), tenant=Tenant("other"))
    rejected = Rejected(0, PROBLEMS, b"1")

    assert of_event(b"1").key != quarantine.of_event("moesif", other, rejected, OPEN).key
    assert of_event(b"1").key != quarantine.of_event("device", inbound(), rejected, OPEN).key


def test_equal_content_for_two_addresses_has_two_keys_and_each_spelling_of_one_the_same():
    def key(path: str) -> bytes:
        there = msgspec.structs.replace(
            inbound(), head=msgspec.structs.replace(inbound().head, path=path)
        )
        return quarantine.of_event("device", there, Rejected(None, PROBLEMS, b"1"), OPEN).key

    assert key("/devices/D1/events") != key("/devices/D2/events")
    assert key("/devices/D%3a1/events") == key("/devices/D%3A1/events")


def test_what_is_cut_is_told():
    assert "cut" not in json.loads(of_body(b"x" * 1000).data)
    assert json.loads(of_body(b"x" * 64 * 1024).data)["cut"]
    assert "cut" not in json.loads(of_event(b"x" * 1024 * 1024).data)
    assert json.loads(of_event(b"x" * 1024 * 1024 + b"x").data)["cut"]


def test_the_first_hundred_problems_of_an_event_are_kept():
    problems = [Problem(f"{at}", "Missing.") for at in range(150)]
    record = quarantine.of_event("moesif", inbound(), Rejected(0, problems, b"1"), OPEN)

    assert [f"{at}" for at in range(100)] == [
        problem["path"] for problem in json.loads(record.data)["problems"]
    ]


def test_the_first_64_kb_of_a_body_are_kept():
    assert 64 * 1024 == len(json.loads(of_body(b"x" * 100_000).data)["raw"])


def test_the_first_megabyte_of_an_event_is_kept():
    assert 1024 * 1024 == len(json.loads(of_event(b"x" * 2_000_000).data)["raw"])


def test_secrets_are_masked_in_events_and_unreadable_bodies_are_withheld():
    assert "s3cr3t" not in of_event(b'{"password":"s3cr3t"}', STRICT).data
    assert "s3cr3t" not in of_body(b'{"password":"s3cr3t"', STRICT).data
    # Cut in the middle, it is no JSON any more.
    assert "s3cr3t" not in of_body(b'{"password":"s3cr3t","x":"%s"}' % (b"x" * 70_000), STRICT).data
