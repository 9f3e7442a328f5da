"""What only the SQLite store has: files, versions, locks and full disks."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing as closed
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.record import Outcome, key_of
from gateway.store import StoredDocument
from gateway.stores.schema import migrations
from gateway.stores.sqlite import open_reader, open_store
from gateway.stores.url import path_of
from tests.forking import run
from tests.records import (
    NOW,
    closing,
    eventually,
    locked,
    make_record,
    make_rejected,
    sequences,
    stored,
)

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def opened(path: Path, max_rejected: int = 100):
    return open_store(f"sqlite:///{path}", max_rejected)


def pragma(path: Path, name: str) -> object:
    with closed(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


async def test_everything_survives_reopening(path):
    records = [make_record("a"), make_record(), make_rejected("r")]
    async with closing(await opened(path)) as store:
        await store.append(records)
        await store.put("device", "T1", "a", "{}", NOW)

    async with closing(await opened(path)) as store:
        assert records == await stored(store)
        assert {key_of("a")} == await store.known([key_of("a"), key_of("b")])
        assert [DUPLICATE, DUPLICATE] == list(
            await store.append([make_record("a"), make_rejected("r")])
        )
        assert StoredDocument("{}", NOW) == await store.get("device", "T1", "a")


async def test_sequences_continue_after_reopening(path):
    seen: list[int] = []
    for n in range(4):
        async with closing(await opened(path)) as store:
            await store.append([make_record(f"{n}"), make_record(f"{n}")])
            seen += await sequences(store, after=seen[-1] if seen else 0)

    assert 4 == len(seen)
    assert sorted(set(seen)) == seen


async def test_a_sequence_is_not_reused_after_reopening(path):
    async with closing(await opened(path, 3)) as store:
        await store.append([make_rejected(f"{n}") for n in range(3)])
        last = (await sequences(store))[-1]
    async with closing(await opened(path, 0)) as store:
        await store.append([make_rejected("one too many")])
        assert [] == await sequences(store)

    async with closing(await opened(path, 3)) as store:
        await store.append([make_record("new")])
        [new] = await sequences(store)
        assert new > last


async def test_a_smaller_quarantine_limit_applies_after_reopening(path):
    async with closing(await opened(path, 5)) as store:
        await store.append([make_rejected(f"{n}") for n in range(5)])
    async with closing(await opened(path, 2)) as store:
        await store.append([make_rejected("new")])

        assert [key_of("4"), key_of("new")] == [record.key for record in await stored(store)]
        assert 4 == sum(store.evicted.values())


async def test_the_file_uses_wal_mode_and_every_commit_is_synced(path):
    async with closing(await opened(path)) as store:
        assert "wal" == pragma(path, "journal_mode")
        # synchronous belongs to a connection, so the store's own has to be asked; 2 is FULL.
        run = store._database.run
        assert [(2,)] == await run(lambda db: db.execute("PRAGMA synchronous").fetchall())


async def test_the_file_records_how_many_migrations_ran(path):
    async with closing(await opened(path)):
        pass

    assert len(migrations()) == pragma(path, "user_version")


async def test_an_old_file_is_migrated_once(path):
    with closed(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")
    for _ in range(2):
        async with closing(await opened(path)) as store:
            await store.append([make_record()])

    assert len(migrations()) == pragma(path, "user_version")


async def test_a_file_of_a_newer_gateway_is_refused_and_not_changed(path):
    async with closing(await opened(path)):
        pass
    newer = len(migrations()) + 1
    with closed(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")

    with pytest.raises(StoreError, match=f"version {newer} is newer"):
        await opened(path)
    assert newer == pragma(path, "user_version")


async def test_a_file_that_is_not_a_database_is_refused_and_not_changed(path):
    path.write_text("These are notes, and nobody wants to lose them. " * 100)
    before = path.read_bytes()

    with pytest.raises(StoreError, match="not a database"):
        await opened(path)
    assert before == path.read_bytes()


@pytest.mark.parametrize("name", ["", "folder"])
async def test_a_file_that_cannot_be_opened_is_a_store_error(tmp_path, name):
    (tmp_path / "folder").mkdir()

    with pytest.raises(StoreError):
        await opened(tmp_path / name)


async def test_a_folder_that_cannot_be_created_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="file"):
        await opened(tmp_path / "file" / "events.db")


async def test_missing_folders_are_created(tmp_path):
    path = tmp_path / "a" / "b" / "events.db"
    async with closing(await opened(path)):
        assert path.exists()


async def test_a_path_may_contain_characters_that_are_special_in_urls(tmp_path):
    path = tmp_path / "50% #1?mode=memory & more.db"
    async with closing(await opened(path)) as store:
        await store.append([make_record("a")])

        assert path.exists()
        assert 1 == len(await stored(store))


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://", "sqlite:///", "sqlite:events.db", "x"])
def test_a_url_of_any_other_form_is_refused(url):
    with pytest.raises(ValueError, match="sqlite:///FILE"):
        path_of(url)


def test_a_url_names_a_relative_or_an_absolute_file():
    assert Path("events.db") == path_of("sqlite:///events.db")
    assert Path("/var/events.db") == path_of("sqlite:////var/events.db")


async def test_a_lock_of_another_process_is_a_store_error_until_it_ends(path):
    async with closing(await opened(path)) as store:
        await store.append([make_record("a")])
        with locked(path):
            with pytest.raises(StoreError, match="locked"):
                await store.append([make_record("b")])
            with pytest.raises(StoreError, match="locked"):
                await store.probe()
            # Who only reads is not stopped by who writes.
            assert {key_of("a")} == await store.known([key_of("a"), key_of("b")])
            assert 1 == len(await stored(store))

        await store.probe()
        assert [DUPLICATE, STORED] == list(await store.append([make_record("a"), make_record("b")]))


async def test_a_file_has_one_writer_at_a_time(path):
    async with closing(await opened(path)) as store:
        with pytest.raises(StoreError, match=r"events\.db: in use by another process"):
            await opened(path)
        assert [STORED] == list(await store.append([make_record("a")]))

    async with closing(await opened(path)) as store:
        assert [DUPLICATE] == list(await store.append([make_record("a")]))


async def test_a_file_that_could_not_be_opened_is_not_locked(path):
    path.write_text("notes " * 1000)
    for _ in range(2):
        with pytest.raises(StoreError, match="not a database"):
            await opened(path)


async def test_a_file_that_could_not_be_opened_is_closed_before_the_error_is_handled(path):
    path.write_text("notes " * 1000)
    kept = path.stat()
    with pytest.raises(StoreError, match="not a database") as raised:
        await opened(path)

    assert not any(os.path.samestat(kept, found) for found in open_files())
    assert str(path) in str(raised.value)


def open_files() -> Iterator[os.stat_result]:
    """What this process has open."""
    for descriptor in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the one that listed the folder is closed
            yield descriptor.stat()


async def test_a_closed_store_raises_store_error(path):
    store = await opened(path)
    await store.close()

    with pytest.raises(StoreError):
        await store.append([make_record()])
    with pytest.raises(StoreError):
        await store.probe()
    with pytest.raises(StoreError):
        await store.known([key_of("a")])


async def test_a_group_with_one_unstorable_record_stores_nothing(path):
    # A lone surrogate is outside the contract: it stands here for any record that fails.
    async with closing(await opened(path)) as store:
        with pytest.raises(StoreError):
            await store.append([make_record("a"), make_record("b", data="\ud800")])

        assert [] == await stored(store)
        assert set() == await store.known([key_of("a"), key_of("b")])
        assert [STORED] == list(await store.append([make_record("a")]))


def threads() -> set[str]:
    """The names of the threads, but for the one that a loop keeps for calls to `to_thread`."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith("asyncio_")}


async def test_closing_waits_for_what_was_asked_before_and_leaves_no_thread(path):
    before, wal = threads(), path.with_name("events.db-wal")
    store = await opened(path)
    assert threads() > before
    appends = [asyncio.ensure_future(store.append([make_record(f"{n}")])) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())

    assert [[STORED]] * 5 == [list(outcomes) for outcomes in await asyncio.gather(*appends)]
    # aiosqlite's thread says that it has closed the file just before it ends.
    await eventually(lambda: threads() == before)
    assert not wal.exists()


async def test_a_close_that_is_given_up_closes_all_the_same(path):
    store = await opened(path)
    closes = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    closes.cancel()
    await asyncio.gather(closes, return_exceptions=True)
    await store.close()

    async with closing(await opened(path)) as store:
        assert [STORED] == list(await store.append([make_record("a")]))


async def test_a_file_that_cannot_be_opened_leaves_no_thread(path):
    path.write_text("notes " * 1000)
    before = threads()
    for opening in (opened, lambda path: open_reader(f"sqlite:///{path}")):
        with pytest.raises(StoreError, match="not a database"):
            await opening(path)

    assert before == threads()


def test_a_store_that_nobody_closed_does_not_keep_the_process_from_exiting(path):
    code = """if True:
        import asyncio, sys
        from gateway.stores.database import open_database

        async def main():
            return await open_database(__import__("pathlib").Path(sys.argv[1]), [])

        kept = asyncio.run(main())
        print("done")
    """
    done = run(["-c", code, path], timeout=20)
    assert (0, "done\n") == (done.returncode, done.stdout)


async def test_a_store_that_is_not_there_cannot_be_read_and_is_not_made(path):
    with pytest.raises(StoreError, match=r"events\.db"):
        await open_reader(f"sqlite:///{path}")
    assert not path.exists()


async def test_documents_can_be_read_while_another_process_locks_the_store(path):
    async with closing(await opened(path)) as store:
        await store.put("device", "T1", "a", "{}", NOW)
        with locked(path):
            waiting = asyncio.ensure_future(store.append([make_record("a")]))
            await asyncio.sleep(0)
            assert StoredDocument("{}", NOW) == await store.get("device", "T1", "a")
            assert not waiting.done()
            with pytest.raises(StoreError, match="locked"):
                await waiting
