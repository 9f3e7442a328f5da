"""A power failure loses what was not synced, and no acknowledged event with it.

The shim records what the real gateway does to its files while real clients send. Disks
are rebuilt from that as a power failure at any moment may leave them, and real gateways
start on them. Events of one tenant are deleted meanwhile, and are not missed.
"""

import asyncio
import random
import signal
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import records
from tests.care.test_prune import pruned
from tests.conftest import PROCESS_CONFIG, Process
from tests.disk.images import Disk
from tests.disk.recording import Recording
from tests.disk.trace import answers
from tests.system.wire import (
    Client,
    ask,
    eventually,
    locked,
    metric,
    name_of,
    one_device_event,
)

# Runs the gateway with other settings of SQLite: each answers before the disk has the events.
UNSAFE = """
import sys
from gateway.stores import database
database._PRAGMAS = [one.replace("=FULL", "={level}") for one in database._PRAGMAS]
from gateway.cli import main
main()
"""

# Events of one tenant go by their age, and what is left of them is pruned.
PASSING = "Q"
RETENTION = f"""
[[retention.rules]]
tenant = "{PASSING}"
max_age = "1s"
max_bytes = 1048576
"""

MODES = {"cut": Disk.cut, "shuffled": Disk.shuffled}


@pytest.fixture
def recording(shim: Path, tmp_path: Path) -> Iterator[Recording]:
    """A gateway under the shim, not yet started."""
    (tmp_path / "live").mkdir()
    process = Process(tmp_path / "live", PROCESS_CONFIG + RETENTION)
    yield Recording(process, shim)
    process.kill_if_running()


async def ordinary(recording: Recording, seconds: float) -> None:
    """Traffic while the disk is well, and for a moment another program has the store locked.

    Meanwhile retention deletes, and so does a prune at the end.
    """
    process = recording.process
    async with recording.traffic():
        await asyncio.sleep(seconds / 2)
        with locked(process.folder / "events.db"):
            await asyncio.sleep(seconds / 4)
        await records.eventually(
            lambda: metric(process.ops_url, 'gateway_expired_total{cause="age"}')
        )
        await asyncio.to_thread(pruned, process, "--before", "2100-01-01", "--tenant", PASSING)
        await asyncio.sleep(seconds / 4)


async def troubled(recording: Recording) -> None:
    """Traffic while the disk fails in every way, and the process is killed and stopped."""
    process = recording.process
    for number in (signal.SIGKILL, signal.SIGTERM):
        await ordinary(recording, 1.5)
        async with recording.traffic():
            with recording.control.failing_fsync():
                await asyncio.sleep(0.7)
            await asyncio.sleep(0.7)
            with recording.control.full():
                await asyncio.sleep(0.7)
            await asyncio.sleep(0.7)
            process.process.send_signal(number)
            await asyncio.to_thread(process.process.wait, 40)
        process.start()
    await ordinary(recording, 1.5)


def moments(recording: Recording, count: int) -> list[int]:
    """Steps after which the power fails: half of them just after an answer has left."""
    chosen = random.Random(count)
    left = [sent.at for sent in answers(recording.steps)]
    anywhere = range(len(recording.steps))
    return chosen.sample(left, count // 2) + chosen.sample(anywhere, count - count // 2)


SOUND = {"lost": 0, "doubled": 0, "wrong": 0}


class Verdict:
    """What gateways found on the disks, all of them together."""

    def __init__(self) -> None:
        self.disks = 0
        self.lost: set[str] = set()
        self.doubled: set[str] = set()
        self.wrong: set[str] = set()

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in SOUND}

    def add(self, exported: list[dict[str, Any]], acknowledged: set[str], sent: Any) -> None:
        kept = Counter(map(name_of, exported))
        self.disks += 1
        self.lost |= acknowledged - kept.keys()
        self.doubled |= {name for name, times in kept.items() if times != 1}
        self.wrong |= {name_of(one) for one in exported if sent.get(name_of(one)) != one["data"]}


async def judge(
    recording: Recording, running: Any, count: int, mode: Callable[[Disk, Path], None]
) -> Verdict:
    """Start a gateway on *count* disks after a power failure, and let clients repeat themselves."""
    verdict, story = Verdict(), recording.story
    passing = {
        name
        for one in story.answered.values()
        if f"/tenants/{PASSING}/" in one.path
        for name in one.events
    }
    image = recording.process.folder.with_name("image")
    config = {**tomllib.loads(PROCESS_CONFIG), "store": {"url": f"sqlite:///{image}/events.db"}}
    for acknowledged in recording.images(moments(recording, count), image, mode):
        async with running(config) as gateway:
            repeated = [
                one
                for one in list(story.answered.values())[:: max(1, len(story.answered) // 20)]
                if one.repeatable and acknowledged.issuperset(one.events)
            ]
            client = Client(gateway.url)
            for request in repeated:
                # On a busy machine the disk may take longer than a request may wait.
                while (answer := await client.send(request)).status == 503:
                    await asyncio.to_thread(time.sleep, 0.1)
                assert answer.status in (201, 202, 409)
            client.close()

            async def drained(gateway: Any = gateway) -> bool:
                return await gateway.metric("gateway_spool_depth") == 0

            await records.eventually(drained)
            verdict.add(await gateway.events(), acknowledged - passing, story.sent)
    return verdict


async def killed_after_a_failed_fsync(recording: Recording) -> None:
    """The next process finds, in the cache, what the disk never had, and goes on from there."""
    process = recording.process
    for _ in range(3):
        async with recording.traffic():
            with recording.control.failing_fsync():
                await asyncio.sleep(0.3)
                process.process.kill()
                await asyncio.to_thread(process.process.wait, 40)
        process.start()
    await ordinary(recording, 1.0)


async def recorded(recording: Recording, unsafe: str = "") -> Recording:
    if unsafe:
        recording.process.program = ["-c", UNSAFE.format(level=unsafe)]
    recording.process.start()
    await ordinary(recording, 1.2)
    recording.process.kill_if_running()
    recording.read()
    return recording


@pytest.mark.parametrize(
    ("mode", "disks"),
    [("shuffled", 3), *(pytest.param(mode, 12, marks=pytest.mark.slow) for mode in MODES)],
)
async def test_a_power_failure_loses_no_acknowledged_event(recording, running, mode, disks):
    await recorded(recording)

    verdict = await judge(recording, running, disks, MODES[mode])
    assert disks == verdict.disks
    assert SOUND == verdict.counts


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("story", [troubled, killed_after_a_failed_fsync])
async def test_a_power_failure_on_a_disk_that_failed_before_loses_no_acknowledged_event(
    recording, running, story, mode
):
    recording.process.start()
    await story(recording)
    recording.process.kill_if_running()
    recording.read()

    verdict = await judge(recording, running, 60, MODES[mode])
    assert SOUND == verdict.counts
    assert [] == recording.early()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
async def test_a_gateway_that_does_not_wait_for_its_disk_is_found_out(recording, running, level):
    await recorded(recording, unsafe=level)

    assert (await judge(recording, running, 6, Disk.cut)).lost
    assert recording.early()


async def test_no_answer_leaves_before_its_own_fsync_returned(recording):
    await recorded(recording)

    assert len(recording.story.answered) > 50
    assert [] == recording.early()


async def test_an_answer_waits_for_an_fsync_that_takes_long(recording):
    recording.process.config.write_text(f"{PROCESS_CONFIG}\n[store]\ndeadline = 30\n")
    recording.process.start()
    with recording.control.held_fsync():
        waiting = asyncio.create_task(ask(recording.process.url, one_device_event()))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert set() == done
    assert 201 == (await waiting).status
    eventually(recording.process.export)
