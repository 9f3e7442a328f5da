"""The tenant/device endpoint: its test vectors, by their numbers, and what they leave open."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from tests.adapters.direct import DirectDevice
from tests.adapters.reports import KEY, MISSING, E, altered, assert_error, events, stored
from tests.records import NOW
from tests.system.wire import locked


def pages_example():
    return b"""{
    typeId: 0045,
    description: ,
    appKey: "IPSO-SFHWREG-ASDEGFE-SDGACXV-BSDF",
    severity: 3,
    data: {
            source:"Software",
            version:2.5,
            active:true
    },
    timestamp: 1440014969567
}"""


def test_1_an_event_is_created(device):
    answer = device.post(E)

    assert (201, {}) == (answer.status, answer.json)
    assert "Location" not in answer.headers
    assert [E] == stored(device)


def test_2_a_repeat_with_members_reordered_is_a_conflict(device):
    device.post(E)
    shuffled = {**dict(reversed(E.items())), "data": dict(reversed(E["data"].items()))}

    assert_error(device.post(shuffled), 409, 6)
    assert 1 == len(stored(device))


@pytest.mark.parametrize("alias", ["sn-!-ABCDEFGHIJ12", "sn-%21-ABCDEFGHIJ12"])
def test_3_a_serial_number_is_the_same_device(device, alias):
    device.post(E)

    assert_error(device.post(E, device=alias), 409, 6)
    assert 201 == device.post(altered(timestamp=1), device=alias).status
    assert ["D1", "D1"] == [event["subject"] for event in device.events()]


@pytest.mark.parametrize("active", [1, 1.0, "true", None, [True]])
def test_4_a_value_of_another_type_is_another_event(device, active):
    device.post(E)

    assert 201 == device.post(altered(data={**E["data"], "active": active})).status


def test_5_the_same_number_in_another_notation_is_a_conflict(device):
    device.post(E)
    text = json.dumps(E).encode().replace(b"2.5", b"2.50")

    assert_error(device.post(text), 409, 6)


@pytest.mark.parametrize(
    "change",
    [
        {"severity": 4},
        {"description": "x"},
        {"appId": "x"},
        {"typeId": "45"},
        {"timestamp": 1440014969568},
        {"data": {}},
    ],
)
def test_6_a_change_in_any_field_is_another_event(device, change):
    device.post(E)

    assert 201 == device.post(altered(**change)).status


def test_7_the_same_event_of_another_device_is_another_event(device):
    device.post(E)

    assert 201 == device.post(E, device="D3").status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Moki-TenantAPIToken": ""},
        {"X-Moki-TenantAPIToken": "unknown"},
        {"X-Moki-TenantAPIToken": "k1"},
        {"X-Moki-TenantAPIToken": "", "X-API-Key": "K1"},
        {"x-moki-AppKey": "K1"},
        {"Authorization": "Basic K1"},
        {"Authorization": "Bearer"},
        [("X-Moki-TenantAPIToken", "K1"), ("x-moki-tenantapitoken", "K2")],
    ],
)
def test_8_without_a_known_key_it_is_401(device, headers):
    answer = device.send("POST", "/rest/v1/api/tenants/T1/devices/D1/events", E, headers)

    assert_error(answer, 401, 0)
    assert 'ApiKey realm="events"' == answer.headers["WWW-Authenticate"]
    assert answer.json["message"].startswith("Invalid license")


def test_9_a_key_of_another_tenant_is_403(device):
    assert_error(device.post(E, tenant="T2", device="D2"), 403, 0)


@pytest.mark.parametrize(("hide", "status", "error"), [(False, 404, 4), (True, 403, 0)])
def test_10_an_unknown_tenant_is_404_unless_tenants_are_hidden(hide, status, error):
    device = DirectDevice(hide_foreign_tenants=hide)
    for tenant in ("unknown", "t1", "T1%20", "%ff", "%00", "T%2F1", ""):
        assert_error(device.post(E, tenant=tenant), status, error)


@pytest.mark.parametrize(
    "name", ["nope", "D2", "d1", "D1%20", "%FF", "D%2F1", "", "sn-!-x", "D1%00", "sn-!-D1", ".."]
)
@pytest.mark.parametrize("body", [E, b"garbage"])
def test_11_and_12_an_unknown_device_is_404_whatever_the_body(device, name, body):
    assert_error(device.post(body, device=name), 404, 5)
    assert [] == device.events()


async def test_13_the_key_is_checked_before_tenant_and_body(gateway):
    path = "/rest/v1/api/tenants/unknown/devices/nope/events"

    assert_error(await gateway.send("POST", path, b"garbage"), 401, 0)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_14_any_method_but_post_is_405_before_everything_else(gateway, method):
    path = "/rest/v1/api/tenants/unknown/devices/nope/events"
    answer = await gateway.send(method, path, headers={"X-HTTP-Method-Override": "POST"})

    assert_error(answer, 405, 6)
    assert "POST" == answer.headers["Allow"]


def test_15_the_literal_example_of_the_page_is_not_json(device):
    assert_error(device.post(pages_example()), 400, 6)


def test_18_an_app_key_is_recorded_as_app_id(device):
    answer = device.post(altered(appId=MISSING, appKey=E["appId"]))

    assert 201 == answer.status
    assert [E] == stored(device)
    assert_error(device.post(E), 409, 6)


def test_18_an_app_key_is_not_stored_if_there_is_an_app_id(device):
    assert 201 == device.post({"appKey": "secret", **E}).status
    assert [E] == stored(device)


async def test_18_an_app_key_is_refused_if_configured(running):
    async with running({"device": {"accept_app_key": False}}) as gateway:
        answer = await gateway.device(altered(appId=MISSING, appKey="secret"))
        [kept] = await gateway.events()

        assert_error(answer, 400, 6)
        assert "appId" in answer.json["message"]
        assert "secret" not in json.dumps(kept) + str(answer.body)


def test_18_an_app_key_is_recognized_with_escapes_in_its_name(device):
    body = json.dumps(E).encode()[:-1] + rb',"\u0061pp\u004bey":"secret"}'

    assert 201 == device.post(body).status
    assert [E] == stored(device)


@pytest.mark.parametrize(
    "body",
    [
        b'{"appKey":"secret"',
        b'{appKey: secret, x: "y"}',
        b'{"appKey":"a\\"secret"}',
        b'{"appKey":["a","secret"]}',
        b'{"appKey":{"a":1,"b":"secret"}}',
        rb'{"app\u004Bey":"secret","x":NaN}',
    ],
)
async def test_18_an_app_key_is_masked_in_the_quarantine(gateway, body):
    assert_error(await gateway.device(body), 400, 6)
    [kept] = await gateway.events()

    assert "secret" not in json.dumps(kept)


DUMPED = json.dumps(E).encode()
DEEP = b'{"a":' * 64 + b"1" + b"}" * 64


@pytest.mark.parametrize(
    "body",
    [
        b"[" + DUMPED + b"]",
        b"",
        b" ",
        DUMPED.replace(b"2.5", b"NaN"),
        DUMPED.replace(b"2.5", b"-Infinity"),
        DUMPED.replace(b"2.5", b"1e400"),
        DUMPED.replace(b"2.5", b"9" * 5000),
        DUMPED.replace(b"2.5", DEEP),
        DUMPED.replace(b"2.5", b"[" * 5000 + b"]" * 5000),
        DUMPED.replace(b"2.5", rb'"\ud800"'),
        DUMPED.replace(b"source", rb"\ud800"),
        DUMPED.replace(b"Software", b"\xff"),
        DUMPED + b"{}",
        DUMPED[:-1],
        DUMPED.decode().encode("utf-16"),
        DUMPED.decode().encode("utf-16-le"),
        b"null",
        b'"x"',
        rb'{"\ud800":1}',
    ],
)
def test_23_a_body_that_is_not_a_json_object_is_400(device, body):
    assert_error(device.post(body), 400, 6)
    assert [] == stored(device)


def test_23_the_last_of_duplicate_members_counts(device):
    twice = b'{"severity":9,' + DUMPED[1:-1] + b',"severity":5}'

    assert 201 == device.post(twice).status
    assert [5] == [event["severity"] for event in stored(device)]


@pytest.mark.parametrize(
    ("ending", "status"), [("/", 201), ("/?a=b", 201), ("//", 404), ("/x", 404)]
)
def test_24_a_trailing_slash_makes_no_difference(device, ending, status):
    path = f"/rest/v1/api/tenants/T1/devices/D1/events{ending}"

    assert status == device.send("POST", path, E, KEY).status


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 201),
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ('APPLICATION/JSON;a=b; Charset="UTF-8"', 201),
        ("application/vnd.moki+json", 201),
        ("application/json; charset=latin-1", 415),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("text/json", 415),
    ],
)
def test_25_the_media_type_is_json_or_absent(device, content_type, status):
    answer = device.post(E, **{"Content-Type": content_type})

    assert status == answer.status
    if status == 415:
        assert_error(answer, 415, 6)
        assert "application/json" in answer.json["message"]


async def test_26_fifty_concurrent_copies_create_one_event(gateway):
    answers = await asyncio.gather(*(gateway.device(E) for _ in range(50)))

    assert [201] + [409] * 49 == sorted(answer.status for answer in answers)
    assert [E] == await events(gateway)


async def test_27_while_the_store_is_down_events_are_queued_or_else_refused(running, tmp_path):
    async with running() as gateway:
        with locked(tmp_path / "events.db"):
            queued = await gateway.device(E)
            assert (202, {}) == (queued.status, queued.json)
            assert_error(await gateway.device(E), 409, 6)
            with locked(tmp_path / "spool.db"):
                answer = await gateway.device(altered(severity=1))
                assert_error(answer, 503, -1)
                assert int(answer.headers["Retry-After"]) > 0


NOW_MS = NOW // 1000
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("timestamp", "direction"),
    [
        (NOW_MS, None),
        (NOW_MS + 300_000, None),
        (NOW_MS - DAY_MS, None),
        (NOW_MS + 300_001, "ahead"),
        (NOW_MS - DAY_MS - 1, "behind"),
        (NOW_MS // 1000, "seconds"),
        (0, "seconds"),
    ],
)
def test_an_event_with_a_clock_far_off_is_stored_and_counted(device, timestamp, direction):
    with capture_logs() as lines:
        assert 201 == device.post(altered(timestamp=timestamp)).status

    assert [timestamp] == [one["timestamp"] for one in stored(device)]
    counts = device.adapter.skewed()
    assert ({("T1", direction): 1} if direction else {}) == counts
    told = [(line["event"], line["device"], line["direction"]) for line in lines]
    assert ([("device_clock_skewed", "D1", direction)] if direction else []) == told


def test_a_device_with_a_clock_far_off_is_named_once_a_minute_and_counted_always(device):
    with capture_logs() as lines:
        for at in range(3):
            device.post(altered(timestamp=at))

    assert {("T1", "seconds"): 3} == device.adapter.skewed()
    assert ["device_clock_skewed"] == [line["event"] for line in lines]
