"""Backups and restores, of files at rest and beside a gateway that runs."""

import asyncio
import fcntl
import json
import os
import sqlite3
from contextlib import closing as closed

import pytest

from gateway.stores.sqlite import open_store
from tests.care.conftest import spoil, traffic
from tests.conftest import command
from tests.records import closing, make_record, make_rejected, stored
from tests.system.wire import eventually, metric, name_of


async def test_a_backup_holds_the_store_and_the_spool_in_a_dated_folder(site):
    await site.store(make_record("a"), make_record("b"))
    await site.queue(make_record("c"))

    [told] = site.run("backup", "copies")

    folder = site.folder / told["folder"]
    assert ["backup.json", "spool.db", "store.db"] == sorted(one.name for one in folder.iterdir())
    assert [("spool", 1), ("store", 2)] == [(one["role"], one["records"]) for one in told["files"]]
    assert {0o600} == {path.stat().st_mode & 0o777 for path in folder.glob("*.db")}


async def test_backups_of_the_same_second_have_folders_of_their_own_and_the_newest_are_kept(site):
    await site.store(make_record())
    await site.queue()
    (site.folder / "copies").mkdir()
    (site.folder / "copies" / "notes").mkdir()

    made = [site.run("backup", "copies", "--keep", "2")[0]["folder"] for _ in range(4)]

    left = {str(path.relative_to(site.folder)) for path in (site.folder / "copies").iterdir()}
    assert {*made[-2:], "copies/notes"} == left


async def test_what_an_interrupted_backup_left_is_removed_by_the_next(site):
    await site.store(make_record())
    await site.queue()
    left = site.folder / "copies" / "2026-01-01T000000Z.partial"
    left.mkdir(parents=True)
    (left / "store.db").write_text("half")

    site.run("backup", "copies")

    assert not left.exists()


async def test_two_backups_into_a_folder_are_made_one_at_a_time(site):
    await site.store(make_record())
    await site.queue()
    copies = site.folder / "copies"
    copies.mkdir()
    other = os.open(copies, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        site.run("backup", "copies", status=69)
        assert "another backup is being made" in site.notices
    finally:
        os.close(other)

    assert [] == list(copies.iterdir())
    site.run("backup", "copies")


async def test_a_copy_with_damage_is_no_backup_and_removes_no_older_one(site):
    await site.store(*[make_record(data=f'"{"x" * 3000}"') for _ in range(50)])
    await site.queue()
    [good] = site.run("backup", "copies", "--keep", "1")
    spoil(site.events, 20)

    site.run("backup", "copies", "--keep", "1", status=65)

    assert "store.db" in site.notices
    names = sorted(path.name for path in (site.folder / "copies").iterdir())
    assert 2 == len(names)
    assert names[1].endswith(".damaged")
    assert good["folder"].endswith(names[0])


async def test_a_restore_brings_the_events_of_the_backup_back_and_moves_the_others_aside(site):
    await site.store(make_record("a", data='"a"'), make_record("b", data='"b"'))
    await site.queue()
    [made] = site.run("backup", "copies")
    await site.store(make_record("c", data='"c"'))

    spool, store = site.run("restore", made["folder"])

    assert [(1, "a"), (2, "b")] == site.exported()
    with closed(sqlite3.connect(f"{store['replaced']}/events.db")) as aside:
        assert [(3,)] == aside.execute("SELECT count(*) FROM event").fetchall()
    assert "spool" == spool["role"]


async def test_a_restored_store_gives_no_sequence_again_and_knows_its_keys(site):
    await site.store(make_record("a", data='"a"'))
    await site.queue()
    [made] = site.run("backup", "copies")
    await site.store(make_record("b"), make_record("c"))

    store = site.run("restore", made["folder"])[1]
    await site.store(make_record("a", data='"a again"'), make_record("d", data='"d"'))

    assert 4 == store["next_sequence"]
    assert [(1, "a"), (4, "d")] == site.exported()


async def test_sequences_skip_what_a_former_store_may_hold_that_nobody_can_read(site):
    await site.store(make_record("a"))
    await site.queue()
    [made] = site.run("backup", "copies")
    site.events.write_text("notes " * 1000)

    store = site.run("restore", made["folder"])[1]
    await site.store(make_record("b", data='"b"'))

    assert "cannot be read" in store["note"]
    [(first, _), (second, data)] = site.exported()
    assert [1, "b"] == [first, data]
    assert second > 10_000


async def test_a_restore_keeps_the_events_that_wait_in_the_spool(site):
    await site.store()
    await site.queue(make_record("a"))
    [made] = site.run("backup", "copies")
    await site.queue(make_record("a"), make_record("b"))

    spool, _ = site.run("restore", made["folder"])

    assert 1 == spool["kept"]
    with closed(sqlite3.connect(site.spool)) as db:
        assert [(2,)] == db.execute("SELECT count(*) FROM spooled").fetchall()


async def test_a_restore_onto_an_empty_machine_needs_nothing_but_the_backup(site):
    await site.store(make_record("a", data='"a"'))
    await site.queue()
    [made] = site.run("backup", "copies")
    for path in site.folder.glob("*.db*"):
        path.unlink()

    spool, store = site.run("restore", made["folder"])

    assert [None, None] == [spool["replaced"], store["replaced"]]
    assert [(1, "a")] == site.exported()


async def test_a_backup_that_was_changed_is_not_restored(site):
    await site.store(make_record(data='"a"'))
    await site.queue()
    [made] = site.run("backup", "copies")
    with (site.folder / made["folder"] / "store.db").open("r+b") as copy:
        copy.seek(9000)
        copy.write(b"x")

    site.run("restore", made["folder"], status=65)

    assert "not the file that was backed up" in site.notices
    assert [(1, "a")] == site.exported()
    site.run("restore", "absent", status=69)


async def test_a_gateway_that_runs_is_not_replaced(site):
    await site.store()
    await site.queue()
    [made] = site.run("backup", "copies")
    async with closing(await open_store(f"sqlite:///{site.events}", 10)):
        site.run("restore", made["folder"], status=69)

    assert "in use by another process" in site.notices


async def test_a_store_that_another_program_reads_is_not_replaced(site):
    await site.store(make_record("a", data='"a"'))
    await site.queue()
    [made] = site.run("backup", "copies")
    async with closing(await open_store(f"sqlite:///{site.events}", 10)) as store:
        with closed(sqlite3.connect(site.events, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM event").fetchone()
            await store.append([make_record("b", data='"b"')])
            await store.close()
            site.run("restore", made["folder"], status=69)

    assert "another program" in site.notices
    assert [(1, "a"), (2, "b")] == site.exported()


async def test_a_store_in_memory_cannot_be_backed_up(site):
    with (site.folder / "config.toml").open("a") as config:
        config.write('[store]\nurl = "memory:"\n')

    site.run("backup", "copies", status=69)

    assert not (site.folder / "copies").exists()


async def test_a_restored_quarantine_is_still_bounded(site):
    await site.store(*[make_rejected(str(n)) for n in range(5)])
    await site.queue()
    [made] = site.run("backup", "copies")
    site.run("restore", made["folder"])
    await site.store(make_rejected("new"), max_rejected=2)

    async with closing(await open_store(f"sqlite:///{site.events}", 2)) as store:
        assert 2 == len(await stored(store))


@pytest.mark.slow
async def test_a_backup_beside_traffic_holds_all_that_was_acknowledged_before(process):
    process.start()
    async with traffic(process) as story:
        await asyncio.sleep(2)
        before = set(story.acknowledged)
        done = await asyncio.to_thread(
            command, "backup", "copies", "-c", str(process.config), cwd=process.folder
        )
        during = len(story.acknowledged) - len(before)
        await asyncio.sleep(0.5)
    assert 0 == done.exit_code, done.stderr
    assert before
    assert during > 0
    assert 0 == process.stop()

    restored = command(
        "restore", json.loads(done.stdout)["folder"], "-c", str(process.config), cwd=process.folder
    )
    assert 0 == restored.exit_code, restored.stderr
    process.start()
    eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0)
    kept = [name_of(event) for event in process.export()]
    assert set() == before - set(kept)
    assert len(kept) == len(set(kept))
    assert 0 == process.stop()
