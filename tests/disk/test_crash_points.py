"""A crash at any step of rotate, restore and prune loses nothing that was to stay.

The command runs once under the shim. Then its folder is rebuilt as it was after each
change of a file: as a kill leaves it, and as a power failure does.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.record import Outcome
from gateway.store import Selection
from gateway.stores import open_reader
from gateway.stores.spool import open_spool
from gateway.stores.sqlite import open_store
from tests.care.conftest import Site
from tests.conftest import ROOT
from tests.disk.images import Disk
from tests.disk.trace import Step, read
from tests.forking import run
from tests.records import closing, make_record

Way = Callable[[Disk, Path], Iterator[None]]


def killed(disk: Disk, image: Path) -> Iterator[None]:
    """The process ends, and the system goes on."""
    disk.killed(image)
    yield


def cut(disk: Disk, image: Path) -> Iterator[None]:
    """The power fails, and nothing is kept that was not synced."""
    disk.cut(image)
    yield


WAYS: dict[str, Way] = {"killed": killed, "cut": cut, "shuffled": Disk.every_naming}

EACH_WAY = pytest.mark.parametrize(
    # A crash after every sync and naming, and after each few writes; in short after some of them.
    ("way", "every"),
    [
        ("killed", None),
        pytest.param("killed", 7, marks=pytest.mark.slow),
        pytest.param("cut", 7, marks=pytest.mark.slow),
        pytest.param("shuffled", 7, marks=pytest.mark.slow),
    ],
)
SHORT = 8
"""Crashes of the short form, from the first step to the last."""

# A store whose last events are only in its log, as after a kill: the process ends at once.
LEFT = """
import asyncio, os, sys
from gateway.stores.sqlite import open_store
from tests.records import make_record

async def main():
    store = await open_store(sys.argv[1], 10)
    await store.append([make_record(name, data=f'"{name}"') for name in sys.argv[2:]])
    os._exit(0)

asyncio.run(main())
"""


def left(site: Site, *names: str) -> None:
    """Store events and end like a process that is killed."""
    url = f"sqlite:///{site.events}"
    assert 0 == run(["-c", LEFT, url, *names]).returncode
    assert site.events.with_name("events.db-wal").stat().st_size > 0


def steps(site: Site, shim: Path, *arguments: str) -> list[Step]:
    """What a command does to the folder, which is left as the command makes it."""
    trace = site.folder.with_name("trace")
    environment = {
        "PYTHONPATH": str(ROOT),
        "LD_PRELOAD": str(shim),
        "SHIM_FOLDER": str(site.folder),
        "SHIM_TRACE": str(trace),
    }
    subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=site.folder,
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
    )
    return read(trace)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A folder below the test's own, so that what tests need can lie beside it."""
    (tmp_path / "live").mkdir()
    return Site(tmp_path / "live")


def images(
    site: Site, found: list[Step], disk: Disk, way: Way, *, every: int | None
) -> Iterator[tuple[str, Site]]:
    """The folder after each change of names, each sync, and some of the writes."""
    image = site.folder.with_name("image")
    if every is None:
        wanted = {at * (len(found) - 1) // (SHORT - 1) for at in range(SHORT)}
    else:
        wanted = {at for at, one in enumerate(found) if one.operation not in "WT" or not at % every}
    for at, step in enumerate(found):
        disk.follow(step)
        if at not in wanted:
            continue
        for _ in way(disk, image):
            shutil.copy(site.folder / "config.toml", image / "config.toml")
            yield f"after {at}: {step.operation} {step.first[-40:]!r}", Site(image)


async def contents(path: Path) -> list[str]:
    """The names of the events in a store."""
    reader = await open_reader(f"sqlite:///{path}")
    async with closing(reader):
        return [json.loads(record.data) async for _, record in reader.read(Selection())]


def stores(folder: Path) -> list[Path]:
    """The store and the sealed and replaced ones beside it; one with two names once."""
    found: list[Path] = []
    for path in [
        folder / "events.db",
        *sorted(folder.rglob("events-*.db")),
        *folder.rglob("replaced-events-*/events.db"),
    ]:
        if path.exists() and not any(path.samefile(other) for other in found):
            found.append(path)
    return found


async def counted(site: Site) -> Counter[str]:
    """How often each event is in the stores of a folder."""
    found: Counter[str] = Counter()
    for path in stores(site.folder):
        found.update(await contents(path))
    return found


@EACH_WAY
async def test_a_crash_at_any_step_of_a_rotation_loses_and_doubles_nothing(site, shim, way, every):
    await site.store(make_record("a", data='"a"'), make_record(data='"keyless"'))
    left(site, "b", "c")
    names = {"a", "b", "c"}
    disk = Disk(site.folder)
    found = steps(site, shim, "rotate")

    states = set()
    for where, image in images(site, found, disk, WAYS[way], every=every):
        async with closing(await open_store(f"sqlite:///{image.events}", 10)) as store:
            again = await store.append([make_record(name) for name in sorted(names)])
            assert {Outcome.DUPLICATE} == set(again), where
            [one] = await store.append([make_record("new", data='"new"')])
            assert Outcome.STORED == one, where
        assert Counter([*names, "keyless", "new"]) == await counted(image), where
        states.add(len(stores(image.folder)))
    assert {1, 2} == states


@EACH_WAY
async def test_a_crash_at_any_step_of_a_restore_keeps_all_of_the_old_state_or_of_the_new_one(
    site, shim, way, every
):
    await site.store(make_record("a", data='"a"'))
    await site.queue(make_record("q", data='"q"'), make_record("drained", data='"drained"'))
    [backup] = site.run("backup", str(site.folder.with_name("copies")))
    async with closing(await open_spool(site.spool, 100)) as spool:
        await spool.erase(lambda record: "drained" in record.data)
    await site.store(make_record("b", data='"b"'), make_record("drained", data='"drained"'))
    await site.queue(make_record("r", data='"r"'))
    left(site, "c")
    disk = Disk(site.folder)
    found = steps(site, shim, "restore", backup["folder"])

    states = set()
    for where, image in images(site, found, disk, WAYS[way], every=every):
        async with closing(await open_store(f"sqlite:///{image.events}", 10)) as store:
            [one] = await store.append([make_record("new", data='"new"')])
            assert Outcome.STORED == one, where
        async with closing(await open_spool(image.spool, 100)) as spool:
            waiting = {json.loads(one.data) for one in (await spool.peek(10, 1 << 20)).records}
        state = await contents(image.events)
        old = ["a", "b", "drained", "c", "new"], {"q", "r"}
        new = ["a", "new"], {"q", "r", "drained"}
        assert (state, waiting) in (old, new), where
        states.add(len(state))
        everywhere = await counted(image)
        assert {"a", "b", "drained", "c", "new"} == set(everywhere), where
        # Nothing is left that a later start would take for a restore, and no fault.
        assert not image.events.with_name("events.db-restore").exists(), where
    assert {2, 5} == states


@pytest.mark.slow
async def test_an_interrupted_restore_of_a_damaged_store_is_finished(site, shim):
    await site.store(make_record("a", data='"a"'))
    await site.queue(make_record("q"))
    [backup] = site.run("backup", str(site.folder.with_name("copies")))
    left(site, "b")
    # SQLite cannot empty its log, so that is moved aside before the store is.
    with site.events.open("r+b") as file:
        file.write(b"x" * 100)
    disk = Disk(site.folder)
    found = steps(site, shim, "restore", backup["folder"])

    outcomes = set()
    for where, image in images(site, found, disk, killed, every=1000):
        listed = image.events.with_name("events.db-restore").exists()
        try:
            async with closing(await open_store(f"sqlite:///{image.events}", 10)):
                pass
            assert ["a"] == await contents(image.events), where
            outcomes.add(True)
        except StoreError:
            assert not listed, where
            outcomes.add(False)
    assert {False, True} == outcomes


@pytest.mark.parametrize("interrupted", [True, False])
async def test_commands_know_of_an_interrupted_restore(site, interrupted):
    await site.store(make_record("a", data='"a"'))
    await site.queue()
    [backup] = site.run("backup", "copies")
    await site.store(make_record("b", data='"b"'))
    if interrupted:
        names = json.dumps([{"path": "events.db", "aside": "replaced-events-x"}])
        site.events.with_name("events.db-restore").write_text(names)
        shutil.copy(site.folder / backup["folder"] / "store.db", f"{site.events}-restoring")
        site.run("backup", "copies", status=69)
        assert "interrupted" in site.notices
        site.run("verify", status=65)

    site.run("restore", backup["folder"])

    assert [(1, "a")] == site.exported()
    site.run("verify")
    site.run("backup", "copies")
    assert interrupted == (site.folder / "replaced-events-x").exists()


@EACH_WAY
async def test_a_crash_at_any_step_of_a_prune_keeps_what_was_to_stay(site, shim, way, every):
    person, others = {"subject": "user-1"}, {"subject": "user-2"}
    stays = [make_record(f"s{n}", data=f'"s{n}"', **others) for n in range(3)]
    goes = [make_record(f"g{n}", data=f'"g{n}"', **person) for n in range(3)]
    await site.store(*stays, *goes)
    waiting = [make_record("sq", data='"sq"', **others), make_record("gq", data='"gq"', **person)]
    await site.queue(*waiting)
    disk = Disk(site.folder)
    found = steps(site, shim, "prune", "--before", "2026-01-15", "--subject", "user-1")

    states = set()
    for where, image in images(site, found, disk, WAYS[way], every=every):
        async with closing(await open_spool(image.spool, 100)) as spool:
            queued = {json.loads(one.data) for one in (await spool.peek(10, 1 << 20)).records}
        assert "sq" in queued <= {"sq", "gq"}, where
        async with closing(await open_store(f"sqlite:///{image.events}", 10)) as store:
            again = await store.append(stays)
            assert {Outcome.DUPLICATE} == set(again), where
        kept = await contents(image.events)
        assert ["s0", "s1", "s2"] == kept[:3], where
        assert ["g0", "g1", "g2"][3 - len(kept[3:]) :] == kept[3:], where
        states.add(len(kept))
    assert {3, 6} <= states
