"""A full disk: no acknowledged event is lost, no refused one stored, and it recovers."""

import json
import textwrap
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.record import Outcome
from gateway.stores.sqlite import open_store
from tests.forking import run
from tests.records import closing, make_record, stored

STORED = Outcome.STORED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def opened(path: Path):
    return open_store(f"sqlite:///{path}", 100)


async def test_a_full_database_is_a_store_error_and_nothing_of_the_group_is_kept(path):
    async with closing(await opened(path)) as store:
        kept = await fill(store)
        before = await stored(store)
        assert kept == len(before)

        await store._database.run(lambda db: db.execute("PRAGMA max_page_count = 1000000"))
        assert [STORED] == list(await store.append([make_record("full")]))
        assert [*before] == (await stored(store))[:-1]


async def fill(store: object) -> int:
    """Append groups of two until no page is left; return how many records were kept."""
    run = store._database.run
    [(pages,)] = await run(lambda db: db.execute("PRAGMA page_count").fetchall())
    await run(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 20}").fetchall())
    for n in range(1000):
        try:
            await store.append([make_record(data="x" * 5000), make_record(data="y" * 5000)])
        except StoreError as error:
            assert "full" in str(error)
            return 2 * n
    raise AssertionError("it never was full")


FULL_DISK = """
    import asyncio, json, resource, sys
    from gateway.errors import StoreError
    from gateway.record import Outcome, key_of
    from gateway.stores.sqlite import open_store
    from tests.records import make_record, stored

    async def main(url):
        store = await open_store(url, 10)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
        said, failed = [], []
        for n in range(400):
            name = f"{n}"
            try:
                await store.append([make_record(name, data="x" * 5000)])
            except StoreError:
                failed.append(name)
            else:
                said.append(name)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await store.probe()
        known = await store.known([key_of(name) for name in said + failed])
        lost = [name for name in said if key_of(name) not in known]
        ghosts = [name for name in failed if key_of(name) in known]
        again = [(await store.append([make_record(name)]))[0].value for name in failed[:3]]
        await store.close()
        print(json.dumps([len(said), len(failed), lost, ghosts, again]))

    asyncio.run(main(sys.argv[1]))
"""


def test_a_full_disk_loses_no_acknowledged_event_and_the_gateway_recovers(path):
    done = run(["-c", textwrap.dedent(FULL_DISK), f"sqlite:///{path}"])
    assert (0, "") == (done.returncode, done.stderr)
    said, failed, lost, ghosts, again = json.loads(done.stdout)

    assert said > 5
    assert failed > 5
    assert [] == lost
    assert [] == ghosts
    assert ["stored"] * 3 == again
