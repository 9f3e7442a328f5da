"""What `verify` finds, and the repairs: `recover` and `rebuild-keys`, on damaged files."""

import random
import sqlite3
from contextlib import closing as closed

import pytest

from gateway.record import Outcome
from gateway.store import Count, CountSelection
from gateway.stores import keys
from gateway.stores.sqlite import open_store
from tests.care.conftest import Site, spoil
from tests.records import NOW, closing, make_record, make_rejected, sequences, stored

BIG = f'"{"x" * 900}"'


async def filled(site: Site, count: int = 600) -> None:
    await site.queue(make_record("waiting"))
    await site.store(*[make_record(f"key {n}", data=BIG) for n in range(count)])


def faults(site: Site, *options: str) -> list[str]:
    return [
        f"{one['subject'].rpartition('/')[2]}: {one['message']}"
        for one in site.run("verify", *options, status=65)
        if one["verdict"] == "bad"
    ]


def change(site: Site, sql: str, *values: object) -> None:
    with closed(sqlite3.connect(site.events)) as db, db:
        db.execute(sql, values)


async def test_a_sound_store_is_ok_and_the_report_says_what_it_cannot_find(site):
    await filled(site)
    await site.store(make_rejected("x"))

    found = site.run("verify")

    assert {"ok", "note"} == {one["verdict"] for one in found}
    said = "\n".join(one["message"] for one in found)
    assert "601 events, sequences 1 to 601" in said
    assert "1 events wait for the store" in said
    assert "no checksums" in said


@pytest.mark.parametrize("name", ["events.db", "spool.db"])
async def test_a_damaged_page_is_found(site, name):
    await filled(site)
    spoil(site.folder / name, 3)

    assert {name} == {fault.partition(":")[0] for fault in faults(site)}


async def test_a_log_without_its_database_and_a_missing_file_are_found(site):
    await filled(site)
    site.events.rename(site.folder / "moved.db")
    (site.folder / "events.db-wal").write_bytes(b"x" * 500)
    site.spool.unlink()

    assert [
        "spool.db: there is no such file",
        "events.db-wal: holds 500 bytes of events, but its database is missing",
    ] == faults(site)


async def test_a_missing_table_and_a_newer_schema_are_found(site):
    await filled(site, 5)
    change(site, "DROP TABLE probe")
    assert "events.db: table probe: missing or changed" in faults(site)
    change(site, "PRAGMA user_version=99")
    assert any("schema version 99 is newer" in one for one in faults(site))


async def sealed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "RUN_KEYS", 200)
    await filled(site)
    await site.store()


async def test_a_key_that_is_in_no_run_is_found_and_indexed_again(site, monkeypatch):
    await sealed(site, monkeypatch)
    assert "ok" == site.run("verify")[0]["verdict"]
    change(site, "UPDATE key_run SET keys = x'' WHERE run = 1 AND bucket % 2")
    assert any("are in no run of keys" in one for one in faults(site))

    [told] = site.run("rebuild-keys")

    assert {"keys": 600} == told
    site.run("verify")
    async with closing(await open_store(f"sqlite:///{site.events}", 10)) as store:
        outcomes = await store.append([make_record(f"key {n}") for n in range(600)])
        assert {Outcome.DUPLICATE} == set(outcomes)


async def test_an_event_that_is_stored_twice_is_found(site):
    await filled(site)
    change(site, "UPDATE event SET key = (SELECT key FROM event WHERE seq = 1) WHERE seq = 2")
    assert any("1 events have the key of another" in one for one in faults(site))


async def test_events_of_an_unknown_sender_are_found(site):
    await filled(site, 5)
    change(site, "UPDATE event SET sender = 77 WHERE seq IN (2, 3)")
    assert ["events.db: 2 events are of a sender that is not in the table sender"] == faults(site)


async def counted(site: Site, events: int, outcome: str = "stored") -> None:
    """Store 10 events of a kind, and count some."""
    async with closing(await open_store(f"sqlite:///{site.events}", 10)) as store:
        await store.append([make_record(f"{n}", kind="action") for n in range(10)])
        await store.add_counts([Count(NOW, "moesif", "acme", "action", outcome, events)])


async def test_more_counted_than_stored_events_are_found(site):
    await filled(site, 5)
    await counted(site, 10)
    site.run("verify")
    await counted(site, 1, "drained")
    assert [
        "events.db: 11 events of moesif / acme / action are counted as stored, and 10 are there"
    ] == faults(site)
    await counted(site, 5)
    assert [
        "events.db: 16 events are counted as stored, but only 15 ever were",
    ] == faults(site)


async def test_where_events_were_deleted_or_are_in_another_store_counts_are_no_fault(site):
    await filled(site, 5)
    await counted(site, 10)
    site.run("prune", "--before", "2100-01-01", "--kind", "action")
    site.run("verify")
    site.run("rotate")
    site.run("verify")


async def test_counts_that_do_not_add_up_are_a_warning(site):
    await filled(site, 5)
    await counted(site, 3)
    change(site, "UPDATE hour_count SET count = 2")
    warnings = [one["message"] for one in site.run("verify") if one["verdict"] == "warning"]
    assert [
        "counts of 1 hours are not the sum of their parts",
        "counts of 1 days are not the sum of their parts",
    ] == warnings
    change(site, "DELETE FROM count_series")
    warnings = [one["message"] for one in site.run("verify") if one["verdict"] == "warning"]
    assert "1 counts are of a series that has no name" in warnings


async def test_keys_of_a_rotated_store_outlive_a_rebuild(site):
    await site.store(make_record("old"))
    site.run("rotate")
    await site.store(make_record("new"))

    site.run("rebuild-keys")

    async with closing(await open_store(f"sqlite:///{site.events}", 10)) as store:
        outcomes = await store.append([make_record("old"), make_record("new")])
        assert [Outcome.DUPLICATE] * 2 == list(outcomes)


async def test_keys_are_not_rebuilt_while_a_gateway_runs(site):
    async with closing(await open_store(f"sqlite:///{site.events}", 10)):
        site.run("rebuild-keys", status=69)
    assert "in use by another process" in site.notices


async def test_recover_copies_all_but_the_damaged_pages_and_counts_what_is_lost(site):
    await filled(site)
    before = site.exported()
    for page in (20, 21, 60):
        spoil(site.events, page)

    [told] = site.run("recover", "events.db", "new.db")

    after = site.exported("--store", "sqlite:///new.db")
    gone = sorted(seq for seq, _ in before if seq not in dict(after))
    assert 600 - len(gone) == told["records"] == len(after)
    assert 0 < len(gone) <= 30
    assert len(gone) == told["lost"]
    assert gone == [seq for first, last in told["unreadable"] for seq in range(first, last + 1)]
    assert after == [one for one in before if one[0] not in gone]
    assert 601 == told["next_sequence"]
    assert ["ok"] == [one["verdict"] for one in site.run("verify", "--store", "sqlite:///new.db")][
        :1
    ]


async def test_a_recovered_store_goes_on_with_its_keys_sequences_and_quarantine(site):
    await filled(site)
    await site.store(*[make_rejected(str(n)) for n in range(5)])
    count = Count(60_000_000, "moesif", "acme", "api_call", "stored", 5)
    async with closing(await open_store(f"sqlite:///{site.events}", 5)) as store:
        await store.append([make_rejected("4")] * 2)
        await store.add_counts([count])
    spoil(site.events, 20)
    site.run("recover", "events.db", "new.db")

    async with closing(await open_store(f"sqlite:///{site.folder}/new.db", 5)) as store:
        again = [make_record("key 599"), make_rejected("4"), make_rejected("5")]
        assert [Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.STORED] == list(
            await store.append(again)
        )
        rejected = await stored(store, kind="rejected")
        assert 5 == len(rejected)
        seen = await store.sightings(await sequences(store, kind="rejected"))
        assert [1, 1, 1, 3, 1] == [one.times for one in seen.values()]
        assert [count] == list(await store.counts(CountSelection()))
        assert {"4f2a9c01 client/1.0"} == {one.sender for one in await stored(store)}


async def test_recover_finds_the_end_again_where_the_last_page_is_damaged(site):
    await filled(site)
    with closed(sqlite3.connect(site.events)) as db:
        [(pages,)] = db.execute("PRAGMA page_count")
    spoil(site.events, pages)

    [told] = site.run("recover", "events.db", "new.db")

    assert 580 < told["records"] < 600
    assert told["next_sequence"] > 600
    assert told["unreadable"][-1][1] == told["next_sequence"] - 1


async def test_recover_of_sparse_sequences_ends(site):
    await filled(site, 100)
    change(site, "UPDATE event SET seq = seq + 1000000000000 WHERE seq > 50")
    with closed(sqlite3.connect(site.events)) as db:
        [(pages,)] = db.execute("PRAGMA page_count")
    for page in range(pages - 4, pages - 2):
        spoil(site.events, page)

    [told] = site.run("recover", "events.db", "new.db")

    assert 50 <= told["records"] < 100


async def test_recover_overwrites_nothing_and_needs_a_header_that_can_be_read(site):
    await filled(site, 5)
    (site.folder / "new.db").write_text("notes")
    site.run("recover", "events.db", "new.db", status=69)
    assert "notes" == (site.folder / "new.db").read_text()
    spoil(site.events, 1)
    site.run("recover", "events.db", "other.db", status=69)
    assert not (site.folder / "other.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
async def test_whatever_page_is_damaged_recovery_gives_only_what_was_stored(site, seed):
    await filled(site, 3000)
    before = dict(site.exported())
    dice = random.Random(seed)
    with closed(sqlite3.connect(site.events)) as db:
        [(pages,)] = db.execute("PRAGMA page_count")
    for _ in range(dice.randint(1, 6)):
        spoil(site.events, dice.randint(2, pages))

    [told] = site.run("recover", "events.db", "new.db")

    after = dict(site.exported("--store", "sqlite:///new.db"))
    assert after.items() <= before.items()
    assert len(before) - len(after) <= told["lost"]
    assert told["records"] == len(after)
    assert told["next_sequence"] > 3000
