"""OTLP as exporters know it: answers, records, retries and what is refused."""

import json

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from gateway.adapter import Head
from gateway.errors import Reason, Refusal
from tests.adapters.direct import DirectOtlp
from tests.adapters.otlp import (
    JSON,
    LOG,
    LOGS,
    PROTOBUF,
    RESOURCE,
    SCOPE,
    SPAN,
    TRACES,
    decoded,
    encoded,
    logs,
    spans,
)

BOTH = pytest.mark.parametrize("media_type", [JSON, PROTOBUF])
HEAD = Head("POST", "/", {}, lambda _: None, lambda _: ())
PROTOBUF_HEAD = Head("POST", "/", {}, lambda _: PROTOBUF, lambda _: [PROTOBUF])
RETRYABLE = {429, 502, 503, 504}


def message_of(answer):
    """The message of a ``google.rpc.Status``; its number is that of the Status of a span."""
    if answer.headers["Content-Type"] == PROTOBUF:
        return Status.FromString(answer.body).message
    [(name, message)] = json.loads(answer.body).items()
    assert "message" == name
    return message


def send(otlp, path, document, media_type):
    return otlp.post(path, encoded(path, document, media_type), media_type)


@BOTH
@pytest.mark.parametrize(("path", "document"), [(LOGS, logs(LOG, LOG)), (TRACES, spans(SPAN))])
def test_success_is_200_with_an_empty_response_in_the_encoding_of_the_request(
    otlp, path, document, media_type
):
    answer = send(otlp, path, document, media_type)

    assert (200, media_type) == (answer.status, answer.headers["Content-Type"])
    assert {} == decoded(path, answer)


@BOTH
def test_every_record_is_an_event_with_its_resource_and_its_scope(otlp, media_type):
    send(otlp, LOGS, logs(LOG, {**LOG, "severityText": "WARN"}), media_type)
    send(otlp, TRACES, spans(SPAN), media_type)
    info, warning, span = otlp.events()

    assert ("log", "INFO", "shop") == (info["kind"], info["type"], info["subject"])
    assert "2025-01-15T10:00:00.250000Z" == info["time"] == span["time"]
    assert {"resource": RESOURCE, "scope": SCOPE, "logRecord": LOG} == info["data"]
    assert "WARN" == warning["type"]
    assert ("span", "GET /", "shop") == (span["kind"], span["type"], span["subject"])
    assert {"resource": RESOURCE, "scope": SCOPE, "span": SPAN} == span["data"]


@BOTH
@pytest.mark.parametrize(
    ("record", "type_"),
    [
        ({"eventName": "login", "severityText": "INFO"}, "login"),
        ({"severityText": "Notice", "severityNumber": 10}, "Notice"),
        ({"severityNumber": 1}, "TRACE"),
        ({"severityNumber": 9}, "INFO"),
        ({"severityNumber": 10}, "INFO2"),
        ({"severityNumber": 24}, "FATAL4"),
        ({"severityNumber": 25}, "log"),
        ({}, "log"),
    ],
)
def test_the_type_of_a_log_record_is_its_event_name_or_its_severity(
    otlp, record, type_, media_type
):
    send(otlp, LOGS, logs(record), media_type)

    assert [type_] == [event["type"] for event in otlp.events()]


@pytest.mark.parametrize(
    ("record", "time"),
    [
        ({"timeUnixNano": "1", "observedTimeUnixNano": "5000"}, 0),
        ({"timeUnixNano": "0", "observedTimeUnixNano": "5000"}, 5),
        ({"timeUnixNano": 7_999}, 7),
        ({"timeUnixNano": str(2**64 - 1)}, 18_446_744_073_709_551),
        ({"timeUnixNano": None}, None),
        ({}, None),
    ],
)
def test_the_time_of_a_log_record_is_its_own_or_when_it_was_observed_or_arrived(otlp, record, time):
    send(otlp, LOGS, logs(record), JSON)
    [kept] = otlp.records

    assert (kept.received_at if time is None else time) == kept.time


def test_a_service_without_a_name_is_no_subject_and_a_span_without_one_has_its_kind_for_a_type(
    otlp,
):
    for resource in ({}, {"attributes": []}, {"attributes": [{"key": "service.name"}]}, None):
        send(otlp, TRACES, spans({**SPAN, "name": ""}, resource=resource), JSON)

    assert {("span", None)} == {(record.type, record.subject) for record in otlp.records}


@BOTH
def test_schema_urls_are_kept(otlp, media_type):
    document = logs(LOG, schemaUrl="https://a")
    document["resourceLogs"][0]["scopeLogs"][0]["schemaUrl"] = "https://b"
    send(otlp, LOGS, document, media_type)
    [event] = otlp.events()

    assert "https://a" == event["data"]["resourceSchemaUrl"]
    assert "https://b" == event["data"]["scopeSchemaUrl"]


@BOTH
@pytest.mark.parametrize(
    ("path", "document"), [(LOGS, logs(LOG, LOG, {**LOG, "flags": 1})), (TRACES, spans(SPAN))]
)
def test_a_request_that_is_repeated_is_stored_once(otlp, path, document, media_type):
    count = sum(len(one) for one in document[next(iter(document))][0].values()) - 1
    first = send(otlp, path, document, media_type)
    again = send(otlp, path, document, media_type)

    assert (200, 200) == (first.status, again.status)
    assert 0 == first.duplicates
    assert len(otlp.records) == again.duplicates >= count


def test_equal_log_records_are_events_of_their_own(otlp):
    send(otlp, LOGS, logs(LOG, LOG), JSON)
    send(otlp, LOGS, logs(LOG), JSON)

    assert 3 == len(otlp.records)


def test_a_repeated_log_record_without_a_time_is_stored_again(otlp):
    for _ in range(2):
        send(otlp, LOGS, logs({"body": {"stringValue": "backup done"}}), JSON)

    assert 2 == len(otlp.records)


def test_every_log_record_can_be_stored_again():
    otlp = DirectOtlp(recognize_retries=False)
    for _ in range(2):
        send(otlp, LOGS, logs(LOG), JSON)
        send(otlp, TRACES, spans(SPAN), JSON)

    assert ["log", "span", "log"] == [record.kind for record in otlp.records]


@pytest.mark.parametrize(
    "change",
    [
        {"spanId": "00000000000000ff"},
        {"traceId": "0" * 31 + "1"},
        {"kind": 3},
        {"endTimeUnixNano": "1736935200250000009"},
        {"startTimeUnixNano": "5"},
    ],
)
def test_spans_with_other_ids_of_another_kind_or_with_other_times_are_not_the_same(otlp, change):
    send(otlp, TRACES, spans({**SPAN, "kind": 2}, {**SPAN, "kind": 2, **change}), JSON)

    assert 2 == len(otlp.records)


def test_a_span_is_the_same_in_both_encodings_and_whatever_it_comes_with(otlp):
    shouted = {**SPAN, "traceId": SPAN["traceId"].upper(), "attributes": []}
    send(otlp, TRACES, spans(SPAN), PROTOBUF)
    again = send(otlp, TRACES, spans({**SPAN, "spanId": "1" * 16}, shouted), JSON)

    assert 1 == again.duplicates


BAD = {**LOG, "traceId": "short"}


def test_rejected_log_records_are_a_partial_success(otlp):
    answer = send(otlp, LOGS, logs(LOG, BAD, LOG), JSON)

    assert {
        "partialSuccess": {
            "rejectedLogRecords": "1",
            "errorMessage": "1 log records were invalid. "
            "[1].logRecord.traceId: Not 32 hexadecimal digits.",
        }
    } == decoded(LOGS, answer)
    assert (200, 2, 1) == (answer.status, len(otlp.records), answer.rejected)
    assert BAD == json.loads(otlp.rejected[0].raw)["logRecord"]


@BOTH
def test_rejected_spans_are_a_partial_success_in_both_encodings(otlp, media_type):
    nameless = {**SPAN, "spanId": "0" * 16}
    partial = decoded(TRACES, send(otlp, TRACES, spans(SPAN, nameless), media_type))

    assert "1" == partial["partialSuccess"]["rejectedSpans"]
    assert "[1].span.spanId: Not 16" in partial["partialSuccess"]["errorMessage"]
    assert 1 == len(otlp.records)


@BOTH
def test_a_request_without_a_valid_record_is_400_with_a_status(otlp, media_type):
    answer = send(otlp, TRACES, spans({"name": "x"}, {"name": "y"}), media_type)

    assert (400, media_type) == (answer.status, answer.headers["Content-Type"])
    assert "[0].span.traceId: Missing data for required field." in message_of(answer)


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ({"traceId": "g" * 32}, "traceId"),
        ({"spanId": "0" * 15}, "spanId"),
        ({"timeUnixNano": "-1"}, "timeUnixNano"),
        ({"timeUnixNano": 1.5}, "timeUnixNano"),
        ({"timeUnixNano": str(2**64)}, "timeUnixNano"),
        ({"observedTimeUnixNano": "now"}, "observedTimeUnixNano"),
        ({"severityNumber": "SEVERITY_NUMBER_INFO"}, "severityNumber"),
        ({"severityText": "a\0"}, "severityText"),
        ({"body": "text"}, "body"),
        ({"body": {"intValue": "1.5"}}, "body"),
        ({"body": {"doubleValue": "many"}}, "body"),
        ({"attributes": {"a": "b"}}, "attributes"),
        ({"attributes": [{"key": 1}]}, "attributes"),
        ({"attributes": [{"key": "a", "value": "b"}]}, "attributes"),
        ({"flags": -1}, "flags"),
    ],
)
def test_what_is_no_log_record_in_json_is_rejected(otlp, record, path):
    answer = send(otlp, LOGS, logs({**LOG, **record}), JSON)

    assert 400 == answer.status
    assert f"[0].logRecord.{path}: " in message_of(answer)


def test_a_service_name_that_cannot_be_stored_is_rejected(otlp):
    for name in ("a\0", "\ud800"):
        resource = {
            "attributes": [{"key": "service.name", "value": {"stringValue": name}}],
        }
        answer = send(otlp, LOGS, logs(LOG, resource=resource), JSON)
        assert 400 == answer.status
        assert "[0].resource.attributes: service.name contains a NUL" in message_of(answer)


def test_half_of_a_surrogate_pair_is_kept_as_it_came(otlp):
    cut = {**LOG, "body": {"stringValue": "cut \ud83d"}}
    answer = send(otlp, LOGS, logs(LOG, cut), JSON)

    assert (200, 0) == (answer.status, answer.rejected)
    assert cut == otlp.events()[1]["data"]["logRecord"]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"resourceLogs":[]}', b'{"resourceLogs":null,"later":{"a":[1]}}', b" {} "]
)
def test_a_request_without_records_succeeds(otlp, body):
    assert (200, b"{}") == ((answer := otlp.post(LOGS, body)).status, answer.body)
    assert 200 == otlp.post(LOGS, b"", PROTOBUF).status


def test_a_request_of_another_signal_is_refused_instead_of_ignored(otlp):
    answer = otlp.post(TRACES, logs(LOG))

    assert 400 == answer.status
    assert "Expected resourceSpans, found resourceLogs." in message_of(answer)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (LOGS, {"resource_logs": [{}]}, "Expected resourceLogs, found resource_logs."),
        (
            LOGS,
            {"resourceLogs": [{"scope_logs": [{"log_records": [LOG]}]}]},
            "Expected scopeLogs, found scope_logs.",
        ),
        (
            LOGS,
            {"resourceLogs": [{"scopeLogs": [{"logRecords": [LOG]}, {"log_records": [LOG]}]}]},
            "Expected logRecords, found log_records.",
        ),
        (
            TRACES,
            {"resourceSpans": [{"instrumentationLibrarySpans": [{"spans": [SPAN]}]}]},
            "Expected scopeSpans, found instrumentationLibrarySpans.",
        ),
    ],
)
def test_records_below_another_name_are_refused_instead_of_ignored(otlp, path, body, said):
    answer = otlp.post(path, body)

    assert 400 == answer.status
    assert said in message_of(answer)
    assert [] == otlp.events()


def test_scopes_in_the_old_form_of_protobuf_are_refused_instead_of_ignored(otlp):
    scope = b"\x12\x00"
    resource = b"\xc2\x3e%c%b" % (len(scope), scope)
    answer = otlp.post(LOGS, b"\x0a%c%b" % (len(resource), resource), PROTOBUF)

    assert 400 == answer.status
    assert "before OTLP 0.15" in message_of(answer)


def test_null_is_no_record(otlp):
    answer = otlp.post(LOGS, logs(None, LOG))

    assert 1 == answer.rejected
    assert "[0].logRecord: It is null" in json.loads(answer.body)["partialSuccess"]["errorMessage"]


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a",
        b"\x0a\x05a",
        b"\x0b",
        b"\xff" * 11,
        b"\x0a\x02\x12\xff",
        b"\x0a\x04\x12\x02\x12\x01",
        b"\x0a\x02\x0a\x01",
        b"no protobuf",
    ],
)
def test_what_is_not_protobuf_is_400(otlp, body):
    answer = otlp.post(LOGS, body, PROTOBUF)

    assert (400, PROTOBUF) == (answer.status, answer.headers["Content-Type"])
    assert "The body cannot be decoded. Not protobuf: " in message_of(answer)


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "APPLICATION/JSON", " application/json "]
)
def test_the_content_type_may_have_parameters(otlp, media_type):
    assert 200 == otlp.post(LOGS, logs(LOG), media_type).status


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/protobuf", "application"])
def test_another_content_type_is_415(otlp, media_type):
    answer = otlp.post(LOGS, logs(LOG), media_type)

    assert (415, JSON) == (answer.status, answer.headers["Content-Type"])
    assert "application/x-protobuf, application/json" in message_of(answer)


@pytest.mark.parametrize("endpoint", ["", "/", "/collector", "/v1/traces", "/v1/logs"])
@pytest.mark.parametrize(
    ("path", "document", "kind"), [(LOGS, logs(LOG), "log"), (TRACES, spans(SPAN), "span")]
)
def test_exporters_append_the_address_to_their_endpoint(otlp, endpoint, path, document, kind):
    assert 200 == otlp.post(f"{endpoint}{path}", document).status
    assert [kind] == [event["kind"] for event in otlp.events()]


@BOTH
def test_metrics_are_404(otlp, media_type):
    answer = otlp.post("/v1/metrics", b"", media_type)

    assert (404, media_type) == (answer.status, answer.headers["Content-Type"])
    assert "Metrics are not taken here." in message_of(answer)


@pytest.mark.parametrize("reason", Reason)
def test_the_status_is_retryable_only_where_a_repetition_helps(otlp, reason):
    reply = otlp.adapter.refused(Refusal(reason), HEAD, None)

    assert reason.retryable == (reply.status in RETRYABLE)
    assert reason.retryable == ("Retry-After" in reply.headers)


def test_a_status_in_protobuf_holds_a_message_of_any_length(otlp):
    for length in (0, 1, 100, 127, 128, 20_000):
        refusal = Refusal(Reason.INTERNAL, "é" * length)
        reply = otlp.adapter.refused(refusal, PROTOBUF_HEAD, None)
        status = Status.FromString(reply.body)

        assert f"Internal error. It was logged. {'é' * length}".strip() == status.message


def test_pages_of_any_origin_may_export(otlp):
    known = {(method, path) for one in otlp.adapter.endpoints for path in one.paths
             for method in one.methods}  # fmt: skip

    assert {("OPTIONS", LOGS), ("OPTIONS", TRACES)} <= known
    for answer in (
        otlp.post(LOGS, logs(LOG)),
        otlp.post(LOGS, b"{"),
        otlp.post("/v1/metrics", b""),
    ):
        assert "*" == answer.headers["Access-Control-Allow-Origin"]
