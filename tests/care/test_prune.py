"""Erasing on request: no byte of what was erased remains in any file."""

import asyncio
import json
import random
import signal
import sqlite3
from contextlib import closing as closed
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.policy import RetentionRule
from gateway.record import Outcome
from gateway.store import Count, CountSelection, Pruned, Selection
from gateway.stores.spool import open_spool
from gateway.stores.sqlite import open_store
from tests.care.conftest import traffic
from tests.conftest import Process, command
from tests.records import NOW, closing, make_record, make_rejected, sequences, stored
from tests.stores.test_retention import HOUR, expire, keep
from tests.system.wire import eventually, metric, name_of

MARK = "Ursula-q7x"


def ignored(*_: object) -> None:
    """No progress is shown."""


def found_in(folder: Path, text: str = MARK) -> dict[str, int]:
    """How often a text stands in each file of a folder."""
    files = [path for path in folder.iterdir() if path.is_file()]
    counts = {path.name: path.read_bytes().count(text.encode()) for path in files}
    return {name: count for name, count in counts.items() if count}


def of_person(n: int, size: int, **changes):
    data = json.dumps({"n": n, "name": MARK, "more": MARK * (size // len(MARK))})
    return make_record(f"{MARK}{n}", subject=MARK, data=data, **changes)


def of_others(n: int, size: int, **changes):
    return make_record(f"other {n}", data=json.dumps("x" * size), subject="other", **changes)


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 40))]
)
async def test_no_byte_of_a_person_remains_in_the_files_whatever_was_deleted_before(tmp_path, seed):
    chance = random.Random(seed)
    sizes = chance.choice([(10, 300), (10, 2500), (100, 9000), (2000, 100_000)])
    share, count = chance.choice([0.5, 0.05, 0.005]), 300 if sizes[1] > 9000 else 2500
    url, number = f"sqlite:///{tmp_path}/events.db", 0
    async with closing(await open_store(url, 20)) as store:
        while number < count:
            group = []
            for _ in range(chance.choice((1, 10, 60))):
                number += 1
                size = chance.randrange(*sizes)
                when = {"received_at": NOW + number * 1000}
                if chance.random() < share:
                    group.append(of_person(number, size, **when))
                elif chance.random() < 0.1:
                    raw = json.dumps({"raw": chance.choice(["x", f'{{"user_id":"{MARK}"}}'])})
                    group.append(make_rejected(f"{number}", data=raw, **when))
                else:
                    kind = chance.choice(["api_call", "action", "user"])
                    group.append(of_others(number, size, kind=kind, **when))
            await store.append(group)
            if chance.random() < 0.05:
                # Holes among the events: rows are moved from page to page.
                rule = RetentionRule(kind=chance.choice(["action", "user"]), max_age=1_000_000)
                await expire(store, keep(rule), NOW + number * 1000 + HOUR)
        others = [one for one in await stored(store) if MARK not in one.data]
        kept = [one for one in await stored(store) if MARK in one.data]
        assert kept

        pruned = await store.prune(Selection(subject=MARK), ignored)

        assert Pruned(len(kept)) == pruned
        assert {} == found_in(tmp_path)
        assert others == await stored(store)
    assert {} == found_in(tmp_path)
    with closed(sqlite3.connect(tmp_path / "events.db")) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
        assert [(0,)] == db.execute("SELECT count(*) FROM blank").fetchall()


async def test_only_what_is_selected_goes_and_its_sequences_are_not_given_again(tmp_path):
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 20)) as store:
        await store.append(
            [
                make_record("1", received_at=NOW, tenant="other"),
                make_record("2", received_at=NOW + 5),
                make_record("3", received_at=NOW, kind="user"),
                make_record("4", received_at=NOW),
            ]
        )
        wanted = Selection(dialect="moesif", tenant="acme", kind="api_call", until=NOW + 5)

        assert 1 == (await store.prune(wanted, ignored)).events

        assert [1, 2, 3] == await sequences(store)
        outcomes = await store.append([make_record("4"), make_record("5")])
        assert [Outcome.DUPLICATE, Outcome.STORED] == list(outcomes)
        assert [1, 2, 3, 5] == await sequences(store)
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 20)) as store:
        # A retry does not bring back what was erased.
        assert [Outcome.DUPLICATE] == list(await store.append([make_record("4")]))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Selection(tenant="acmee"), r"tenant 'acmee'.* acme, other"),
        (Selection(kind="acton"), r"kind 'acton'.* action, api_call"),
        (Selection(tenant="other", kind="api_call"), r"moesif / other / action"),
        (Selection(until=NOW), r"before 2023-11-14T22:13:20Z; the oldest event is of 2023-11-14T2"),
    ],
)
async def test_a_name_or_a_time_of_which_there_is_nothing_is_an_error_that_says_what_there_is(
    tmp_path, wanted, said
):
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 20)) as store:
        await store.append(
            [
                make_record("1", received_at=NOW),
                make_record("2", received_at=NOW + 9, tenant="other", kind="action"),
            ]
        )
        with pytest.raises(StoreError, match=said):
            await store.prune(wanted, ignored)
        assert [1, 2] == await sequences(store)


async def test_what_waits_or_has_waited_in_the_spool_is_erased_too(tmp_path):
    async with closing(await open_spool(tmp_path / "spool.db", 1000)) as spool:
        await spool.append([of_person(n, 500) for n in range(50)])
        await spool.drop(await spool.peek(40, 1 << 20))
        await spool.append([of_others(n, 500) for n in range(3)])
        assert found_in(tmp_path)

        assert 10 == await spool.erase(lambda record: record.subject == MARK)

        assert {} == found_in(tmp_path)
        assert 3 == spool.depth
        assert {"other"} == {one.subject for one in (await spool.peek(10, 1 << 20)).records}


def test_the_command_erases_from_all_files_and_names_what_it_cannot_erase(site):
    asyncio.run(site.store(of_person(1, 100), of_others(1, 100)))
    asyncio.run(site.queue())
    site.run("backup", "copies")
    site.run("rotate")
    asyncio.run(site.store(of_person(2, 100), of_others(2, 100)))
    asyncio.run(site.queue(of_person(3, 100)))

    [told] = site.run("prune", "--before", "2100-01-01", "--subject", MARK)

    assert (1, 1) == (told["stored"], told["spooled"])
    rotated, backup = sorted(told["left"], key=lambda one: "backup" in one)
    assert rotated.endswith(".db: a rotated store")
    assert "/copies/2" in backup
    assert {Path(rotated.partition(":")[0]).name} == found_in(site.folder).keys()
    assert 1 == len(site.exported())


OWNER = "tenant-q7x"


async def fill_two_tenants(site) -> None:
    """Two tenants, of which one alone has a client, documents and counts of its own."""
    async with closing(await open_store(f"sqlite:///{site.events}", 20)) as store:
        for number in range(40):
            own = {"tenant": OWNER, "sender": f"4f2a9c01 client-{OWNER}/1.{number}"}
            await store.append(
                [
                    of_others(number, 100),
                    of_others(100 + number, 100, **own),
                    make_rejected(f"{number}", data=f'"{OWNER}"', tenant=OWNER),
                ]
            )
            name, body = f"device/D{number}", f'"{OWNER}"'
            await store.put("moesif", OWNER, name, body, NOW)
            await store.put("moesif", "acme", name, '"other"', NOW)
            counts = [
                Count(NOW + number * 60_000_000, "moesif", tenant, "api_call", outcome, 1)
                for tenant in ("acme", OWNER)
                for outcome in ("stored", "queued")
            ]
            await store.add_counts(counts)
    await site.queue(of_others(300, 100, tenant=OWNER))


async def test_nothing_of_a_tenant_remains_but_the_record_of_the_command(site):
    await fill_two_tenants(site)
    assert found_in(site.folder, OWNER)["events.db"] > 100

    [told] = site.run("prune", "--before", "2100-01-01", "--tenant", OWNER)

    # The quarantine holds 20 records.
    assert (60, 1, 40) == (told["stored"], told["spooled"], told["documents"])
    assert [f"{site.events}: the record of this command names the tenant"] == told["left"]
    assert {"events.db": 1} == found_in(site.folder, OWNER)
    site.run("verify")
    async with closing(await open_store(f"sqlite:///{site.events}", 20)) as store:
        assert {"acme"} == {one.tenant for one in await store.counts(CountSelection())}
        assert 40 == len(await store.names("moesif", "device/"))
        # Numbers of names that are gone are given again.
        await store.append([make_record("new", tenant="newcomer", sender="4f2a9c01 new/1.0")])
        [new] = await stored(store, tenant="newcomer")
        assert "4f2a9c01 new/1.0" == new.sender
        assert 41 == len(await stored(store))


async def test_who_has_events_left_keeps_documents_names_and_counts(site):
    await fill_two_tenants(site)
    late = of_others(500, 100, tenant=OWNER, kind="user", received_at=NOW + 10 * HOUR)
    await site.store(late)

    [told] = site.run("prune", "--before", "2023-11-15", "--tenant", OWNER)

    assert (60, 0) == (told["stored"], told["documents"])
    async with closing(await open_store(f"sqlite:///{site.events}", 20)) as store:
        assert {"acme", OWNER} == {one.tenant for one in await store.counts(CountSelection())}
        assert 80 == len(await store.names("moesif", "device/"))
        assert [late.data] == [one.data for one in await stored(store, tenant=OWNER)]


async def test_the_document_and_the_client_of_a_subject_go_with_its_last_event(site):
    async with closing(await open_store(f"sqlite:///{site.events}", 20)) as store:
        for number in range(30):
            await store.append(
                [
                    of_others(number, 100),
                    of_person(number, 100, sender=f"4f2a9c01 phone-of-{MARK}/1.0"),
                ]
            )
            await store.put("device", "acme", f"device/{number}", "{}", NOW)
        await store.put("device", "acme", f"device/{MARK}", "{}", NOW)
    await site.queue()

    [told] = site.run("prune", "--before", "2100-01-01", "--subject", MARK)

    assert (30, 1) == (told["stored"], told["documents"])
    assert {} == found_in(site.folder)
    async with closing(await open_store(f"sqlite:///{site.events}", 20)) as store:
        assert 30 == len(await store.names("device", "device/"))


async def test_a_store_that_goes_on_after_a_prune_gives_new_names_their_own_age(tmp_path):
    """A name may get the number of one that was erased, for which another age counted."""
    rules = RetentionRule(tenant="short", max_age=1), RetentionRule(max_age=HOUR)
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 20)) as store:
        await store.append([make_record("1", tenant="stays", received_at=NOW)])
        await store.append([make_record("2", tenant="short", received_at=NOW)])
        await expire(store, keep(*rules), NOW)
        assert 1 == (await store.prune(Selection(tenant="short"), ignored)).events

        await store.append([make_record("3", tenant="long", received_at=NOW)])
        await expire(store, keep(*rules), NOW + 60_000_000)

        assert ["stays", "long"] == [one.tenant for one in await stored(store)]


def test_a_command_with_a_wrong_name_exits_with_69(site):
    asyncio.run(site.store(of_person(1, 100)))

    site.run("prune", "--before", "2100-01-01", "--tenant", "acne", status=69)

    assert "There are: acme." in site.notices


def test_the_record_of_a_prune_names_no_person(site):
    asyncio.run(site.store(of_person(1, 100), of_others(1, 100)))

    site.run("prune", "--before", "2100-01-01", "--subject", MARK, "--tenant", "acme")

    with closed(sqlite3.connect(site.events)) as db:
        sql = "SELECT cause, events, tenant, length(subject_digest), ended >= began FROM prune"
        assert [("request", 1, "acme", 64, 1)] == db.execute(sql).fetchall()
    assert {} == found_in(site.folder)


def pruned(process: Process, *options: str) -> dict:
    done = command("prune", "-c", str(process.config), *options, cwd=process.folder)
    assert 0 == done.exit_code, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("clients", [2, pytest.param(8, marks=pytest.mark.slow)])
async def test_a_gateway_that_runs_erases_a_tenant_while_clients_send_and_loses_nothing_else(
    process, clients
):
    process.start()
    async with traffic(process, clients) as story:
        await asyncio.sleep(1)
        told = await asyncio.to_thread(pruned, process, "--before", "2100-01-01", "--tenant", "T1")
        assert told["stored"] > 10
        await asyncio.sleep(0.3)
    eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0)
    assert 0 == process.stop()
    exported = process.export()
    names = [name_of(event) for event in exported]
    assert len(names) == len(set(names))
    lost = story.acknowledged - set(names)
    assert told["stored"] + told["spooled"] >= len(lost) > 0
    # What went is of the tenant, and nothing else is.
    assert {True} == {"typeId" in story.sent[name] for name in lost}


@pytest.mark.parametrize("clients", [2, pytest.param(8, marks=pytest.mark.slow)])
async def test_a_prune_that_is_killed_can_be_done_again_and_loses_nothing_else(process, clients):
    process.start()
    async with traffic(process, clients) as story:
        await asyncio.sleep(1)
    assert 0 == process.stop()
    [count] = [len(process.export("--dialect", "moesif"))]
    process.start()
    killed = asyncio.create_task(
        asyncio.to_thread(
            command,
            "prune",
            "-c",
            str(process.config),
            "--before",
            "2100-01-01",
            "--dialect",
            "moesif",
            cwd=process.folder,
        )
    )

    def some_are_gone() -> bool:
        return len(process.export("--dialect", "moesif")) < count

    await asyncio.to_thread(eventually, some_are_gone)
    process.signal(signal.SIGKILL)
    # It ends well if it was done before the kill.
    assert (await killed).exit_code in (0, 69)
    process.start()
    others = story.acknowledged - {name_of(e) for e in process.export()}
    if process.export("--dialect", "moesif"):
        pruned(process, "--before", "2100-01-01", "--dialect", "moesif")
    assert 0 == process.stop()
    assert [] == process.export("--dialect", "moesif")
    kept = {name_of(event) for event in process.export()}
    assert others <= story.acknowledged - kept
    with closed(sqlite3.connect(process.folder / "events.db")) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
