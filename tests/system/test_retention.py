"""Retention of a real gateway, while clients send and the process is killed."""

import asyncio
import signal
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests import records
from tests.conftest import PROCESS_CONFIG, Process
from tests.system.test_crash import Story
from tests.system.wire import eventually, metric, name_of

BOUND = 3 << 20


class Ordered(Story):
    """A story that knows in which order events were acknowledged."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.order: list[str] = []

    async def tell(self, client: Any, request: Any) -> bool:
        known = self.acknowledged.copy()
        going = await super().tell(client, request)
        self.order += sorted(self.acknowledged - known)
        return going


def store_of(process: Process) -> sqlite3.Connection:
    return sqlite3.connect(process.folder / "events.db")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_gateway_at_its_bound_is_killed_again_and_again_and_loses_only_the_oldest(tmp_path):
    process = Process(tmp_path, f"{PROCESS_CONFIG}\n[retention]\nmax_bytes = {BOUND}\n")
    story, largest = Ordered(seed=8), 0
    try:
        process.start()
        for _ in range(4):
            clients = [asyncio.create_task(story.client(process.url, [])) for _ in range(16)]
            await records.eventually(
                lambda: metric(process.ops_url, 'gateway_expired_total{cause="size"}') > 0, 60
            )
            await asyncio.sleep(0.5)
            largest = max(largest, (tmp_path / "events.db").stat().st_size)
            assert process.process is not None
            process.process.send_signal(signal.SIGKILL)
            await asyncio.gather(*clients)
            process.process.wait(timeout=10)
            process.start()
        eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0)
        assert 0 == process.stop()
    finally:
        process.kill_if_running()

    exported = process.export()
    names = [name_of(event) for event in exported]
    assert len(names) == len(set(names)) > 1000
    assert set(names) <= story.sent.keys()
    # The newest thousand that were acknowledged are there; there is no hole before them.
    assert set() == set(story.order[-1000:]) - set(names)
    sequences = [int(event["sequence"]) for event in exported]
    with closing(store_of(process)) as db:
        [(deleted,)] = db.execute("SELECT sum(events) FROM prune WHERE cause = 'size'")
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
    assert list(range(deleted + 1, deleted + len(names) + 1)) == sequences
    assert largest < BOUND * 1.1


async def test_a_gateway_deletes_what_is_too_old_and_keeps_what_a_rule_keeps_longer(tmp_path):
    rules = '[retention]\nmax_age = "5s"\n[[retention.rules]]\ndialect = "device"\nmax_age = "1d"\n'
    process = Process(tmp_path, f"{PROCESS_CONFIG}\n{rules}")
    story = Ordered(seed=9)
    try:
        process.start()
        clients = [asyncio.create_task(story.client(process.url, [])) for _ in range(4)]
        await asyncio.sleep(1)
        process.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)
        assert 0 == process.process.wait(timeout=40)
        # While nobody deletes: a start may take longer than the events may stay.
        dialects = {event["dialect"] for event in process.export()}
        assert {"device", "moesif", "logspace"} == dialects
        process.start()
        eventually(lambda: metric(process.ops_url, 'gateway_expired_total{cause="age"}') > 0, 60)
        eventually(lambda: {"device"} == {event["dialect"] for event in process.export()}, 60)
        assert 0 == process.stop()
    finally:
        process.kill_if_running()
