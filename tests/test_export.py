"""Exported lines are CloudEvents for the CloudEvents project's own library."""

import json
import re
from datetime import UTC, datetime

import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from gateway.export import cloudevent
from gateway.record import sender_of
from tests.records import make_record

MOMENT = 1_767_323_045_678_901  # 2026-01-02T03:04:05.678901Z


def read(line: bytes) -> CloudEvent:
    """What the oracle reads; it raises for whatever is no CloudEvent."""
    return JSONFormat().read(CloudEvent, line)


def test_a_line_is_a_cloudevent_with_extension_attributes():
    record = make_record(
        time=MOMENT, received_at=MOMENT + 1, client_address="2001:db8::1", data='{"a":[1,"é"]}'
    )
    event = read(cloudevent(42, record))

    assert "1.0" == event.get_specversion()
    assert "/moesif/acme" == event.get_source()
    assert "GET" == event.get_type()
    assert "user-1" == event.get_subject()
    assert datetime(2026, 1, 2, 3, 4, 5, 678901, UTC) == event.get_time()
    assert "application/json" == event.get_datacontenttype()
    assert {"a": [1, "é"]} == event.get_data()
    assert {
        "dialect": "moesif",
        "tenant": "acme",
        "kind": "api_call",
        "receivedat": "2026-01-02T03:04:05.678902Z",
        "clientaddress": "2001:db8::1",
        "sequence": "42",
    } == {
        name: event.get_extension(name)
        for name in ("dialect", "tenant", "kind", "receivedat", "clientaddress", "sequence")
    }


def test_a_line_tells_who_sent_the_event_where_that_is_known():
    known = make_record(sender=sender_of("4f2a9c01", "curl/8.5.0 (é)"))

    event = read(cloudevent(1, known))
    assert "4f2a9c01" == event.get_extension("credential")
    assert "curl/8.5.0 (é)" == event.get_extension("useragent")
    assert not {"credential", "useragent"} & set(
        json.loads(cloudevent(1, make_record(sender=None)))
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": None},
        {"sender": sender_of("4f2a9c01", "")},
        {"sender": sender_of("4f2a9c01", "\udcff\x1b[31m \u009b \ufffe")},
        {"subject": ""},
        {"type": "", "dialect": "logspace", "kind": "event"},
        {"type": "", "dialect": "device"},
        {"type": "os/cpu", "subject": "Ünïcode 🎉/system"},
        {"tenant": "a b/c?d#ü%"},
        {"kind": "rejected", "type": "invalid", "data": '{"problems":[],"raw":"\\u0000"}'},
        {"time": -62_135_596_800_000_000},
        {"time": 253_402_300_799_999_999},
        {"time": 0, "received_at": 0},
        {"client_address": "127.0.0.1", "data": '{\r\n\t"a" :\n1 }'},
        {"data": '{"nul":"\\u0000","big":1208925819614629174706176}'},
    ],
)
def test_every_record_is_a_valid_cloudevent_on_one_line(changes):
    record = make_record(**changes)
    line = cloudevent(1, record)

    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(record.data) == json.loads(line)["data"]
    read(line)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\ud800", "\ufffd"),
        (r"\udfff\ud800x", "\ufffd\ufffdx"),
        (r"\uD83D\uDE00\ude00", "😀\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\\ud800\\\ud800", "\\ud800\\\ufffd"),
        (r"\u00e9\nd800", "é\nd800"),
    ],
)
def test_half_of_a_surrogate_pair_is_replaced(written, read):
    line = cloudevent(1, make_record(data=f'{{"a":"{written}","{written}":1}}'))

    assert {"a": read, read: 1} == json.loads(line)["data"]
    assert {"a": read, read: 1} == msgspec.json.decode(line)["data"]


@given(st.text(st.characters()))
def test_every_text_of_an_event_is_strict_json_when_exported(text):
    line = cloudevent(1, make_record(data=json.dumps({text: text})))

    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert {whole: whole} == msgspec.json.decode(line)["data"]


def test_an_empty_subject_is_left_out():
    assert "subject" not in json.loads(cloudevent(1, make_record(subject="")))
    assert "subject" not in json.loads(cloudevent(1, make_record(subject=None)))


def test_an_absent_type_has_a_name():
    untyped = make_record(type="", dialect="logspace", kind="event")

    assert "logspace.event" == json.loads(cloudevent(1, untyped))["type"]


def test_a_tenant_cannot_break_out_of_the_source():
    line = json.loads(cloudevent(1, make_record(tenant="a/b c")))

    assert "/moesif/a%2Fb%20c" == line["source"]
    assert "a/b c" == line["tenant"]


def test_data_keeps_the_exact_text_of_numbers():
    line = cloudevent(1, make_record(data='{"n":1.10,"big":12089258196146291747061760}'))

    assert line.endswith(b'"data":{"n":1.10,"big":12089258196146291747061760}}')


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (MOMENT, "2026-01-02T03:04:05.678901Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(micros, text):
    line = json.loads(cloudevent(1, make_record(time=micros)))

    assert text == line["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", line["receivedat"])
