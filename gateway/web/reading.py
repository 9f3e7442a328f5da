"""Reading the events of a body, a few milliseconds at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from gateway.adapter import AnyInbound, AnyIngest, ParseResult
from gateway.intake.intake import in_turns

Pause = Callable[[], Awaitable[None]]
"""Gives others their turn."""


async def let_others() -> None:
    """Give others their turn."""
    await asyncio.sleep(0)


async def read_on(
    endpoint: AnyIngest,
    inbound: AnyInbound,
    raws: Sequence[bytes],
    reading: ParseResult,
    pause: Pause = let_others,
) -> None:
    """Read the rest of a batch into *reading*: before each slice others have their turn."""
    while reading.elements < len(raws):
        await pause()
        endpoint.read(inbound, raws, reading)


async def mask(endpoint: AnyIngest, reading: ParseResult) -> None:
    """Take from the invalid events what not even the quarantine may hold."""
    masked = endpoint.masked
    if reading.rejected and masked:
        reading.rejected = await in_turns(
            lambda one: msgspec.structs.replace(one, raw=masked(one.raw)), reading.rejected
        )
