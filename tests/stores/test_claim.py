"""The files of a database: lost, moved, replaced, or wanted by two."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing as closed
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import StoreError
from gateway.record import Outcome
from gateway.stores.spool import open_spool
from gateway.stores.sqlite import open_store
from tests.forking import run
from tests.records import closing, make_record, stored

STORED, QUEUED = Outcome.STORED, Outcome.QUEUED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def opened(path: Path):
    return open_store(f"sqlite:///{path}", 100)


def reading(path: Path) -> sqlite3.Connection:
    """A connection in the middle of reading, as of somebody with a shell."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM event").fetchone()
    return connection


async def stopped_while_somebody_reads(path: Path) -> Path:
    """Make a store whose events are in its WAL alone; return the WAL."""
    wal = path.with_name("events.db-wal")
    async with closing(await opened(path)) as store:
        await store.append([make_record("in the file")])
        reader = reading(path)
        await store.append([make_record(f"{n}") for n in range(100)])
        with capture_logs() as logs:
            await store.close()
    [line] = [line for line in logs if line["event"] == "wal_not_emptied"]
    assert [str(wal), wal.stat().st_size] == [line["file"], line["bytes"]]
    # A copy, for the reader as the last one would empty it.
    for name in (path.name, wal.name):
        shutil.copy(path.with_name(name), path.with_name(f"{name}.copy"))
    reader.close()
    for name in (path.name, wal.name):
        path.with_name(f"{name}.copy").rename(path.with_name(name))
    return wal


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_only_the_owner_can_read_the_files_whatever_the_umask(path, umask):
    before = os.umask(umask)
    try:
        async with closing(await opened(path)) as store:
            await store.append([make_record()])
            files = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)

    names = ("", "-shm", "-wal", "-writer")
    assert {f"{path.name}{suffix}": 0o600 for suffix in names} == files


async def test_a_database_that_was_moved_away_from_its_wal_is_missed_at_start(path):
    wal = await stopped_while_somebody_reads(path)
    size = wal.stat().st_size
    path.rename(path.with_name("moved.db"))

    with pytest.raises(StoreError, match=r"is missing or empty, but .*events\.db-wal holds events"):
        await opened(path)
    assert size == wal.stat().st_size
    assert not path.exists()

    path.with_name("moved.db").rename(path)
    async with closing(await opened(path)) as store:
        assert 101 == len(await stored(store))


async def test_an_empty_database_beside_a_wal_that_is_not_is_refused(path):
    wal = await stopped_while_somebody_reads(path)
    size = wal.stat().st_size
    path.write_bytes(b"")

    with pytest.raises(StoreError, match="put it back beside"):
        await opened(path)
    assert size == wal.stat().st_size


async def test_an_empty_file_alone_is_a_new_store(path):
    path.write_bytes(b"")
    async with closing(await opened(path)) as store:
        assert [STORED] == list(await store.append([make_record("a")]))


async def test_a_stop_empties_the_wal_although_somebody_else_has_the_file_open(path):
    async with closing(await opened(path)) as store:
        await store.append([make_record("a")])
        with closed(sqlite3.connect(path)) as idle:
            assert (1,) == idle.execute("SELECT count(*) FROM event").fetchone()
            with capture_logs() as logs:
                await store.close()
            assert 0 == path.with_name("events.db-wal").stat().st_size
    assert [] == logs


def symlink(path: Path) -> Path:
    other = path.with_name("link.db")
    other.symlink_to(path)
    return other


def symlink_of_folder(path: Path) -> Path:
    other = path.parent.with_name(f"{path.parent.name}-link")
    other.symlink_to(path.parent)
    return other / path.name


def hard_link(path: Path) -> Path:
    other = path.with_name("hard.db")
    os.link(path, other)
    return other


def without_lock_file(path: Path) -> Path:
    path.with_name("events.db-writer").unlink()
    return path


@pytest.mark.parametrize("other", [symlink, symlink_of_folder, hard_link, without_lock_file])
def test_a_second_gateway_is_kept_off_by_whatever_name(path, other, tmp_path):
    # In a process of its own: within one, closing a file ends SQLite's locks on it.
    code = """if True:
        import asyncio, sys
        from gateway.errors import StoreError
        from gateway.stores.sqlite import open_store
        try:
            asyncio.run(open_store("sqlite:///" + sys.argv[1], 10))
        except StoreError as error:
            print(error)
    """

    async def main() -> str:
        async with closing(await opened(path)) as store:
            await store.append([make_record("a")])
            done = await asyncio.to_thread(run, ["-c", code, other(path)])
            assert [STORED] == list(await store.append([make_record("b")]))
            return done.stdout

    assert "in use by another process" in asyncio.run(main())


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, f"{path}.new")
    path.with_name(f"{path.name}.new").replace(path)


def cut(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("events.db", remove),
        ("events.db", replace),
        ("events.db", cut),
        ("events.db-wal", remove),
        ("events.db-wal", replace),
    ],
)
async def test_nothing_is_written_to_files_that_nobody_will_find(
    path, name, change: Callable[[Path], None]
):
    store = await opened(path)
    await store.append([make_record("a")])
    await store.probe()
    change(path.with_name(name))

    for write in (store.probe(), store.append([make_record("b")]), store.put("d", "t", "n", "", 1)):
        with pytest.raises(StoreError, match=f"{name}: .* while the gateway runs") as raised:
            await write
        assert raised.value.nothing_kept
    await store.close()


async def test_a_file_that_is_put_back_is_written_again(path):
    async with closing(await opened(path)) as store:
        await store.append([make_record("a")])
        path.rename(path.with_name("away.db"))
        with pytest.raises(StoreError, match="No such file"):
            await store.append([make_record("b")])
        path.with_name("away.db").rename(path)

        await store.probe()
        assert [STORED] == list(await store.append([make_record("b")]))


async def test_nothing_is_queued_in_a_spool_that_was_removed(tmp_path):
    path = tmp_path / "spool.db"
    async with closing(await open_spool(path, 10)) as spool:
        assert [QUEUED] == list(await spool.append([make_record("a")]))
        path.unlink()
        for write in (spool.probe(), spool.append([make_record("b")])):
            with pytest.raises(StoreError, match="No such file"):
                await write


async def test_a_store_that_somebody_else_writes_is_written_no_more(path):
    async with closing(await opened(path)) as store:
        await store.append([make_record("a")])
        with closed(sqlite3.connect(path)) as other, other:
            other.execute(
                "INSERT INTO event SELECT seq + 1, id, stream, NULL, time, received_at, type,"
                " subject, client_address, data, sender FROM event"
            )
        for _ in range(2):
            with pytest.raises(StoreError, match="another process has written event 2") as raised:
                await store.append([make_record("b")])
            assert raised.value.nothing_kept
        assert 2 == len(await stored(store))

    async with closing(await opened(path)) as store:
        assert [STORED] == list(await store.append([make_record("b")]))
