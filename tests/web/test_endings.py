"""How unusual exchanges end: half-close, upgrades, errors of our own."""

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.adapter import Reply
from gateway.web.capacity import Capacity
from gateway.web.forwarded import TrustedProxies
from gateway.web.listener import PublicListener
from gateway.web.server import PublicServer
from tests.conftest import APPLICATION_ID
from tests.web.sockets import Line, head


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
@pytest.mark.parametrize("credential", [APPLICATION_ID, "wrong"])
async def test_an_upgrade_is_declined_and_the_connection_continues(gateway, upgrade, credential):
    body = b'{"action_name":"Clicked"}'
    head = (
        f"POST /v1/actions HTTP/1.1\r\nHost: x\r\nX-Moesif-Application-Id: {credential}\r\n"
        f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    reader, writer = await asyncio.open_connection(*gateway.gateway.address)
    writer.write(head + body[:5])
    await asyncio.sleep(0.2)
    writer.write(body[5:])
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)

    assert answer.startswith(b"HTTP/1.1 201" if credential == APPLICATION_ID else b"HTTP/1.1 401")
    writer.close()


@pytest.mark.parametrize("credential", [APPLICATION_ID, "wrong"])
async def test_a_websocket_request_continues_with_http(gateway, credential):
    def request(*more):
        lines = "".join(f"{line}\r\n" for line in more)
        return (
            f"POST /v1/actions HTTP/1.1\r\nHost: x\r\nX-Moesif-Application-Id: {credential}\r\n"
            f"{lines}Content-Length: 25\r\n\r\n"
        ).encode() + b'{"action_name":"Clicked"}'

    first = request("Connection: Upgrade", "Upgrade: websocket")
    reader, writer = await asyncio.open_connection(*gateway.gateway.address)
    writer.write(first[:-5])
    await asyncio.sleep(0.2)
    writer.write(first[-5:] + request() + request("Connection: close"))

    answers = await asyncio.wait_for(reader.read(), 5)

    wanted = b"HTTP/1.1 201" if credential == APPLICATION_ID else b"HTTP/1.1 401"
    assert 3 == answers.count(wanted)
    writer.close()


async def test_a_half_close_after_the_request_still_gets_the_answer(gateway):
    body = b'{"action_name":"Clicked"}'
    head = (
        f"POST /v1/actions HTTP/1.1\r\nHost: x\r\nX-Moesif-Application-Id: {APPLICATION_ID}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    reader, writer = await asyncio.open_connection(*gateway.gateway.address)
    writer.write(head + body)
    writer.write_eof()

    answer = await asyncio.wait_for(reader.read(), 5)

    assert answer.startswith(b"HTTP/1.1 201")
    assert 1 == len(await gateway.events())
    writer.close()


async def test_a_half_close_within_the_body_stores_nothing(gateway):
    head = (
        f"POST /v1/actions HTTP/1.1\r\nHost: x\r\nX-Moesif-Application-Id: {APPLICATION_ID}\r\n"
        "Content-Length: 100\r\n\r\n{"
    ).encode()
    reader, writer = await asyncio.open_connection(*gateway.gateway.address)
    writer.write(head)
    await asyncio.sleep(0.1)
    writer.write_eof()

    assert b"" == await asyncio.wait_for(reader.read(), 5)
    assert [] == await gateway.events()
    writer.close()


async def test_an_error_beyond_the_handler_is_500_as_json_and_logged_with_its_traceback():
    async def wrong(_: object) -> tuple[Reply, dict[str, str]]:
        raise ZeroDivisionError("of our own")

    server = PublicServer(
        wrong,
        keepalive_timeout=9,
        write_timeout=9,
        on_malformed=lambda: None,
        proxies=TrustedProxies([], "Forwarded"),
        capacity=Capacity(),
    )
    listener = PublicListener(server)
    await listener.open("127.0.0.1:0")
    with capture_logs() as logs:
        reader, writer = await asyncio.open_connection(*listener.address)
        line = Line(reader, writer)
        await line.say(head("GET", "/"))
        heard = await line.hear()
        assert await line.ended()
        writer.close()
    await listener.close(1)

    assert (500, "application/problem+json") == (heard.status, heard.headers["content-type"])
    assert b"of our own" not in heard.body
    [logged] = [entry for entry in logs if entry["event"] == "request_failed"]
    assert isinstance(logged["exc_info"], ZeroDivisionError)
