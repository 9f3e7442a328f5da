"""Rotation: a new store in the place of the old one, at rest and while clients send."""

import asyncio
import sqlite3
import stat
from contextlib import closing as closed

import pytest

from gateway.errors import StoreError
from gateway.record import Outcome
from gateway.store import Count, CountSelection
from gateway.stores import keys
from gateway.stores.sqlite import open_store
from tests.care.conftest import traffic
from tests.conftest import Process, command
from tests.records import closing, make_record, make_rejected, sequences
from tests.system.wire import eventually, metric, name_of


def ignored(*_: object) -> None:
    """No progress is shown."""


async def test_the_old_store_is_sealed_and_the_new_one_continues_its_sequences(site):
    await site.store(make_record("a", data='"a"'), make_record(data='"b"'))

    [told] = site.run("rotate")
    await site.store(make_record("c", data='"c"'))

    assert 3 == told["next_sequence"]
    assert [(3, "c")] == site.exported()
    assert [(1, "a"), (2, "b")] == site.exported("--store", f"sqlite:///{told['sealed']}")
    sealed = site.folder / told["sealed"]
    assert 0o400 == stat.S_IMODE(sealed.stat().st_mode)
    assert not sealed.with_name(sealed.name + "-wal").exists()


async def test_a_retry_of_an_event_of_the_old_store_is_a_duplicate(site):
    await site.store(make_record("a"))
    site.run("rotate")
    site.run("rotate")

    async with closing(await open_store(f"sqlite:///{site.events}", 10)) as store:
        outcomes = await store.append([make_record("a"), make_record("b")])
        assert [Outcome.DUPLICATE, Outcome.STORED] == list(outcomes)
        assert [2] == await sequences(store)


async def test_rotated_while_open_the_store_goes_on_with_keys_in_runs_and_in_memory(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(keys, "RUN_KEYS", 512)
    url = f"sqlite:///{tmp_path}/events.db"
    async with closing(await open_store(url, 10)) as store:
        for first in range(0, 3000, 300):
            await store.append([make_record(f"key {n}") for n in range(first, first + 300)])
        await store.put("device", "T1", "created/D1", "{}", 1)
        await store.rotate(ignored)
        fresh = list(await store.append([make_record("new"), make_record("new")]))
        known = list(await store.append([make_record(f"key {n}") for n in range(3000)]))
        assert [Outcome.STORED, Outcome.DUPLICATE] == fresh
        assert {Outcome.DUPLICATE} == set(known)
        assert [3001] == await sequences(store)
        assert "{}" == (await store.get("device", "T1", "created/D1")).body
    async with closing(await open_store(url, 10)) as store:
        outcomes = await store.append([make_record(f"key {n}") for n in range(3000)])
        assert {Outcome.DUPLICATE} == set(outcomes)


async def test_counts_go_on_in_the_new_store_also_those_that_are_made_meanwhile(tmp_path):
    def count(at, number):
        return Count(at * 60_000_000, "moesif", "acme", "api_call", "stored", number)

    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store:
        # The first minute is so long ago that the next call leaves its hour and day alone.
        await store.add_counts([count(0, 5)])
        await store.add_counts([count(100_000, 7)])
        added = 7
        # Without a disk to wait for, few counts may come while one is at work.
        rotations = 0
        while rotations < 3 or added < 12:
            rotations += 1
            rotating = asyncio.create_task(store.rotate(ignored))
            while not rotating.done():
                await store.add_counts([count(100_000, 1)])
                added += 1
            await rotating
        for step in (1, 60, 1440):
            counts = [one.count for one in await store.counts(CountSelection(step=step))]
            assert counts == ([added] if step == 1 else [5, added])


async def test_what_the_last_append_kept_is_found_after_a_rotation(tmp_path):
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store:
        sent = [make_record("a"), make_record()]
        await store.append(sent)
        await store.rotate(ignored)
        await store.reconcile([record.id for record in sent])

        assert [Outcome.STORED] * 2 == list(await store.append(sent))
        assert [] == await sequences(store)


async def test_the_quarantine_begins_anew(tmp_path):
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 2)) as store:
        await store.append([make_rejected(str(n)) for n in range(3)])
        await store.rotate(ignored)

        assert [Outcome.STORED] == list(await store.append([make_rejected("2")]))
        assert [4] == await sequences(store)


async def test_a_store_that_another_program_reads_is_not_rotated_and_goes_on(tmp_path):
    path = tmp_path / "events.db"
    async with closing(await open_store(f"sqlite:///{path}", 10)) as store:
        await store.append([make_record("a")])
        with closed(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM event").fetchone()
            with pytest.raises(StoreError, match="another program"):
                await store.rotate(ignored)
            await store.append([make_record("b")])

        assert [1, 2] == await sequences(store)
        assert {"events.db", "events.db-wal", "events.db-shm", "events.db-writer"} == {
            found.name for found in tmp_path.iterdir()
        }
        await store.rotate(ignored)
        await store.append([make_record("c")])
        assert [3] == await sequences(store)


async def test_a_store_that_is_not_there_is_not_made_by_a_command(site):
    site.run("rotate", status=69)

    assert "there is no store" in site.notices
    assert not site.events.exists()


def rotated(process: Process) -> None:
    done = command("rotate", "-c", str(process.config), cwd=process.folder)
    assert 0 == done.exit_code, done.stderr


@pytest.mark.parametrize("clients", [2, pytest.param(8, marks=pytest.mark.slow)])
async def test_a_gateway_that_runs_rotates_its_store_and_loses_and_doubles_nothing(
    process, clients
):
    process.start()
    assert 0o600 == stat.S_IMODE((process.folder / "events.db-control").stat().st_mode)
    async with traffic(process, clients) as story:
        for _ in range(3):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(rotated, process)
        await asyncio.sleep(0.3)
    eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0)
    assert 0 == process.stop()

    found: list[tuple[int, str]] = []
    for path in [*sorted(process.folder.glob("events-*.db")), process.folder / "events.db"]:
        exported = process.export("--store", f"sqlite:///{path}")
        found += [(int(event["sequence"]), name_of(event)) for event in exported]
    names = [name for _, name in found]
    assert set() == story.acknowledged - set(names)
    assert len(names) == len(set(names))
    assert sorted(found) == found
    assert len(found) == len({sequence for sequence, _ in found})
    assert not (process.folder / "events.db-control").exists()
