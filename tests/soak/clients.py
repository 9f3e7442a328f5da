"""Clients of a soak test: ordinary ones, slow ones, and ones that leave."""

import asyncio
import random
from collections.abc import Callable

from tests.soak.ledger import Ledger
from tests.system.wire import MIX, Client, Request

PATIENCE = 40.0
"""Seconds after which a request without an answer hangs: longer than anything may take."""

Url = Callable[[], str]


async def ordinary(url: Url, ledger: Ledger, chance: random.Random) -> None:
    """Send requests one after another; repeat what was not accepted."""
    client, at = Client(url()), url()
    while True:
        if at != url():
            client.close()
            client, at = Client(url()), url()
        request = ledger.again.pop() if ledger.again else chance.choice(MIX)()
        ledger.sent(request)
        began = ledger.clock()
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await client.send(request)
        except TimeoutError:
            ledger.unexpected.append(f"{request.path}: no answer within {PATIENCE:g} s")
            client.close()
            answer = None
        ledger.heard(request, answer, ledger.clock() - began)
        await asyncio.sleep(0.2 if answer is None else chance.uniform(0, 0.05))


async def slow(url: Url, ledger: Ledger, chance: random.Random) -> None:
    """Send a body in ten pieces within some seconds, and read the answer late."""
    while True:
        request = chance.choice(MIX)()
        ledger.sent(request)
        head, _, body = request.written().partition(b"\r\n\r\n")
        answer = None
        try:
            reader, writer = await _connected(url)
            writer.write(head + b"\r\n\r\n")
            for at in range(0, len(body), len(body) // 10 + 1):
                await asyncio.sleep(chance.uniform(0, 0.5))
                writer.write(body[at : at + len(body) // 10 + 1])
            await asyncio.sleep(chance.uniform(0, 1))
            answer = await Client.answer(reader)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.2)
        # How long it took was up to the client.
        ledger.heard(request, answer, 0.0)


async def leaving(url: Url, ledger: Ledger, chance: random.Random) -> None:
    """Send a request, or a part of it, and leave without an answer."""
    while True:
        request = chance.choice(MIX)()
        ledger.sent(request)
        raw = request.written()
        try:
            _, writer = await _connected(url)
            writer.write(raw[: chance.choice([len(raw), chance.randrange(1, len(raw))])])
            await asyncio.sleep(chance.uniform(0, 0.02))
            writer.transport.abort()
        except OSError:
            await asyncio.sleep(0.2)
        ledger.heard(_once(request), None, 0.0)
        await asyncio.sleep(chance.uniform(0, 0.2))


def _once(request: Request) -> Request:
    request.repeatable = False
    return request


async def _connected(url: Url) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url().removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))
