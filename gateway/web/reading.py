"""Reading the events of a body, a few milliseconds at a time."""

import asyncio
from collections.abc import Sequence

import msgspec

from gateway.adapter import AnyInbound, AnyIngest, ParseResult


async def read_on(
    endpoint: AnyIngest, inbound: AnyInbound, raws: Sequence[bytes], reading: ParseResult
) -> None:
    """Read the rest of a batch into *reading*: before each slice others have their turn."""
    while reading.elements < len(raws):
        await asyncio.sleep(0)
        endpoint.read(inbound, raws, reading)


def mask(endpoint: AnyIngest, reading: ParseResult) -> None:
    """Take from the invalid events what not even the quarantine may hold."""
    if reading.rejected and endpoint.masked:
        reading.rejected = [
            msgspec.structs.replace(one, raw=endpoint.masked(one.raw)) for one in reading.rejected
        ]
