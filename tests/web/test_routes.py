"""Routing: the adapter and parameters of each address, in every spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapter import Document
from gateway.adapters import ADAPTERS
from gateway.checks import dialects
from gateway.config import resolve
from gateway.web.routes import Routes, decode_segment, normal
from tests.conftest import APPLICATION_ID, CONFIG
from tests.dialects import REPORT
from tests.tiny import TinyAdapter
from tests.web.sockets import connected, head, start

SETTINGS = resolve(CONFIG, dialects(ADAPTERS))
ROUTES = Routes([adapter(SETTINGS.dialects[adapter.dialect]) for adapter in ADAPTERS])
DEVICE = "/rest/v1/api/tenants/T1/devices/D1/events"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/events", "/events"),
        ("/events/", "/events"),
        ("/events//", "/events/"),
        ("//events", "/events"),
        ("///events/", "/events"),
        ("/a//b", "/a//b"),
        ("/events?a=/b/", "/events"),
        ("/events#x", "/events"),
        ("/events/?a", "/events"),
        ("/%2Fevents", "/%2Fevents"),
        ("/%65vents", "/%65vents"),
        ("http://host:80/events", "/events"),
        ("http://host//events?x", "/events"),
        ("https://host", "/"),
        ("https://host?x=/events", "/"),
        ("https://host#/events", "/"),
        ("/", "/"),
        ("//", "/"),
        ("*", "/"),
        ("host:443", "/"),
    ],
)
def test_a_request_target_has_one_normal_path(target, expected):
    assert expected == normal(target)


@given(st.text(st.sampled_from("/ae%2F?#:.*")).filter(bool))
def test_a_normal_path_begins_with_one_slash_and_has_no_query(target):
    path = normal(target)

    assert path.startswith("/")
    assert not path.startswith("//")
    assert not set("?#") & set(path)


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ("D1", "D1"),
        ("sn-%21-X", "sn-!-X"),
        ("sn-!-X", "sn-!-X"),
        ("%C3%A9", "é"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("%2525", "%25"),
        ("%2e%2e", ".."),
    ],
)
def test_a_segment_is_decoded_once(segment, expected):
    assert expected == decode_segment(segment)


@pytest.mark.parametrize(
    "segment",
    ["", "%2F", "a%2fb", "%00", "a%0A", "%7F", "%C2%85", "%ff", "%C3", "%ED%A0%80", "%E2%80%A8"],
)
def test_a_segment_that_is_not_a_valid_id_is_empty(segment):
    assert "" == decode_segment(segment)


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/events", "moesif"),
        ("/collector/v1/events/batch", "moesif"),
        ("/moesifapi/events", "moesif"),
        ("/events", "logspace"),
        ("/api/events", "logspace"),
        (DEVICE, "device"),
    ],
)
def test_an_address_belongs_to_one_dialect(path, dialect):
    found = ROUTES.find(path)

    assert found is not None
    assert dialect == found.adapter.dialect


@pytest.mark.parametrize(
    "path",
    [
        "/V1/events",
        "/v1%2Fevents",
        "/v1/event%73",
        "/v1/events/batch/x",
        "/Events",
        "/rest/v1/api/tenants/T1/devices/D1",
        "/rest/v1/api/tenants/T1/devices/D1/x/events",
        "/rest/v1/api/tenants/T1/devices/D1/Events",
        "/rest/v1/api/tenants%2FT1/devices/D1/events",
        "/",
        "",
    ],
)
def test_an_address_in_another_spelling_is_unknown(path):
    assert ROUTES.find(path) is None


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("T1/devices/D1", {"tenant": "T1", "device": "D1"}),
        ("a%20b/devices/sn-%21-X", {"tenant": "a b", "device": "sn-!-X"}),
        ("%ff/devices/D%2F1", {"tenant": "", "device": ""}),
        ("/devices/", {"tenant": "", "device": ""}),
    ],
)
def test_the_parameters_of_an_address_are_its_decoded_segments(path, params):
    found = ROUTES.find(f"/rest/v1/api/tenants/{path}/events")

    assert found is not None
    assert params == found.params


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/nowhere", "moesif"),
        ("/v1", "moesif"),
        ("/health/x", "moesif"),
        ("/eventsx", "logspace"),
        ("/api", "logspace"),
        ("/rest", "device"),
        ("/rest/v2", "device"),
    ],
)
def test_an_unknown_address_belongs_to_the_adapter_of_its_prefix(path, dialect):
    owner = ROUTES.owner(path)

    assert owner is not None
    assert dialect == owner.dialect


@pytest.mark.parametrize("path", ["/", "/v2/events", "/v11", "/restful", "/metrics", "/livez"])
def test_an_address_without_a_known_prefix_has_no_owner(path):
    assert ROUTES.owner(path) is None


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        ("http://anywhere/events", 202, None),
        ("http://anywhere:81//events/?x", 202, None),
        ("/events?x=%ff#y", 202, None),
        ("/%65vents", 404, "title"),
        ("/events%2F", 404, "type"),
        ("/events;a=1", 404, "type"),
        ("/api/%ff", 404, "type"),
        ("/rest/%00", 404, "error"),
        ("http://anywhere", 404, "title"),
        ("/..", 404, "title"),
        ("/../events", 404, "title"),
        ("/v1/../events", 404, "title"),
        ("/" + "x" * 4000, 404, "title"),
    ],
)
async def test_any_target_is_routed_or_refused_in_the_right_dialect(shared, target, status, words):
    request = start("Content-Length: 2").replace(b" /events ", f" {target} ".encode())
    async with connected(shared) as line:
        await line.say(request, b"[]")
        heard = await line.hear()

    assert status == heard.status
    assert words is None or words in heard.json


@pytest.mark.parametrize("path", ["/", "/nowhere", "/metrics", "/livez", "/readyz", "/favicon.ico"])
async def test_the_public_listener_serves_only_the_dialects(shared, path):
    answer = await shared.send("GET", path)

    assert (404, "application/problem+json") == (answer.status, answer.headers["Content-Type"])


@pytest.mark.parametrize(
    "target",
    [DEVICE, "/events", "/v1/events", "/nowhere", "/v1/nowhere", "/health/probe", "/v1/config"],
)
async def test_a_head_request_gets_what_get_gives_without_the_body(shared, target):
    key = f"X-Moesif-Application-Id: {APPLICATION_ID}"
    async with connected(shared) as line:
        await line.say(head("HEAD", target, key), head("GET", target, key))
        only_head, whole = await line.hear(bodiless=True), await line.hear()

    assert whole.status == only_head.status
    assert str(len(whole.body)) == only_head.headers["content-length"]


@pytest.mark.parametrize("device", ["D1", "D%31", "%44%31"])
async def test_a_device_id_may_be_percent_encoded(shared, device):
    await shared.device(REPORT)

    assert 409 == (await shared.device(REPORT, device=device)).status


def adapter(name, *addresses, prefixes=()):
    """An adapter of the dialect *name* with an endpoint for each of *addresses*."""
    endpoints = [Document((path,), (method,), None) for method, path in map(str.split, addresses)]
    members = {"dialect": name, "prefixes": prefixes, "endpoints": endpoints}
    return type("Made", (TinyAdapter,), members)(None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("POST /a", "POST /a"),
        ("POST /a", "PUT /a"),
        ("POST /a/{x}", "POST /a/{x}"),
        ("POST /a/{x}", "POST /a/{y}"),
        ("POST /a/{x}", "POST /a/b"),
        ("POST /a/b", "PUT /a/{x}"),
        ("POST /{x}/b", "POST /a/{y}"),
        ("POST /a/{x}/c", "POST /{y}/b/{z}"),
    ],
)
def test_addresses_of_two_dialects_that_overlap_stop_the_start(one, other):
    with pytest.raises(ValueError, match="overlap") as error:
        Routes([adapter("first", one), adapter("second", other)])
    text = str(error.value)

    assert all(part in text for part in ("'first'", "'second'", one.split()[1], other.split()[1]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("POST /a", "POST /b"),
        ("POST /a", "POST /a/{x}"),
        ("POST /a/{x}", "POST /b/{x}"),
        ("POST /a/{x}/b", "POST /a/{x}/c"),
        ("POST /a/{x}", "POST /a/{x}/{y}"),
    ],
)
def test_addresses_that_no_path_shares_are_kept_apart(one, other):
    routes = Routes([adapter("first", one), adapter("second", other)])

    for name, address in (("first", one), ("second", other)):
        found = routes.find(address.split()[1].replace("{", "").replace("}", ""))
        assert name == found.adapter.dialect


def test_two_endpoints_of_a_dialect_share_an_address_but_no_method():
    found = Routes([adapter("first", "GET /a", "PUT /a")]).find("/a")

    assert {"GET", "HEAD", "PUT"} == set(found.methods)
    with pytest.raises(ValueError, match="'first' has two endpoints for GET /a"):
        Routes([adapter("first", "GET /a", "PUT /a", "GET /a")])


@pytest.mark.parametrize("path", ["a", "/a/", "//a", "/a?b", "/a{b}", "/a/{b}c", "/a/{b", "/a/{}"])
def test_an_address_that_no_request_can_have_stops_the_start(path):
    with pytest.raises(ValueError, match="the dialect 'first'") as error:
        Routes([adapter("first", f"POST {path}")])

    assert path in str(error.value)


def test_an_unknown_address_belongs_to_the_longest_prefix():
    short = adapter("short", prefixes=("/v1/", "/v2/logs/"))
    long = adapter("long", prefixes=("/v1/logs", "/v2/"))
    for adapters in ([short, long], [long, short]):
        routes = Routes(adapters)
        owners = [routes.owner(path) for path in ("/v1/x", "/v1/logs/x", "/v2/logs/x", "/v2/x")]

        assert [short, long, short, long] == owners
        assert routes.owner("/v3") is None


def test_two_dialects_that_claim_a_prefix_or_a_name_stop_the_start():
    with pytest.raises(ValueError, match="'first' and 'second' both claim the prefix /v1/"):
        Routes([adapter("first", prefixes=["/v1/"]), adapter("second", prefixes=["/v1/"])])
    with pytest.raises(ValueError, match="Two adapters have the dialect 'first'"):
        Routes([adapter("first"), adapter("first")])
