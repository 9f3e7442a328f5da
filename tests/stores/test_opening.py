"""What is found out when a file is opened: whether it is a database, and one of ours."""

import sqlite3
from contextlib import closing as closed

import pytest

from gateway.errors import StoreError
from gateway.stores.spool import open_spool
from gateway.stores.sqlite import open_store
from tests.care.conftest import spoil
from tests.conftest import PROCESS_CONFIG, Process
from tests.records import closing, make_record


@pytest.fixture
async def path(tmp_path):
    path = tmp_path / "events.db"
    async with closing(await open_store(f"sqlite:///{path}", 10)) as store:
        await store.append([make_record("a")])
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE sealed_run", "table sealed_run: missing or changed"),
        ("ALTER TABLE event RENAME COLUMN data TO body", "table event: missing or changed"),
        ("PRAGMA user_version = 0", "tables are of another program"),
        ("PRAGMA user_version = 99", "schema version 99 is newer"),
    ],
)
async def test_a_schema_that_is_not_that_of_its_version_is_refused(path, change, said):
    with closed(sqlite3.connect(path)) as db:
        db.execute("PRAGMA legacy_alter_table = ON")
        db.execute(change)
        db.commit()
    before = path.read_bytes()

    with pytest.raises(StoreError, match=said):
        await open_store(f"sqlite:///{path}", 10)
    assert before == path.read_bytes()


async def test_a_file_of_another_program_is_not_made_a_spool(tmp_path):
    path = tmp_path / "theirs.db"
    with closed(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE theirs (x)")

    with pytest.raises(StoreError, match="another program"):
        await open_spool(path, 10)


@pytest.mark.parametrize("text", [b"no database\n" * 2000, b"SQLite format 3\0" + b"\0" * 8176])
async def test_a_file_that_is_no_database_is_refused_with_advice(tmp_path, text):
    path = tmp_path / "events.db"
    path.write_bytes(text)

    with pytest.raises(StoreError, match=r"Restore a backup .*gateway recover"):
        await open_store(f"sqlite:///{path}", 10)
    assert text == path.read_bytes()


async def test_a_gateway_whose_store_has_a_damaged_first_page_exits_with_69_and_says_what_to_do(
    path,
):
    spoil(path, 1)
    process = Process(path.parent, PROCESS_CONFIG)

    with pytest.raises(RuntimeError, match="gateway restore"):
        process.start()
    assert 69 == process.process.wait(10)
