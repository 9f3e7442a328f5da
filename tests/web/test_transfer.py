"""Transfer: chunks, 100-continue, slow and lost clients, many requests on one connection."""

import asyncio
import gzip
import json

import pytest

from tests.dialects import CONTRACTS, READING, REGISTERED
from tests.web.sockets import chunked, connected, head, start, upload

BATCH = json.dumps([READING]).encode()
EVERY_DIALECT = pytest.mark.parametrize("dialect", REGISTERED)
CHUNKED = "Transfer-Encoding: chunked"
CONTINUE = "Expect: 100-continue"
JSON = "Content-Type: application/json"


def batch(name: str) -> bytes:
    return json.dumps([{**READING, "id": name}]).encode()


async def ids(gateway):
    return [event["data"]["id"] for event in await gateway.events(kind="event")]


@EVERY_DIALECT
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_body_may_come_in_chunks(gateway, dialect, size):
    client = CONTRACTS[dialect]
    body = client.body.encode()
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    async with connected(gateway) as line:
        await line.say(start(CHUNKED, JSON, dialect=dialect), chunked(*pieces))

        assert client.success == (await line.hear()).status
    assert 1 == len(await gateway.events())


async def test_a_compressed_body_may_come_in_chunks(gateway):
    async with connected(gateway) as line:
        body = gzip.compress(BATCH)
        await line.say(start(CHUNKED, "Content-Encoding: gzip"), chunked(body[:9], body[9:]))

        assert 202 == (await line.hear()).status


async def test_a_body_of_chunks_that_is_all_there_is_refused_beyond_the_limit(running):
    body = BATCH + b" " * 1000
    limit = {"logspace": {"max_body": len(body) - 1}}
    async with running(limit) as gateway, connected(gateway) as line:
        for sent, status in ((body, 413), (body[:-1], 202)):
            await line.say(start(CHUNKED, JSON) + chunked(sent))
            assert status == (await line.hear()).status


async def test_a_body_of_chunks_without_end_is_refused_at_the_limit(running):
    async with running({"logspace": {"max_body": 1000}}) as gateway, connected(gateway) as line:
        await line.say(start(CHUNKED), *(b"100\r\n" + b" " * 256 + b"\r\n" for _ in range(20)))

        assert 413 == (await line.hear()).status


@pytest.mark.parametrize("wrong", [b"zz\r\n[]\r\n0\r\n\r\n", b"-1\r\n", b"2\r\n[]x\r\n0\r\n\r\n"])
async def test_broken_chunks_are_400(gateway, wrong):
    async with connected(gateway) as line:
        await line.say(start(CHUNKED), wrong)

        assert 400 == (await line.hear()).status
    assert [] == await gateway.events()


async def test_chunks_that_become_malformed_while_they_are_read_are_400_at_once(gateway):
    async with connected(gateway) as line:
        await line.say(start(CHUNKED, CONTINUE))
        assert 100 == (await line.hear()).status
        await line.say(b"2\r\n[{\r\nzz\r\n")

        assert 400 == (await line.hear()).status
        assert await line.ended()
    assert [] == await gateway.events()


async def test_a_body_with_a_too_large_content_length_is_refused_before_it_is_sent(running):
    async with running({"logspace": {"max_body": 1000}}) as gateway, connected(gateway) as line:
        await line.say(start("Content-Length: 1001"))

        assert (413, "BODY_TOO_LARGE") == ((heard := await line.hear()).status, heard.json["type"])


@EVERY_DIALECT
async def test_expect_100_continue_is_answered_before_the_body(gateway, dialect):
    client = CONTRACTS[dialect]
    body = client.body.encode()
    async with connected(gateway) as line:
        await line.say(start(f"Content-Length: {len(body)}", CONTINUE, JSON, dialect=dialect))
        assert 100 == (await line.hear()).status
        await line.say(body)
        assert client.success == (await line.hear()).status


@EVERY_DIALECT
async def test_a_request_refused_by_its_head_gets_no_100_continue(gateway, dialect):
    client = CONTRACTS[dialect]
    async with connected(gateway) as line:
        await line.say(head(client.method, client.path, "Content-Length: 9", CONTINUE))

        assert client.unauthorized == (await line.hear()).status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Content-Length: 999999999"], 413),
        (["Content-Length: 9", "Content-Encoding: compress"], 415),
    ],
)
async def test_a_request_refused_by_its_length_gets_no_100_continue(gateway, headers, status):
    async with connected(gateway) as line:
        await line.say(start(*headers, CONTINUE))

        assert status == (await line.hear()).status


async def test_expect_100_continue_works_for_chunks_and_repeatedly(gateway):
    async with connected(gateway) as line:
        for name in ("1", "2"):
            await line.say(start(CHUNKED, CONTINUE))
            assert 100 == (await line.hear()).status
            await line.say(chunked(batch(name)))
            assert 202 == (await line.hear()).status
    assert ["1", "2"] == await ids(gateway)


async def test_an_unsupported_expectation_is_417(gateway):
    async with connected(gateway) as line:
        await line.say(start("Content-Length: 9", "Expect: a miracle"))

        assert 417 == (await line.hear()).status


@EVERY_DIALECT
async def test_a_body_that_does_not_arrive_in_time_is_refused_in_the_dialects_words(
    running, dialect
):
    async with running({"server": {"body_timeout": 1}}) as gateway, connected(gateway) as line:
        await line.say(start("Content-Length: 100", JSON, dialect=dialect), b"[")
        heard = await line.hear()

    assert CONTRACTS[dialect].slow == heard.status
    assert CONTRACTS[dialect].error <= set(heard.json)


async def test_a_client_that_disconnects_leaves_no_event(gateway):
    async with connected(gateway) as line:
        await line.say(start("Content-Length: 1000"), BATCH)
    for _ in range(2):
        assert 202 == (await gateway.logspace(BATCH)).status
    assert [READING["id"]] == await ids(gateway)


async def test_one_connection_serves_one_request_after_another(gateway):
    async with connected(gateway) as line:
        for name in "abc":
            await line.say(upload(batch(name)))
            assert 202 == (await line.hear()).status
    assert list("abc") == await ids(gateway)


async def test_a_connection_survives_a_refusal(gateway):
    refused = [
        (head("GET", "/events"), 405),
        (head("GET", "/v1/nowhere"), 404),
        (head("GET", "/"), 404),
        (head("PUT", "/events", "Content-Length: 2") + b"[]", 403),
        (upload(b"garbage"), 400),
        (upload(b"garbage", "Content-Encoding: gzip"), 400),
        (upload(b"garbage", "Content-Encoding: compress"), 415),
        (upload(b"{}", "Content-Type: text/plain", dialect="device"), 415),
        (upload(BATCH, "Upgrade: websocket", "Connection: Upgrade"), 202),
    ]
    async with connected(gateway) as line:
        for request, status in refused:
            await line.say(request)
            assert status == (await line.hear()).status
        await line.say(upload(batch("last")))
        assert 202 == (await line.hear()).status
    assert "last" in await ids(gateway)


async def test_pipelined_requests_are_answered_in_their_order(gateway):
    requests = [
        (upload(batch("1")), 202),
        (upload(b"garbage"), 400),
        (head("HEAD", "/events"), 405),
        (start(CHUNKED) + chunked(batch("2")), 202),
        (head("OPTIONS", "/v1/events"), 204),
        (upload(batch("3")), 202),
        (head("GET", "/nowhere"), 404),
    ]
    async with connected(gateway) as line:
        await line.say(*(request for request, _ in requests))
        answers = [
            (await line.hear(bodiless=request.startswith(b"HEAD"))).status
            for request, _ in requests
        ]

    assert [status for _, status in requests] == answers
    assert ["1", "2", "3"] == await ids(gateway)


async def test_a_request_may_arrive_byte_by_byte(gateway):
    async with connected(gateway) as line:
        for at in range(len(request := upload(BATCH))):
            await line.say(request[at : at + 1])
            await asyncio.sleep(0)

        assert 202 == (await line.hear()).status


@pytest.mark.parametrize(
    ("version", "header", "stays"),
    [
        ("1.1", "X-Nothing: 1", True),
        ("1.1", "Connection: close", False),
        ("1.0", "X-Nothing: 1", False),
        ("1.0", "Connection: keep-alive", True),
    ],
)
async def test_a_connection_stays_open_as_the_client_asks(gateway, version, header, stays):
    async with connected(gateway) as line:
        await line.say(upload(BATCH, header, version=version))
        heard = await line.hear()
        assert 202 == heard.status
        if stays:
            await line.say(upload(batch("more"), header, version=version))
            assert 202 == (await line.hear()).status
        else:
            assert "close" == heard.headers.get("connection", "close")
            assert await line.ended()


@pytest.mark.parametrize(
    "lengths",
    [
        ["Content-Length: 2", "Content-Length: 3"],
        ["Content-Length: -1"],
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip"],
    ],
)
async def test_ambiguous_lengths_are_refused_by_the_parser(gateway, lengths):
    async with connected(gateway) as line:
        await line.say(start(*lengths), b"[]\r\n0\r\n\r\n")

        assert 400 == (await line.hear()).status
        assert await line.ended()


@EVERY_DIALECT
async def test_a_credential_that_is_not_utf8_is_unknown(gateway, dialect):
    client = CONTRACTS[dialect]
    [name] = client.credential
    async with connected(gateway) as line:
        await line.say(
            head(client.method, client.path, f"{name}: \xff\xfe", "Content-Length: 2"), b"[]"
        )
        heard = await line.hear()

    assert client.unauthorized == heard.status
    assert heard.json


async def test_every_answer_has_a_unique_request_id(gateway):
    async with connected(gateway) as line:
        await line.say(upload(BATCH), upload(BATCH), head("GET", "/nowhere"))
        found = {(await line.hear()).headers["x-request-id"] for _ in range(3)}

    assert 3 == len(found)
