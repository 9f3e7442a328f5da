"""A reader that follows while several gateways write: it misses nothing, and goes only forward."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

from gateway.store import Selection
from gateway.stores import open_reader, open_store
from tests.records import closing

EVENTS = int(os.environ.get("FOLLOWED_EVENTS", "120000"))
WRITERS = 3
GROUP = 100

_WRITER = """
import asyncio, sys
from gateway.stores import open_store
from tests.records import make_record

async def main(url, groups, size):
    store = await open_store(url, 10)
    for group in range(groups):
        await store.append([make_record() for _ in range(size)])
    await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def test_a_follower_misses_no_event_of_three_writers(url):
    async with closing(await open_store(url, 10)):
        pass
    groups = EVENTS // WRITERS // GROUP
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(closing(await open_reader(url)))
        writers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", _WRITER, url, str(groups), str(GROUP)
            )
            for _ in range(WRITERS)
        ]
        seen: list[int] = []
        ends = asyncio.gather(*(writer.wait() for writer in writers))
        while True:
            ended = ends.done()
            after = seen[-1] if seen else 0
            async for sequence, _ in reader.read(Selection(after=after)):
                seen.append(sequence)
            if ended:
                break
        assert [0] * WRITERS == await ends
        everything = [one async for one, _ in reader.read(Selection())]

    assert WRITERS * groups * GROUP == len(everything)
    assert everything == seen
    assert sorted(set(seen)) == seen
