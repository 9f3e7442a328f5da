"""Every acknowledged event is in the store exactly once, whenever the process is stopped.

Once in the fast tests, over and over in the slow ones.
"""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from typing import Any

import pytest

from tests import records
from tests.conftest import Process
from tests.system.wire import MIX, Client, Request, eventually, locked, metric, name_of

CLIENTS = 32
SUCCESS = (201, 202, 409)


class Story:
    """What was sent, what was acknowledged, and what got no answer."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.sent: dict[str, Any] = {}
        self.acknowledged: set[str] = set()
        self.answered: dict[str, Request] = {}
        self.unanswered: list[Request] = []

    async def tell(self, client: Client, request: Request) -> bool:
        """Send *request* and note what came of it; False once the server is gone."""
        self.sent |= request.events
        answer = await client.send(request)
        if answer is None:
            self.unanswered.append(request)
            return False
        assert answer.status in (*SUCCESS, 503), answer
        if answer.status in SUCCESS:
            self.acknowledged |= request.events.keys()
            self.answered[answer.headers["x-request-id"]] = request
        return True

    async def client(self, url: str, again: list[Request]) -> None:
        """One client: first repeats what got no answer before, then sends new events."""
        client = Client(url)
        try:
            going = True
            while going:
                request = again.pop() if again else self.random.choice(MIX)()
                going = await self.tell(client, request)
        finally:
            client.close()

    async def round(self, process: Process, number: int, *, away: bool) -> None:
        """Let the clients speak, and send the signal at a random moment after the first answers."""
        assert process.process is not None
        known = len(self.acknowledged)
        again = [request for request in self.unanswered if request.repeatable]
        self.unanswered.clear()
        clients = [asyncio.create_task(self.client(process.url, again)) for _ in range(CLIENTS)]
        with contextlib.ExitStack() as lock:
            if away:
                # The events of this round go to the spool; some drain when the lock goes.
                lock.enter_context(locked(process.folder / "events.db"))
                await asyncio.sleep(1.2)
                lock.close()
            await records.eventually(lambda: len(self.acknowledged) >= known + 20)
            await asyncio.sleep(self.random.uniform(0.02, 0.8))
            process.process.send_signal(number)
        await asyncio.gather(*clients)

    def check(self, process: Process) -> Counter[str]:
        """Compare with the store of a process that runs again; return what it holds."""
        eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0)
        exported = process.export()
        kept = Counter(map(name_of, exported))
        assert set() == self.acknowledged - kept.keys()
        assert [] == [name for name, times in kept.items() if times != 1]
        assert set() == kept.keys() - self.sent.keys()
        for event in exported:
            assert self.sent[name_of(event)] == event["data"]
        return kept


async def killed(process: Process, rounds: int, seed: int) -> None:
    story = Story(seed)
    process.start()
    for number in range(rounds):
        await story.round(process, signal.SIGKILL, away=number % 3 == 1)
        assert -signal.SIGKILL == process.process.wait(timeout=10)
        process.start()
        story.check(process)
    assert 0 == process.stop()


async def terminated(process: Process, rounds: int, seed: int) -> None:
    story = Story(seed)
    for number in range(rounds):
        process.start()
        await story.round(process, signal.SIGTERM, away=number % 3 == 1)
        assert 0 == process.process.wait(timeout=40)
        process.start()
        kept = story.check(process)
        # Whatever the server had read was answered: what got no answer was not taken in.
        assert set() == kept.keys() - story.acknowledged
        assert 0 == process.stop()
        story.unanswered.clear()


async def test_a_killed_process_keeps_what_it_acknowledged(process):
    await killed(process, 1, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_process_killed_over_and_over_keeps_what_it_acknowledged(process):
    await killed(process, 50, seed=3)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_process_terminated_over_and_over_answers_whatever_it_has_read(process):
    await terminated(process, 24, seed=4)
