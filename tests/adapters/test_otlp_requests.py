"""How requests of OTLP are cut into the texts of their records, in both encodings."""

import contextlib
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from gateway.adapters import otlp_json, otlp_signals
from gateway.adapters.otlp_json import split_json
from gateway.adapters.otlp_messages import MAX_VALUES
from gateway.adapters.otlp_protobuf import split_protobuf
from gateway.adapters.otlp_signals import LOGS, SPANS
from schemas import TooMany, Unreadable
from schemas.cutting import PART
from tests.adapters.otlp import LOG, RESOURCE, SCOPE, logs, plain

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ANY = st.recursive(
    st.builds(AnyValue)
    | st.builds(AnyValue, string_value=TEXT)
    | st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1))
    | st.builds(AnyValue, bool_value=st.booleans())
    | st.builds(AnyValue, double_value=st.floats())
    | st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
    lambda inner: (
        st.builds(
            lambda values: AnyValue(array_value={"values": values}), st.lists(inner, max_size=2)
        )
        | st.builds(
            lambda values: AnyValue(kvlist_value={"values": values}),
            st.lists(st.builds(lambda value: {"key": "k", "value": value}, inner), max_size=2),
        )
    ),
    max_leaves=4,
)
ATTRIBUTES = st.lists(
    st.builds(lambda key, value: {"key": key, "value": value}, TEXT, ANY), max_size=3
)
NANOS = st.integers(0, 2**64 - 1)
RECORDS = st.builds(
    LogRecord,
    time_unix_nano=NANOS,
    observed_time_unix_nano=NANOS,
    severity_number=st.integers(0, 24),
    severity_text=TEXT,
    body=ANY | st.none(),
    attributes=ATTRIBUTES,
    dropped_attributes_count=st.integers(0, 2**32 - 1),
    flags=st.integers(0, 2**32 - 1),
    trace_id=st.sampled_from([b"", bytes(range(16))]),
    span_id=st.sampled_from([b"", bytes(range(8))]),
    event_name=TEXT,
)
SCOPES = st.builds(
    ScopeLogs,
    scope=st.none() | st.builds(lambda name: {"name": name}, TEXT),
    log_records=st.lists(RECORDS, max_size=3),
    schema_url=TEXT,
)
REQUESTS = st.builds(
    lambda resources: ExportLogsServiceRequest(resource_logs=resources),
    st.lists(
        st.builds(
            ResourceLogs,
            resource=st.none()
            | st.builds(lambda attributes: {"attributes": attributes}, ATTRIBUTES),
            scope_logs=st.lists(SCOPES, max_size=2),
            schema_url=TEXT,
        ),
        max_size=2,
    ),
)


def texts(parts: Any) -> list[Any]:
    return [json.loads(text) for part in parts for text in part]


def composed(request: ExportLogsServiceRequest) -> list[Any]:
    """What the records of a request are to become, by protobuf's own mapping to JSON."""
    found = []
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                members = {
                    "resource": plain(resource.resource) if resource.HasField("resource") else "",
                    "resourceSchemaUrl": resource.schema_url,
                    "scope": plain(scope.scope) if scope.HasField("scope") else "",
                    "scopeSchemaUrl": scope.schema_url,
                }
                given = {name: value for name, value in members.items() if value != ""}
                found.append({**given, "logRecord": plain(record)})
    return found


@given(REQUESTS)
def test_protobuf_becomes_the_json_that_the_specification_says(request):
    assert composed(request) == texts(split_protobuf(request.SerializeToString(), LOGS))


@given(REQUESTS)
def test_both_ways_through_json_find_the_same_records_as_in_protobuf(request):
    body = json_format.MessageToJson(request).encode()
    whole = texts(split_json(body, LOGS))

    assert whole == texts(otlp_json._Walk(body, LOGS).request())
    assert len(whole) == len(texts(split_protobuf(request.SerializeToString(), LOGS)))


@given(REQUESTS, st.data())
def test_a_damaged_request_in_protobuf_is_read_or_refused(request, data):
    body = bytearray(request.SerializeToString() or b"\n")
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Unreadable, TooMany):
        texts(split_protobuf(bytes(body), LOGS))


@given(REQUESTS, st.data())
def test_a_damaged_request_in_json_is_read_or_refused(request, data):
    text = json_format.MessageToJson(request)
    at = data.draw(st.integers(0, len(text) - 1))
    odd = data.draw(st.sampled_from(['"', "\\", "[", "}", ",", ":", "null", "\\ud800", "\x00", ""]))
    body = f"{text[:at]}{odd}{text[at + data.draw(st.integers(0, 3)) :]}".encode()
    for way in (split_json, lambda body, signal: otlp_json._Walk(body, signal).request()):
        with contextlib.suppress(Unreadable, TooMany):
            for part in way(body, LOGS):
                assert all(text.startswith(b'{"') for text in part)


def test_members_may_come_in_any_order():
    scope = {"logRecords": [LOG], "scope": SCOPE, "x": [{"logRecords": [1]}]}
    resource = {"scopeLogs": [scope], "later": '\\"]}', "resource": RESOURCE}
    body = json.dumps({"a": None, "resourceLogs": [resource], "b": {"resourceLogs": 1}}).encode()

    expected = [{"resource": RESOURCE, "scope": SCOPE, "logRecord": LOG}]
    assert expected == texts(split_json(body, LOGS))
    assert expected == texts(otlp_json._Walk(body, LOGS).request())


def test_fields_of_protobuf_may_come_in_any_order_and_a_message_in_pieces():
    first = ResourceLogs(resource={"attributes": [{"key": "a"}]}).SerializeToString()
    second = ResourceLogs(resource={"attributes": [{"key": "b"}]}).SerializeToString()
    record = ResourceLogs(scope_logs=[{"log_records": [{"flags": 1}]}]).SerializeToString()
    inner = second + record + first
    body = b"\x0a%c%b" % (len(inner), inner)

    attributes = [{"key": "b"}, {"key": "a"}]
    expected = [{"resource": {"attributes": attributes}, "logRecord": {"flags": 1}}]
    assert expected == texts(split_protobuf(body, LOGS))


def test_unknown_fields_of_protobuf_are_ignored():
    record = LogRecord(flags=1).SerializeToString() + b"\xa2\x06\x01x"
    scope = (
        b"\x12%c%b" % (len(record), record)
        + b"\xa5\x06abcd"
        + b"\xa1\x06abcdefgh"
        + b"\xa0\x06\x05"
    )
    resource = b"\x12%c%b" % (len(scope), scope)
    body = b"\x0a%c%b" % (len(resource), resource)

    assert [{"logRecord": {"flags": 1}}] == texts(split_protobuf(body, LOGS))


def test_a_large_request_in_json_is_read_in_parts():
    record = {**LOG, "body": {"stringValue": "x" * 900}}
    body = json.dumps(logs(*[record] * 2000)).encode()
    parts = list(split_json(body, LOGS))

    assert len(body) > PART
    assert 2000 == sum(map(len, parts))
    assert len(parts) > 1


@pytest.mark.parametrize(
    ("body", "split"),
    [
        (b'{"resourceLogs":[' + b"{}," * 1000 + b"{}]}", split_json),
        (json.dumps(logs(*[{}] * 1000)).encode(), split_json),
        (b"\x0a\x00" * 1001, split_protobuf),
        (b"\x78\x00" * 1001, split_protobuf),
    ],
)
def test_too_many_records_are_refused(body, split, monkeypatch):
    monkeypatch.setattr(otlp_signals, "MAX_ELEMENTS", 1000)
    with pytest.raises(TooMany, match="1000"):
        list(split(body, LOGS))


def request_of(**record: Any) -> bytes:
    scope = {"log_records": [record, {"flags": 1}]}
    return ExportLogsServiceRequest(resource_logs=[{"scope_logs": [scope]}]).SerializeToString()


def test_a_record_with_too_many_values_is_replaced_by_null():
    most = {"attributes": [{"key": "a"}] * MAX_VALUES}
    large = {"attributes": [{"key": "a", "value": {"bool_value": True}}] * (MAX_VALUES // 2 + 1)}

    assert most == texts(split_protobuf(request_of(**most), LOGS))[0]["logRecord"]
    first, second = texts(split_protobuf(request_of(**large), LOGS))
    assert {"logRecord": None} == first
    assert {"logRecord": {"flags": 1}} == second


def test_a_record_that_is_too_large_is_replaced_by_null():
    body = request_of(severity_text="x" * (1 << 20))

    assert {"logRecord": None} == texts(split_protobuf(body, LOGS))[0]


@pytest.mark.parametrize(
    "resource",
    [
        {"attributes": [{"key": "x" * (1 << 20)}]},
        {"attributes": [{"key": "a"}] * (MAX_VALUES + 1)},
    ],
)
def test_a_resource_that_is_too_large_is_refused(resource):
    request = ExportLogsServiceRequest(resource_logs=[{"resource": resource}])
    with pytest.raises(TooMany):
        list(split_protobuf(request.SerializeToString(), LOGS))


def test_values_nested_as_deep_as_protobuf_allows_are_written():
    value = AnyValue(int_value=1)
    for _ in range(40):
        value = AnyValue(array_value={"values": [value]})
    [first, _] = texts(split_protobuf(request_of(body=value), LOGS))

    assert 40 == json.dumps(first).count("arrayValue")


def test_a_span_keeps_its_events_links_and_status():
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.parent_span_id = b"\1" * 16, b"\2" * 8, b"\3" * 8
    span.events.add(name="retry", time_unix_nano=5)
    span.links.add(trace_id=b"\4" * 16, span_id=b"\5" * 8)
    span.status.code = 2
    span.kind = 3
    [text] = texts(split_protobuf(request.SerializeToString(), SPANS))

    assert {
        "traceId": "01" * 16,
        "spanId": "02" * 8,
        "parentSpanId": "03" * 8,
        "kind": 3,
        "events": [{"name": "retry", "timeUnixNano": "5"}],
        "links": [{"traceId": "04" * 16, "spanId": "05" * 8}],
        "status": {"code": 2},
    } == text["span"]


MANY = 30_000


@pytest.mark.parametrize(
    ("body", "split"),
    [
        (b'{"resourceLogs":[' + b"{}," * MANY + b"{}]}", split_json),
        (b'{"resourceLogs":[' + b"{}," * MANY + b'{}],"a":"\\ud800"}', split_json),
        (b'{"resourceLogs":[{"scopeLogs":[' + b"{}," * MANY + b"{}]}]}", split_json),
        (b'{"resourceLogs":[{"scopeLogs":[' + b"{}," * MANY + b'{"a":"\\ud800"}]}]}', split_json),
        (b"\x0a\x00" * MANY, split_protobuf),
        (b"\x0a\xb0\xea\x01" + b"\x12\x00" * (MANY // 2), split_protobuf),
    ],
)
def test_others_have_their_turn_while_many_empty_messages_are_read(body, split):
    parts = list(split(body, LOGS))

    assert [] == texts(parts)
    assert len(parts) > 3
