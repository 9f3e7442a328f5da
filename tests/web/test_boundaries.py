"""A repeated User-Agent and an offered Upgrade are renamed; all other bytes arrive as sent."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.boundaries import Boundaries
from tests.web.sockets import chunked, head

AGENT = "User-Agent: java-http\r\nuser-agent: moesifapi-java"
BODY = b"PUT / HTTP/1.1\r\nUser-Agent: a\r\nUser-Agent: b\r\nUpgrade: x\r\n\r\n"

PLAIN = head("GET", "/health/probe")
ONE_AGENT = head("GET", "/", "User-Agent: only")
TWO_AGENTS = head("GET", "/", AGENT)
LENGTH = head("PUT", "/", AGENT, f"content-LENGTH:  {len(BODY)} ") + BODY
CHUNKS = head("PUT", "/", AGENT, "Transfer-Encoding: Chunked") + chunked(BODY, b"x", BODY)
# Two requests with the same head but for the length, as a client sends them again and again.
USUAL, SHORTER = (
    head("PUT", "/", f"Content-Length: {len(body)}", "User-Agent: only") + body
    for body in (BODY, BODY[17:])
)
EMPTY = head("PUT", "/", "Content-Length: 0", AGENT)
UPGRADE = head("GET", "/", "Connection: Upgrade", "UPGRADE: websocket", AGENT)
PADDED = b"\r\n\r\n" + TWO_AGENTS

ALL = [PLAIN, ONE_AGENT, TWO_AGENTS, LENGTH, CHUNKS, USUAL, SHORTER, EMPTY, UPGRADE, PADDED]


def mended(request: bytes) -> bytes:
    """*request* as the parser is to see it."""
    top, end, body = request.lstrip(b"\r\n").partition(b"\r\n\r\n")
    top = top.replace(b"user-agent: moesif", b"X-Repeated: moesif").replace(
        b"UPGRADE:", b"X-Offer:"
    )
    return request[: len(request) - len(request.lstrip(b"\r\n"))] + top + end + body


def fed(stream: bytes, cuts: list[int]) -> tuple[bytes, Boundaries]:
    boundaries = Boundaries()
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges) if a < b]
    return b"".join(part for piece in pieces for part in boundaries.feed(piece)), boundaries


@given(st.data())
def test_only_the_two_names_change_wherever_the_bytes_are_cut(data):
    requests = data.draw(st.lists(st.sampled_from(ALL), min_size=1, max_size=6))
    stream = b"".join(requests)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))

    passed, boundaries = fed(stream, cuts)

    assert b"".join(map(mended, requests)) == passed
    assert len(requests) == boundaries.begun
    assert not (boundaries.lost or boundaries.within_body)


@pytest.mark.parametrize("request_", ALL)
def test_a_request_may_come_byte_by_byte(request_):
    passed, boundaries = fed(request_, list(range(len(request_))))

    assert mended(request_) == passed
    assert 1 == boundaries.begun


@pytest.mark.parametrize("again", [USUAL, SHORTER])
def test_a_head_that_comes_again_may_be_cut_anywhere_and_be_followed_by_another(again):
    stream = USUAL + again + TWO_AGENTS
    for cut in range(len(USUAL), len(stream)):
        passed, boundaries = fed(stream, [len(USUAL), cut])

        assert USUAL + again + mended(TWO_AGENTS) == passed
        assert (3, False) == (boundaries.begun, boundaries.within_body)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_bytes_that_are_no_http_pass_as_they_are(stream, cuts):
    passed, _ = fed(stream, [min(cut, len(stream)) for cut in cuts])

    assert stream.startswith(passed)
    assert len(stream) - len(passed) < len(b"\r\nuser-agent:")


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 9", "Content-Length: 9"],
        ["Content-Length: 9", "Transfer-Encoding: chunked"],
        ["Content-Length: nine"],
        ["Content-Length: " + "9" * 5000],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_head_whose_framing_is_not_plain_is_followed_by_nothing_but_the_bytes_sent(headers, size):
    first = head("PUT", "/", *headers)
    stream = first + TWO_AGENTS + TWO_AGENTS
    passed, boundaries = fed(stream, list(range(0, len(stream), size)))

    assert boundaries.lost
    assert stream == passed


def test_a_head_that_does_not_end_is_not_kept_for_ever():
    stream = head("PUT", "/", "X: " + "x" * 20_000)
    passed, boundaries = fed(stream, list(range(0, len(stream), 1000)))

    assert boundaries.lost
    assert stream == passed


def test_each_request_begins_a_piece():
    assert [mended(one) for one in ALL] == list(Boundaries().feed(b"".join(ALL)))


def test_a_tunnel_is_not_looked_into():
    stream = head("CONNECT", "host:443", "Content-Length: 3") + TWO_AGENTS

    assert stream == fed(stream, [])[0]


@pytest.mark.parametrize(
    "wrong",
    [b"zz\r\n", b"z", b"-1\r\n", b"\r\n", b"2\r\n[]x", b"2\r\n[]x\r\n", b"1\n", b"2;\r\n[]\n"],
)
def test_malformed_chunks_are_noticed_as_soon_as_they_are_there(wrong):
    stream = head("PUT", "/", "Transfer-Encoding: chunked")
    passed, boundaries = fed(stream + wrong, [len(stream)])

    assert stream + wrong == passed
    assert boundaries.broken


@pytest.mark.parametrize(
    "right", [b"2;a=b\r\n[]\r\n0\r\n", b"0\r\nUser-Agent: x\r\nX: y\r\n", b"000\r\n"]
)
def test_extensions_and_trailers_of_chunks_are_followed(right):
    stream = head("PUT", "/", "Transfer-Encoding: chunked") + right + b"\r\n" + TWO_AGENTS
    for cut in range(len(stream)):
        passed, boundaries = fed(stream, [cut])
        assert 2 == boundaries.begun
        assert stream[: -len(TWO_AGENTS)] + mended(TWO_AGENTS) == passed


@pytest.mark.parametrize("request_", [PLAIN, ONE_AGENT, CHUNKS])
def test_one_piece_of_very_many_requests_is_not_followed_to_its_end(request_):
    stream = request_ * 3000
    passed, boundaries = fed(stream, [])

    assert boundaries.lost
    assert len(stream) == len(passed)
    assert boundaries.begun < 300
