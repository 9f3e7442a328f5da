"""What a gateway has counted after a crash, and after an orderly stop."""

import signal

from gateway.store import ALL_TIME, CountSelection
from gateway.stores import open_reader
from tests.conftest import Process
from tests.records import closing, eventually
from tests.system.wire import Client, one_call


async def counted(process: Process) -> int:
    """How many stored events the counts in the file tell of."""
    async with closing(await open_reader(f"sqlite:///{process.folder}/events.db")) as reader:
        counts = await reader.counts(CountSelection(step=ALL_TIME, outcome="stored"))
        return sum(one.count for one in counts)


async def send(process: Process, count: int) -> None:
    client = Client(process.url)
    for _ in range(count):
        answer = await client.send(one_call())
        assert answer is not None
        assert 201 == answer.status
    client.close()


async def test_a_crash_loses_the_counts_of_a_second_at_most_and_no_event(process):
    process.start()
    await send(process, 20)

    async def written() -> bool:
        return await counted(process) == 20

    await eventually(written)
    await send(process, 10)
    process.signal(signal.SIGKILL)

    assert 20 <= await counted(process) <= 30
    assert 30 == len(process.export())


async def test_an_orderly_stop_loses_no_counts(process):
    process.start()
    await send(process, 20)
    process.stop()
    process.start()
    await send(process, 10)
    process.stop()

    assert 30 == await counted(process)
