"""How many clients may be connected, in all and from one address."""

import asyncio
import json

from tests.dialects import READING
from tests.web.sockets import connected, upload

BATCH = json.dumps([READING]).encode()


async def served(line):
    await line.say(upload(BATCH))
    return 202 == (await line.hear()).status


async def room(gateway, connections):
    """Wait until the gateway has no more connections than these."""
    async with asyncio.timeout(20):
        while gateway.gateway._capacity.open > connections:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


async def test_a_connection_beyond_the_limit_is_closed_and_the_others_go_on(running):
    async with running({"limits": {"connections": 2}}) as gateway:
        async with connected(gateway) as first, connected(gateway) as second:
            assert await served(first)
            assert await served(second)
            async with connected(gateway) as third:
                assert await third.ended()
            assert await served(first)
            assert 2 == await gateway.metric("gateway_connections")
            assert 1 == await gateway.metric("gateway_turned_away_total")
        await room(gateway, 0)
        async with connected(gateway) as again:
            assert await served(again)


async def test_an_address_with_too_many_connections_leaves_room_to_others(running):
    async with running({"limits": {"connections_per_address": 1}}) as gateway:
        async with connected(gateway) as first:
            assert await served(first)
            async with connected(gateway) as second:
                assert await second.ended()
            async with connected(gateway, source="127.0.0.2") as other:
                assert await served(other)
            assert await served(first)
            assert 1 == await gateway.metric("gateway_turned_away_total")
        await room(gateway, 0)
        async with connected(gateway) as again:
            assert await served(again)


async def test_a_trusted_proxy_may_have_more_connections_than_a_client(running):
    proxies = {"trusted_proxies": ["127.0.0.1"], "forwarded_header": "X-Forwarded-For"}
    limits = {"connections_per_address": 1}
    async with (
        running({"limits": limits, "server": proxies}) as gateway,
        connected(gateway) as first,
        connected(gateway) as second,
    ):
        assert await served(first)
        assert await served(second)
