"""How connections live and end: queues, clients that do not read, resets, idle ones."""

import asyncio
import contextlib
import json
import socket
import struct
import time
from email.utils import parsedate_to_datetime

import pytest

from tests.conftest import APPLICATION_ID
from tests.web.sockets import chunked, connected, dial, head, upload

PROBE = head("GET", "/health/probe")
# Its answer is long: the credential stands in it.
LONG = head("PUT", "/events", f"logspace.space-token: {'x' * 8000}")
SECRET = "s3cr3t-credential"


def flood(line: socket.socket, seconds: float) -> int:
    """Ask and read nothing, until nothing is taken for *seconds*; return the bytes taken."""
    line.setblocking(False)
    block, sent, stuck_since = LONG * 20, 0, time.monotonic()
    while time.monotonic() - stuck_since < seconds and sent < 60_000_000:
        try:
            sent += line.send(block[sent % len(LONG) :])
            stuck_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    return sent


@pytest.mark.parametrize("count", [33, 400])
async def test_every_request_of_a_long_queue_is_answered(gateway, count):
    async with connected(gateway) as line:
        await line.say(upload(b"[]") * count, head("GET", "/nowhere", "Connection: close"))
        answers = [(await line.hear()).status for _ in range(count + 1)]
        assert await line.ended()

    assert [202] * count + [404] == answers


async def test_others_are_answered_while_one_client_never_stops_asking(gateway):
    answered = 0

    async def ask_without_pause(line):
        nonlocal answered
        await line.say(PROBE * 500)
        while True:
            assert 200 == (await line.hear()).status
            answered += 1
            if answered % 100 == 0:
                await line.say(PROBE * 100)

    async with connected(gateway) as greedy, connected(gateway) as other:
        task = asyncio.create_task(ask_without_pause(greedy))
        for _ in range(50):
            await other.say(upload(b"[]"))
            before = answered
            assert 202 == (await other.hear()).status
            assert answered - before < 400
        task.cancel()
    assert answered


async def test_a_client_with_one_request_does_not_wait_for_another_clients_queue(gateway):
    async with connected(gateway) as queueing, connected(gateway) as other:
        await asyncio.gather(queueing.say(PROBE * 400), other.say(PROBE))
        one = (await other.hear()).headers["x-request-id"]
        first = (await queueing.hear()).headers["x-request-id"]

    # Ids are given in the order in which requests are handled.
    assert int(one, 16) - int(first, 16) < 10


def test_a_client_that_does_not_read_is_not_served_without_bound(process):
    process.start()
    with dial(process.url) as line:
        sent = flood(line, 3)

    # What two sockets' buffers hold; answers to it that nobody takes would fill the memory.
    assert sent < 30_000_000
    process.stop()
    assert "Traceback" not in process.log.read_text()


def test_a_client_that_does_not_read_is_closed_after_the_write_timeout(process):
    process.config.write_text(
        process.config.read_text().replace("[server]", "[server]\nwrite_timeout = 1", 1)
    )
    process.start()
    with dial(process.url) as line, pytest.raises(ConnectionError):
        flood(line, 30)
    with dial(process.url) as other:
        other.sendall(PROBE)
        assert other.recv(100).startswith(b"HTTP/1.1 200")
    assert 0 == process.stop()
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert ["127.0.0.1"] == [
        line["client"] for line in lines if line["event"] == "client_not_reading"
    ]


async def test_a_client_that_reads_late_but_in_time_stays_connected(running):
    async with running({"server": {"write_timeout": 3}}) as gateway:
        reader, writer = await asyncio.open_connection(*gateway.gateway.address)
        writer.write(LONG * 1500)
        await asyncio.sleep(0.3)  # by then the gateway waits for the client to read
        for _ in range(1500):
            await reader.readuntil(b"HTTP/1.1 403")
        await asyncio.sleep(3.2)
        writer.write(PROBE)
        await asyncio.wait_for(reader.readuntil(b"HTTP/1.1 200"), 10)
        writer.close()


def test_clients_that_reset_while_they_are_answered_leave_nothing_in_the_log(process):
    process.start()
    for reads in range(20):
        with dial(process.url) as line:
            line.sendall(LONG * 100)
            line.recv(reads * 1000 + 1)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with dial(process.url) as line:
        line.sendall(PROBE)
        assert line.recv(100).startswith(b"HTTP/1.1 200")
    assert 0 == process.stop()
    log = process.log.read_text()
    assert "exception" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    # Of what is not about clients, the credentials of the tests deserve a warning.
    assert {"info"} == {line["level"] for line in lines if line["event"] != "config_doubtful"}


async def test_each_answer_has_the_time_at_which_it_was_given(gateway):
    dates = []
    async with connected(gateway) as line:
        for wait in (0, 1.1):
            await asyncio.sleep(wait)
            earliest = int(time.time())
            await line.say(PROBE)
            given = parsedate_to_datetime((await line.hear()).headers["date"])
            dates.append(given)
            assert earliest <= given.timestamp() <= time.time()

    assert dates[0] < dates[1]


async def test_a_client_of_http_1_0_keeps_its_connection_only_if_it_asks_for_that(gateway):
    async with connected(gateway) as line:
        for _ in range(2):
            await line.say(head("GET", "/health/probe", "Connection: keep-alive", version="1.0"))
            assert "keep-alive" == (await line.hear()).headers["connection"]
        await line.say(head("GET", "/health/probe", version="1.0"))
        assert "close" == (await line.hear()).headers["connection"]
        assert await line.ended()


async def test_an_idle_connection_is_closed_after_the_keepalive_timeout(running):
    async with running({"server": {"keepalive_timeout": 2}}) as gateway:  # noqa: SIM117
        async with connected(gateway) as silent, connected(gateway) as asking:
            for _ in range(6):
                await asking.say(PROBE)
                assert 200 == (await asking.hear()).status
                await asyncio.sleep(0.4)
            assert await asyncio.wait_for(silent.ended(), 5)
            since = time.monotonic()
            assert await asking.ended()
            assert time.monotonic() - since < 10


async def test_all_that_was_asked_before_the_client_closed_its_end_is_answered(gateway):
    reader, writer = await asyncio.open_connection(*gateway.gateway.address)
    writer.write(upload(b"[]") + PROBE + upload(b"no json"))
    writer.write_eof()
    heard = await asyncio.wait_for(reader.read(), 10)

    assert [b"202", b"200", b"400"] == [part[:3] for part in heard.split(b"HTTP/1.1 ")[1:]]
    assert 1 == heard.count(b"Connection: close")
    writer.close()


async def test_what_stands_before_malformed_bytes_is_answered_first(gateway):
    async with connected(gateway) as line:
        await line.say(upload(b"[]"), upload(b"no json"), b"\0\1\2 nothing\r\n\r\n")

        assert [202, 400, 400] == [(await line.hear()).status for _ in range(3)]
        assert await line.ended()


async def test_a_refused_body_is_read_on_so_that_the_next_request_is_understood(gateway):
    body = b" " * 300_000
    async with connected(gateway) as line:
        await line.say(head("PUT", "/events", f"Content-Length: {len(body)}"), body, PROBE)

        assert [403, 200] == [(await line.hear()).status for _ in range(2)]


MALFORMED = {
    "an unknown method": b"FOO /events HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method in lower case": b"post /events HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version from elsewhere": b"GET /events HTTP/9.9\r\n\r\n",
    "a repeated Host": head("PUT", "/events", "Host: other"),
    "two lengths": head("PUT", "/events", "Content-Length: 2", "Content-Length: 3"),
    "a space before a colon": head("PUT", "/events", f"logspace.space-token : {SECRET}"),
    "a control character": head("PUT", "/events", f"logspace.space-token: {SECRET}\1"),
    "a line that is too long": head("PUT", "/events", f"X: {SECRET * 1000}"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECRET.encode(),
}


@pytest.mark.parametrize("wrong", MALFORMED)
async def test_what_the_parser_refuses_is_400_as_json_and_counted(gateway, wrong):
    async with connected(gateway) as line:
        await line.say(MALFORMED[wrong])
        heard = await line.hear()
        assert await line.ended()

    assert (400, "application/problem+json") == (heard.status, heard.headers["content-type"])
    assert {"type", "title", "status"} == set(heard.json)
    assert "gateway" == heard.headers["server"]
    sample = 'gateway_refused_total{dialect="",reason="malformed",tenant=""}'
    assert 1 == await gateway.metric(sample)


def test_malformed_requests_are_logged_with_the_address_and_no_text_of_the_client(process):
    process.start()
    for wrong in MALFORMED.values():
        # A gateway that closes before it has read everything resets the connection.
        with dial(process.url) as line, contextlib.suppress(ConnectionResetError):
            line.sendall(wrong)
            while line.recv(1000):
                pass
    process.stop()
    log = process.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    refused = [line for line in lines if line["event"] == "request_malformed"]

    assert len(MALFORMED) == len(refused)
    assert {("127.0.0.1", "info")} == {(line["client"], line["level"]) for line in refused}
    assert SECRET not in log
    assert "exception" not in log


def agents(*names: str) -> list[str]:
    return [f"User-Agent: {name}" for name in names]


@pytest.mark.parametrize("chunks", [False, True])
async def test_a_repeated_user_agent_is_tolerated_and_the_body_kept_as_it_is(gateway, chunks):
    text = "\r\nUser-Agent: a\r\nUser-Agent: b\r\n\r\nPUT /events HTTP/1.1\r\nUser-Agent: c"
    body = json.dumps({"action_name": text}).encode()
    framing = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {len(body)}"
    credential = f"X-Moesif-Application-Id: {APPLICATION_ID}"
    lines = [*agents("moesifapi-java/1.8.2", "unirest-java/3.1"), credential, framing]
    request = head("POST", "/v1/actions", *lines) + (
        chunked(body[:30], body[30:]) if chunks else body
    )
    async with connected(gateway) as line:
        await line.say(request * 3)
        assert [201] * 3 == [(await line.hear()).status for _ in range(3)]
        for at in range(len(request)):
            await line.say(request[at : at + 1])
            await asyncio.sleep(0)
        assert 201 == (await line.hear()).status

    assert [text] * 4 == [event["data"]["action_name"] for event in await gateway.events()]


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Content-Type"])
async def test_no_other_repeated_header_is_tolerated(gateway, name):
    async with connected(gateway) as line:
        await line.say(upload(b"[]", f"{name}: 2", f"{name}: 2", *agents("a", "b")))

        assert 400 == (await line.hear()).status
        assert await line.ended()
