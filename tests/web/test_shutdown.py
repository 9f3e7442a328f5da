"""The end of a gateway: whoever has connected is answered."""

import asyncio
import contextlib

from tests.web.sockets import connected, dial, upload


async def test_a_request_whose_body_still_comes_at_shutdown_is_answered(running):
    async with running() as gateway, connected(gateway) as line, connected(gateway) as idle:
        request = upload(b"[    ]")
        await line.say(request[:-3])
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(gateway.gateway.stop())
        await asyncio.sleep(0.2)
        assert not stopping.done()
        await line.say(request[-3:])
        heard = await line.hear()
        await stopping

        assert (202, "close") == (heard.status, heard.headers["connection"])
        assert await idle.ended()


async def test_clients_whom_nobody_has_accepted_at_shutdown_are_answered(running):
    async with running() as gateway:
        with contextlib.ExitStack() as stack:
            # The event loop has no turn here: the kernel alone takes connections and bytes.
            lines = [stack.enter_context(dial(gateway.url)) for _ in range(5)]
            for line in lines:
                line.sendall(upload(b"[]"))
            await gateway.gateway.stop()
            heard = [line.recv(10_000) for line in lines]

    assert [b"HTTP/1.1 202"] * 5 == [answer[:12] for answer in heard]


async def test_a_body_that_does_not_come_holds_the_end_up_no_longer_than_shutdown_timeout(running):
    async with running({"server": {"shutdown_timeout": 1}}) as gateway, connected(gateway) as line:
        await line.say(upload(b"[    ]")[:-3])
        await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            await gateway.gateway.stop()

        assert await line.ended()
