"""Stores that an earlier version wrote are brought up to date, whatever happens meanwhile."""

import shutil
import sqlite3
from contextlib import closing as closed
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.record import EventRecord, Outcome, key_of
from gateway.store import CountSelection, Sighting
from gateway.stores.schema import migrations
from gateway.stores.sqlite import care_for, open_reader, open_store
from tests.forking import run
from tests.records import NOW, closing, make_record, make_rejected, sequences, stored
from tests.stores.old_store import key_at, make_old_store, many_records

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE
NEWEST = len(migrations())
OLDER = range(1, NEWEST)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def of_before(*records: EventRecord) -> list[EventRecord]:
    """The *records* as the earliest version knew them."""
    return [replace(record, sender=None) for record in records]


def version_of(path: Path) -> int:
    with closed(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def schema_of(path: Path) -> set[tuple[str, str]]:
    with closed(sqlite3.connect(path)) as db:
        return set(db.execute("SELECT name, sql FROM sqlite_schema"))


@pytest.mark.parametrize("version", OLDER)
async def test_an_older_store_keeps_its_events_keys_and_quarantine(path, version):
    records = of_before(
        make_record("a"), make_record(), make_rejected("r"), make_record("b", tenant="t2")
    )
    make_old_store(path, version, records)

    async with closing(await open_store(f"sqlite:///{path}", 1)) as store:
        assert records == await stored(store)
        known = [make_record("b", tenant="t2"), make_rejected("r"), make_record("new")]
        assert [DUPLICATE, DUPLICATE, STORED] == list(await store.append(known))
        await store.append([make_rejected("s")])
        assert [1, 2, 4, 5, 6] == await sequences(store)
    assert version_of(path) == NEWEST


@pytest.mark.parametrize("version", OLDER)
async def test_an_upgraded_store_has_the_schema_of_a_new_one(tmp_path, version):
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    make_old_store(old, version, [make_record()])
    for path in (old, new):
        async with closing(await open_store(f"sqlite:///{path}", 1)):
            pass

    with closed(sqlite3.connect(old)) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
    assert schema_of(new) == schema_of(old)


@pytest.mark.parametrize("version", OLDER)
async def test_an_older_store_can_be_read_without_being_upgraded(path, version):
    records = of_before(make_record("a"), make_record("b"), make_rejected("r"))
    make_old_store(path, version, records)

    async with closing(await open_reader(f"sqlite:///{path}")) as reader:
        assert records == await stored(reader)
        assert [] == list(await reader.counts(CountSelection()))
        assert {3: Sighting(1, NOW, NOW)} == await reader.sightings([1, 3])
    assert version_of(path) == version


@pytest.mark.parametrize("version", OLDER)
async def test_an_older_store_is_recovered_into_a_new_one(tmp_path, version):
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    records = of_before(make_record("a"), make_rejected("r"))
    make_old_store(old, version, records)

    assert len(records) == care_for(f"sqlite:///{old}").recover(new, lambda *_: None).records
    assert version_of(new) == NEWEST
    async with closing(await open_reader(f"sqlite:///{new}")) as reader:
        assert records == await stored(reader)


@pytest.mark.parametrize("version", OLDER)
async def test_what_an_older_version_quarantined_counts(path, version):
    old = [make_rejected(f"{n}", tenant="noisy", data="1" * 300) for n in range(3)]
    make_old_store(path, version, of_before(*old))

    async with closing(await open_store(f"sqlite:///{path}", 100, 700)) as store:
        await store.append([make_rejected("quiet", tenant="quiet", data="1" * 100)])
        assert [2, 3, 4] == await sequences(store)
        assert {("moesif", "noisy"): 1} == store.evicted


KILLED_AT_EACH_STATEMENT = """
import asyncio, os, signal, shutil, sqlite3, sys
from pathlib import Path
from gateway.stores.database import Engine
from gateway.stores.sqlite import open_store

async def live(path, left):
    def connect(*args, **settings):
        connection = sqlite3.connect(*args, **settings)
        def trace(sql):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        connection.set_trace_callback(trace)
        return connection
    store = await open_store(f"sqlite:///{path}", 1, engine=Engine(connect=connect))
    await store.close()

old, folder = map(Path, sys.argv[1:])
for statement in range(1, 1000):
    one = folder / str(statement)
    one.mkdir()
    shutil.copy(old, one / "events.db")
    child = os.fork()
    if not child:
        asyncio.run(live(one / "events.db", statement))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def killed_at_each_statement(old: Path, lives: Path) -> list[Path]:
    """A folder for each copy of the store *old* whose gateway was killed when it opened it."""
    lives.mkdir()
    done = run(["-c", KILLED_AT_EACH_STATEMENT, old, lives], timeout=60)
    assert 0 == done.returncode, done.stderr
    return sorted(lives.iterdir())


@pytest.mark.parametrize(
    # An upgrade of the first version executes what those of later ones do.
    "version",
    [1, *(pytest.param(one, marks=pytest.mark.slow) for one in OLDER[1:])],
)
async def test_an_upgrade_that_is_killed_at_any_statement_is_finished_at_the_next_start(
    tmp_path, version
):
    records = of_before(make_record("a"), make_rejected("r"))
    make_old_store(tmp_path / "events.db", version, records)
    killed = killed_at_each_statement(tmp_path / "events.db", tmp_path / "lives")

    versions = {version_of(folder / "events.db") for folder in killed}
    assert {version, NEWEST} <= versions
    for folder in killed:
        async with closing(await open_store(f"sqlite:///{folder}/events.db", 1)) as store:
            assert records == await stored(store)
            assert [DUPLICATE, STORED] == list(
                await store.append([make_record("a"), make_record("b")])
            )
        assert version_of(folder / "events.db") == NEWEST


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_ten_million_events_of_an_older_version_are_upgraded_without_being_rewritten(path):
    count = 10_000_000
    make_old_store(path, 1, many_records(count))
    backup, before = path.with_name("backup.db"), path.stat().st_size
    shutil.copy(path, backup)

    async with closing(await open_store(f"sqlite:///{path}", 100)) as store:
        late = [make_record(key=None) for _ in range(3)]
        again = [*many_records(2), *late]
        assert [DUPLICATE, DUPLICATE, *[STORED] * 3] == list(await store.append(again))
        last = [n * 1_000_003 % count for n in range(1000)]
        assert {key_at(n) for n in last} == await store.known([key_at(n) for n in last])
        assert [key_at(count - 1), *[one.id for one in late]] == [
            one.id for one in await stored(store, after=count - 1)
        ]
        assert {key_of("absent")} - await store.known([key_of("absent")])
    # Only the pages of the schema are written, whatever the number of events.
    assert path.stat().st_size - before < 1 << 20

    # The way back: the copy that was taken before is as it was.
    assert version_of(backup) == 1
    async with closing(await open_reader(f"sqlite:///{backup}")) as reader:
        assert [count] == await sequences(reader, after=count - 1)
