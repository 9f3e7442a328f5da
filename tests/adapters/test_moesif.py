"""The Moesif dialect: what SDKs send, and the answers that they need."""

import base64
import gzip
import json
import zlib

import pytest

from tests.adapters.direct import DirectMoesif
from tests.dialects import CALL

REQUEST, RESPONSE = CALL["request"], {"time": "2016-08-16T09:21:57Z", "status": 200}
ACTION = {"action_name": "Clicked", "request": {"time": "2024-03-01T04:45:42.914"}}
PROFILES = {
    "/v1/users": ("user", {"user_id": "u", "metadata": {"email": "a@b.c"}}, "u"),
    "/v1/companies": ("company", {"company_id": "c", "metadata": None}, "c"),
    "/v1/subscriptions": ("subscription", {"subscription_id": "s", "company_id": "c"}, "s"),
}


def call(**changes):
    """A logged call; *changes* named ``request`` or ``response`` are merged into those."""
    request = {**REQUEST, **changes.pop("request", {})}
    return {"request": request, **changes}


async def test_success_has_no_body(gateway):
    answer = await gateway.moesif("/v1/events", CALL)

    assert (201, b"", "0") == (answer.status, answer.body, answer.headers["Content-Length"])


@pytest.mark.parametrize("path", ["/v1/events", "/moesifapi/events", "/collector/v1/events"])
@pytest.mark.parametrize("form", ["{}", "/{}", "{}/", "{}?x=1"])
def test_an_event_may_be_sent_to_any_alias_of_its_address(moesif, path, form):
    assert 201 == moesif.post(form.format(path), CALL).status
    assert 201 == moesif.post(form.format(f"{path}/batch"), [CALL, CALL]).status
    assert [CALL] * 3 == [event["data"] for event in moesif.events()]


@pytest.mark.parametrize(
    "event",
    [
        call(response=None),
        call(response={**RESPONSE, "verb": "GET", "content_length": 12}),
        call(user_id=None, company_id="", session_token="", metadata=None, transaction_id=None),
        call(user_id=12345, company_id=2.5, subscription_id=7),
        call(userId="u", companyId="c", regexMap={"request.verb": "GET"}, weight=0, tags=""),
        call(weight=None, direction="", context={}, blocked_by=None, trace_id="t"),
        call(request={"headers": None, "body": None, "transfer_encoding": ""}),
        call(request={"headers": {"a": ["b", "c"], "d": True, "e": 5, "F": None, "G": {}}}),
        call(request={"body": [1, "x", None], "transfer_encoding": "json"}),
        call(request={"body": "text"}),
        call(request={"body": False, "ip_address": None}),
        call(request={"body": 2**80, "ip_address": "127.0.0.1:40076"}),
        call(request={"uri": "/items?a=1", "verb": "N/A"}),
        call(request={"uri": "litellmsdk/acompletion"}),
        call(request={"body": "\x00\ud800", "headers": {"\ud800": "\x00"}}),
        call(metadata={"x": None, "y": {"z": [None]}, "": ""}),
        call(request={"body": "é中\U0001f600\u2028"}, extra={"\u007f": "\x7f"}),
    ],
)
def test_real_events_of_sdks_are_stored_unchanged(moesif, event):
    answer = moesif.post("/v1/events", event)
    [stored] = moesif.events()

    assert 201 == answer.status
    assert event == stored["data"]


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-21T03:48:29.226",
        "2026-11-21T03:48:29.226000",
        "2026-11-21T03:48:29.226Z",
        "2026-11-21T03:48:29.226016472Z",
        "2026-11-21T05:48:29.226999499+02:00",
        "2026-11-21T03:48:29.226381+00:00",
        "2026-11-21T03:48:29.2260000Z",
    ],
)
def test_every_form_of_a_time_is_the_same_instant(moesif, time):
    moesif.post("/v1/events", call(request={"time": time}))
    [stored] = moesif.events()

    assert stored["time"].startswith("2026-11-21T03:48:29.226")
    assert time == stored["data"]["request"]["time"]


def test_a_base64_body_is_stored_unchanged(moesif):
    encoded = base64.encodebytes(bytes(range(256))).decode()
    event = call(request={"body": encoded, "transfer_encoding": "base64"})
    moesif.post("/v1/events", event)

    assert [event] == [stored["data"] for stored in moesif.events()]


def test_the_exact_text_of_an_event_is_stored(moesif):
    text = b'{ "request":{"time":"2016-08-16T09:21:56.998Z","uri":"\\u002f","verb":"GET"},"n":2.50}'
    moesif.post("/v1/events/batch", b"[ " + text + b" ]")

    assert text.decode() == moesif.records[0].data


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ({}, "request"),
        ({"request": None}, "request"),
        ({"request": {}}, "request.time"),
        (call(request={"time": None}), "request.time"),
        (call(request={"time": "yesterday"}), "request.time"),
        (call(request={"time": 1471339316998}), "request.time"),
        (call(request={"time": {}}), "request.time"),
        (call(request={"time": ["2016-08-16T09:21:57Z"]}), "request.time"),
        (call(request={"uri": ""}), "request.uri"),
        (call(request={"uri": None}), "request.uri"),
        (call(request={"verb": ["GET"]}), "request.verb"),
        (call(request={"verb": "G\x00T"}), "request.verb"),
        (call(request={"headers": "a: b"}), "request.headers"),
        (call(response={}), "response.time"),
        (call(response={"time": "2016-08-16T09:21:57Z"}), "response.status"),
        (call(response={**RESPONSE, "status": "200"}), "response.status"),
        (call(response={**RESPONSE, "status": True}), "response.status"),
        (call(response=[]), "response"),
        (call(metadata=[]), "metadata"),
        (call(metadata="text"), "metadata"),
        (call(user_id="a\x00b"), "user_id"),
        (call(user_id="\ud800"), "user_id"),
        (call(user_id=True), "user_id"),
    ],
)
def test_a_problem_is_reported_with_its_path_and_its_event_rejected(moesif, event, path):
    answer = moesif.post("/v1/events", event)
    [rejected] = moesif.rejected

    assert (400, "application/problem+json") == (answer.status, answer.headers["Content-Type"])
    assert path in [error["path"] for error in answer.json["errors"]]
    assert event == json.loads(rejected.raw)


def test_every_problem_of_a_batch_is_reported_with_the_index_of_its_element(moesif):
    answer = moesif.post("/v1/events/batch", [{}, 5, call(request={"verb": ""})])

    assert ["[0].request", "[1]", "[2].request.verb"] == [e["path"] for e in answer.json["errors"]]


@pytest.mark.parametrize("wrong", [{}, 5, None, "x", [CALL], call(request={"time": "?"})])
def test_one_bad_event_does_not_fail_its_batch(moesif, wrong):
    answer = moesif.post("/v1/events/batch", [CALL, wrong, CALL])

    assert (201, 1) == (answer.status, answer.rejected)
    assert [CALL, CALL] == [event["data"] for event in moesif.events()]


@pytest.mark.parametrize(
    "wrong",
    [
        b"[" * 5000 + b"]" * 5000,
        b'{"request":' * 70 + b"1" + b"}" * 70,
        b'{"\\ud800":NaN}',
        b"NaN",
        b"7" * 5000,
    ],
)
def test_an_element_that_cannot_be_read_does_not_fail_its_batch(moesif, wrong):
    good = json.dumps(CALL).encode()
    answer = moesif.post("/v1/events/batch", b"[%s,%s,%s]" % (good, wrong, good))

    assert (201, 1) == (answer.status, answer.rejected)
    assert [CALL, CALL] == [e["data"] for e in moesif.events()]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/events", [CALL]), ("/v1/events/batch", CALL), ("/v1/actions", [ACTION])],
)
def test_a_single_address_takes_an_object_and_a_batch_address_an_array(moesif, path, body):
    assert 400 == moesif.post(path, body).status
    assert [] == moesif.events()


@pytest.mark.parametrize("name", ["transaction_id", "transactionId"])
def test_a_repeated_transaction_id_is_stored_once_within_and_across_batches(moesif, name):
    def event(letter):
        return call(**{name: letter}, metadata={"letter": letter})

    batches = [["A", "B"], ["C"], ["A", "C", "D", "D"]]
    answers = [
        moesif.post("/v1/events/batch", [event(letter) for letter in batch]) for batch in batches
    ]

    assert [201, 201, 201] == [answer.status for answer in answers]
    assert 3 == answers[-1].duplicates
    assert list("ABCD") == [e["data"]["metadata"]["letter"] for e in moesif.events()]


def test_the_same_transaction_id_in_an_event_and_an_action_is_not_a_duplicate(moesif):
    moesif.post("/v1/events", call(transaction_id="A"))
    moesif.post("/v1/actions", {**ACTION, "transaction_id": "A"})

    assert 2 == len(moesif.events())


def test_without_a_transaction_id_every_copy_counts(moesif):
    for event in (CALL, CALL, call(transaction_id=""), call(transaction_id="")):
        moesif.post("/v1/events", event)

    assert 4 == len(moesif.events())


def test_identical_events_are_stored_once_if_configured():
    moesif = DirectMoesif(deduplicate_identical=True)
    moesif.post("/v1/events", {**CALL, "a": 1, "b": [1, 7 * 10**4000]})
    moesif.post("/v1/events", {"b": [1, 7 * 10**4000], "a": 1, **CALL})
    moesif.post("/v1/events", {**CALL, "a": 1.0, "b": [1, 7 * 10**4000]})
    moesif.post("/v1/actions/batch", [{"action_name": "A"}, {"action_name": "A"}])

    assert ["api_call", "api_call", "action", "action"] == [
        event["kind"] for event in moesif.events()
    ]


@pytest.mark.parametrize(
    ("action", "type", "subject", "time"),
    [
        (ACTION, "Clicked", None, "2024-03-01T04:45:42.914000Z"),
        ({"actionName": "A", "userId": "u"}, "A", "u", None),
        ({"action_name": "A", "request": None, "company_id": "c"}, "A", "c", None),
        ({"action_name": "A", "request": {}, "user_id": "", "company_id": 5}, "A", "5", None),
        ({"action_name": "A", "request": {"time": "", "uri": None}}, "A", None, None),
    ],
)
def test_an_action_has_its_name_its_user_and_its_time_or_the_time_of_receipt(
    moesif, action, type, subject, time
):
    assert 201 == moesif.post("/v1/actions", action).status
    [event] = moesif.events()

    assert ("action", type, subject) == (event["kind"], event["type"], event.get("subject"))
    assert (time or event["receivedat"]) == event["time"]
    assert action == event["data"]


@pytest.mark.parametrize(
    "action", [{}, {"action_name": ""}, {"action_name": None}, {"request": {}}]
)
def test_an_action_needs_a_name(moesif, action):
    assert ["action_name"] == [
        error["path"] for error in (moesif.post("/v1/actions", action)).json["errors"]
    ]


@pytest.mark.parametrize("path", sorted(PROFILES))
def test_every_update_of_a_profile_is_one_record_and_unchanged(moesif, path):
    kind, update, subject = PROFILES[path]
    dated = {**update, "modified_time": "2026-11-21T03:47:47.381621+00:00"}
    moesif.post(path, update)
    moesif.post(f"{path}/batch", [update, dated, {**update, "modified_time": "?"}])
    events = moesif.events()

    assert [(kind, kind, subject)] * 4 == [(e["kind"], e["type"], e["subject"]) for e in events]
    assert [update, update, dated] == [event["data"] for event in events[:3]]
    assert "2026-11-21T03:47:47.381621Z" == events[2]["time"]
    assert events[3]["receivedat"] == events[3]["time"]


@pytest.mark.parametrize("path", sorted(PROFILES))
@pytest.mark.parametrize("update", [{}, {"user_id": None, "company_id": "", "metadata": {}}, []])
def test_a_profile_without_its_id_is_refused(moesif, path, update):
    assert 400 == moesif.post(path, update).status


def test_an_anonymous_user_is_identified_by_the_anonymous_id(moesif):
    moesif.post("/v1/users", {"anonymous_id": "a-1", "campaign": {"gclid": "g"}})

    assert ["a-1"] == [event["subject"] for event in moesif.events()]


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "application/json", "x", ""])
async def test_the_content_type_does_not_matter(gateway, content_type):
    sent = {"Content-Type": content_type}

    assert 201 == (await gateway.moesif("/v1/events", CALL, **sent)).status


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_compressed_events_are_stored_as_text(gateway, pack):
    coding = {"Content-Encoding": "gzip" if pack is gzip.compress else "deflate"}
    await gateway.moesif("/v1/events", pack(json.dumps(CALL).encode()), **coding)

    assert [CALL] == [event["data"] for event in await gateway.events()]
