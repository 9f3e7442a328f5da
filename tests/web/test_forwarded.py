"""Addresses of clients behind proxies."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.web.forwarded import TrustedProxies
from tests.adapters.test_logspace import reading

PEER = "10.0.0.9"
NETWORKS = [ipaddress.ip_network(one) for one in ("10.0.0.0/8", "2001:db8::/32")]


def client(header: str, *values: str, peer: str = PEER) -> str:
    return TrustedProxies(NETWORKS, header).client(peer, {header: values}.__getitem__)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::1", True),
        ("11.1.2.3", False),
        ("::1", False),
        ("", False),
        ("unix", False),
    ],
)
def test_a_peer_is_trusted_if_its_address_is_in_a_configured_network(peer, trusted):
    assert trusted is TrustedProxies(NETWORKS, "Forwarded").trust(peer)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.0.0.1, 10.0.0.2"], "203.0.113.7"),
        (["6.6.6.6, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (["6.6.6.6", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        (["6.6.6.6 , 203.0.113.7:4711"], "203.0.113.7"),
        (["2001:DB9::1"], "2001:db9::1"),
        (["[2001:db9::1]:443"], "2001:db9::1"),
        (["[2001:db9::1]"], "2001:db9::1"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.7, "], PEER),
        (["\x00'; DROP"], PEER),
        ([""], PEER),
        ([], PEER),
    ],
)
def test_the_rightmost_address_that_is_no_proxy_is_the_client(values, expected):
    assert expected == client("X-Forwarded-For", *values)


def test_no_more_than_32_proxies_are_read_of_a_request():
    proxies = ", ".join(f"10.0.0.{n}" for n in range(100))

    assert "10.0.0.68" == client("X-Forwarded-For", f"203.0.113.7, {proxies}")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["for=203.0.113.7"], "203.0.113.7"),
        (['for="[2001:db9::1]:4711"'], "2001:db9::1"),
        (["For=203.0.113.7; proto=https;by=10.0.0.1"], "203.0.113.7"),
        (["proto=https;for=203.0.113.7"], "203.0.113.7"),
        (["for=6.6.6.6, for=203.0.113.7, for=10.0.0.2"], "203.0.113.7"),
        (['for=203.0.113.7;host="a, for=6.6.6.6"'], "203.0.113.7"),
        (["for=203.0.113.7", "for=10.0.0.2"], "203.0.113.7"),
        (["for=203.0.113.7, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
        (["for=203.0.113.7, proto=https"], PEER),
        (["therefor=203.0.113.7"], PEER),
        (["203.0.113.7"], PEER),
        ([], PEER),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(values, expected):
    assert expected == client("Forwarded", *values)


def test_of_thousands_of_addresses_only_the_last_are_read():
    assert "10.0.0.1" == client("X-Forwarded-For", ",".join(["10.0.0.1"] * 100_000))


@given(
    st.sampled_from(["X-Forwarded-For", "Forwarded"]),
    st.lists(st.text() | st.from_regex(r'(for="?[0-9.:\[\]]*"?[,; ]?)*', fullmatch=True)),
)
def test_whatever_the_header_holds_the_client_is_an_address(header, values):
    ipaddress.ip_address(client(header, *values))


async def test_the_client_of_a_trusted_proxy_is_stored_and_logged(running):
    server = {"trusted_proxies": ["127.0.0.0/8"]}
    async with running({"server": server}) as gateway:
        with capture_logs() as lines:
            await gateway.logspace([reading()], **{"X-Forwarded-For": "6.6.6.6, 203.0.113.7"})
            await gateway.logspace([reading(id="2")])
        stored = [one["clientaddress"] for one in await gateway.events()]

    assert ["203.0.113.7", "127.0.0.1"] == stored
    assert stored == [one["client"] for one in lines if one["event"] == "request_answered"]


async def test_a_client_that_is_no_trusted_proxy_cannot_choose_its_address(gateway):
    await gateway.logspace(
        [reading()], **{"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
    )

    assert ["127.0.0.1"] == [one["clientaddress"] for one in await gateway.events()]


async def test_only_the_header_that_is_configured_is_read(running):
    server = {"trusted_proxies": ["127.0.0.1"], "forwarded_header": "Forwarded"}
    async with running({"server": server}) as gateway:
        both = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=203.0.113.7"}
        await gateway.logspace([reading()], **both)

        assert ["203.0.113.7"] == [one["clientaddress"] for one in await gateway.events()]
