"""The contract in gateway/store.py, for every registered store."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from gateway.errors import StoreError
from gateway.policy import RetentionPolicy, RetentionRule
from gateway.record import Outcome, key_of
from gateway.store import (
    MAX_SENDERS,
    OTHER,
    Count,
    CountSelection,
    Selection,
    Sighting,
    StoredDocument,
)
from gateway.stores import files_of, open_reader, open_store
from tests.records import NOW, closing, make_record, make_rejected, sequences, stored

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE


async def test_a_scheme_that_no_store_has_is_refused():
    with pytest.raises(ValueError, match="mysql"):
        await open_store("mysql://x", 1)


async def test_appended_records_are_read_back_equal(store):
    record = make_record("a")
    await store.append([record])

    assert [record] == await stored(store)


async def test_each_record_has_its_outcome_in_order(store):
    await store.append([make_record("b")])

    outcomes = await store.append([make_record("a"), make_record("b"), make_record("c")])

    assert [STORED, DUPLICATE, STORED] == list(outcomes)


async def test_appending_no_records_is_allowed(store):
    assert [] == list(await store.append([]))
    assert [] == await stored(store)


async def test_a_duplicate_within_a_call_is_found_and_the_first_is_kept(store):
    first, second = make_record("a"), make_record("a")

    assert [STORED, DUPLICATE] == list(await store.append([first, second]))
    assert [first] == await stored(store)


async def test_a_duplicate_in_a_later_call_is_found_and_the_first_is_kept(store):
    first, second = make_record("a"), make_record("a")
    await store.append([first])

    assert [DUPLICATE] == list(await store.append([second]))
    assert [first] == await stored(store)


async def test_copies_appended_at_the_same_time_are_stored_once(store):
    copies = [store.append([make_record("a")]) for _ in range(20)]
    outcomes = [outcome for [outcome] in await asyncio.gather(*copies)]

    assert 1 == outcomes.count(STORED)
    assert 19 == outcomes.count(DUPLICATE)
    assert 1 == len(await stored(store))


async def test_a_record_without_key_is_never_a_duplicate(store):
    record = make_record(data='{"same":true}')

    assert [STORED, STORED] == list(await store.append([record, make_record(data=record.data)]))
    assert [STORED] == list(await store.append([make_record(data=record.data)]))
    assert 3 == len(await stored(store))


async def test_a_large_group_with_scattered_duplicates_gets_one_outcome_each(store):
    await store.append([make_record(f"{n}") for n in range(0, 3000, 7)])

    outcomes = await store.append([make_record(f"{n}") for n in range(3000)])

    assert [n for n in range(3000) if n % 7 == 0] == [
        at for at, outcome in enumerate(outcomes) if outcome is DUPLICATE
    ]
    assert 3000 == len(await stored(store))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a\x00b", id="NUL"),
        pytest.param("\x00", id="only NUL"),
        pytest.param("\\u0000\\ud800", id="NUL and a lone surrogate as escapes"),
        pytest.param("é – 漢字 🎉 \u202e \ufeff \uffff \U0010ffff", id="Unicode"),
        pytest.param("".join(map(chr, range(1, 0xD800))), id="half the first plane"),
        pytest.param("x" * 100_000, id="100 KB"),
        pytest.param("🎉" * 100_000, id="400 KB"),
        pytest.param(" \r\n\t", id="white space"),
        pytest.param("", id="empty"),
        pytest.param("'; DROP TABLE event; --", id="SQL"),
    ],
)
async def test_every_text_is_read_back_unchanged(store, text):
    visible = text.replace("\x00", "0")
    record = make_record(text, data=text, type=visible, subject=visible)
    await store.append([record])

    assert [record] == await stored(store)
    assert {record.key} == await store.known([record.key])


async def test_numbers_of_any_size_keep_their_digits(store):
    data = json.dumps({"n": 2**80, "f": 0.1}) + " "
    await store.append([make_record(data=data)])

    [record] = await stored(store)
    assert data == record.data
    assert 2**80 == json.loads(record.data)["n"]


async def test_times_may_lie_before_1970_and_in_the_year_9999(store):
    early = make_record(time=-62_135_596_800_000_000)
    late = make_record(time=253_402_300_799_999_999)
    await store.append([early, late])

    assert [early, late] == await stored(store)


async def test_sequences_increase_in_the_order_of_commits(store):
    names = [f"{n}" for n in range(15)]
    for at in range(0, 15, 3):
        await store.append([make_record(name) for name in names[at : at + 3]])

    assert [key_of(name) for name in names] == [record.key for record in await stored(store)]
    numbers = await sequences(store)
    assert sorted(set(numbers)) == numbers
    assert numbers[0] > 0


async def test_a_sequence_is_not_reused_after_its_record_is_evicted(opened):
    store = await opened(1)
    seen: list[int] = []
    for n in range(6):
        await store.append([make_rejected(f"{n}")])
        seen += await sequences(store)

    assert sorted(set(seen)) == seen


async def test_only_the_newest_quarantined_records_are_kept(opened):
    store = await opened(3)
    await store.append([make_record("event")])
    for n in range(5):
        await store.append([make_rejected(f"{n}")])

    rejected = await stored(store, kind="rejected")
    assert [key_of("2"), key_of("3"), key_of("4")] == [record.key for record in rejected]
    assert {("moesif", "acme"): 2} == store.evicted
    assert 1 == len(await stored(store, kind="api_call"))


async def test_a_single_group_can_exceed_the_quarantine(opened):
    store = await opened(2)

    outcomes = await store.append([make_rejected(f"{n}") for n in range(5)])

    assert [STORED] * 5 == list(outcomes)
    assert [key_of("3"), key_of("4")] == [record.key for record in await stored(store)]
    assert {("moesif", "acme"): 3} == store.evicted


async def test_a_quarantine_of_zero_records_keeps_none(opened):
    store = await opened(0)

    assert [STORED] == list(await store.append([make_rejected("a")]))
    assert [] == await stored(store)
    assert set() == await store.known([key_of("a")])


async def test_the_key_of_an_evicted_quarantined_record_is_free_again(opened):
    store = await opened(1)
    await store.append([make_rejected("a")])
    assert [DUPLICATE] == list(await store.append([make_rejected("a")]))

    await store.append([make_rejected("b")])

    assert set() == await store.known([key_of("a")])
    assert [STORED] == list(await store.append([make_rejected("a")]))
    assert [key_of("a")] == [record.key for record in await stored(store)]


async def test_a_repeated_quarantined_record_evicts_none(opened):
    store = await opened(2)
    await store.append([make_rejected("a"), make_rejected("b")])
    for _ in range(5):
        await store.append([make_rejected("b")])

    assert 2 == len(await stored(store))
    assert not store.evicted


async def test_a_tenant_evicts_its_own_quarantined_records_first(opened):
    store = await opened(4)
    await store.append([make_rejected("quiet", tenant="quiet")])
    for n in range(9):
        await store.append([make_rejected(f"{n}", tenant="noisy")])

    kept = await stored(store)
    assert [key_of(name) for name in ("quiet", "6", "7", "8")] == [one.key for one in kept]
    assert {("moesif", "noisy"): 6} == store.evicted


async def test_tenants_that_fill_the_quarantine_come_to_equal_shares(opened):
    store = await opened(6)
    await store.append([make_rejected(f"{n}", tenant="first") for n in range(6)])
    for n in range(20):
        await store.append([make_rejected(f"second {n}", tenant="second")])

    shares = Counter(one.tenant for one in await stored(store))
    assert {"first": 3, "second": 3} == shares
    assert {("moesif", "first"): 3, ("moesif", "second"): 17} == store.evicted


async def test_the_same_tenant_in_another_dialect_has_a_share_of_its_own(opened):
    store = await opened(2)
    await store.append([make_rejected("quiet", dialect="device")])
    await store.append([make_rejected("a"), make_rejected("b")])

    assert [key_of("quiet"), key_of("b")] == [one.key for one in await stored(store)]


async def test_the_quarantine_is_bounded_in_bytes(opened):
    store = await opened(100, 1000)
    await store.append([make_rejected("quiet", tenant="quiet", data='"é"')])
    for n in range(5):
        await store.append([make_rejected(f"{n}", tenant="noisy", data="1" * 400)])

    kept = await stored(store)
    assert [key_of(name) for name in ("quiet", "3", "4")] == [one.key for one in kept]
    assert {("moesif", "noisy"): 3} == store.evicted


async def test_bytes_of_the_quarantine_are_those_of_its_text_in_utf8(opened):
    store = await opened(100, 1000)
    await store.append([make_rejected(f"{n}", data='"' + "é" * 249 + '"') for n in range(2)])
    assert not store.evicted

    await store.append([make_rejected("one more byte", data="1")])
    assert {("moesif", "acme"): 1} == store.evicted


async def test_a_quarantined_record_larger_than_the_quarantine_is_not_kept(opened):
    store = await opened(100, 1000)

    assert [STORED] == list(await store.append([make_rejected("large", data="1" * 1001)]))
    assert [] == await stored(store)


async def test_what_retention_deletes_makes_room_in_the_quarantine(opened):
    store = await opened(100, 1000)
    policy = RetentionPolicy(rules=(RetentionRule(kind="rejected", max_age=1),))
    for hour in range(6):
        now = NOW + hour * 3_600_000_000
        await store.append([make_rejected(f"{hour}", data="1" * 500, received_at=now)])
        while (await store.expire(policy, now + 1)).more:
            pass

    assert not store.evicted


async def test_known_returns_only_stored_keys(store):
    await store.append([make_record("a"), make_record("b"), make_record()])

    assert {key_of("a"), key_of("b")} == await store.known(map_keys("a", "b", "c"))
    assert set() == await store.known([])
    assert set() == await store.known(map_keys("c"))


async def test_any_number_of_keys_can_be_looked_up_at_once(store):
    await store.append([make_record(f"{n}") for n in range(1200)])

    assert 1200 == len(await store.known(map_keys(*map(str, range(5000)))))


def map_keys(*texts: str) -> set[bytes]:
    return {key_of(text) for text in texts}


async def test_a_store_that_works_is_ready_as_often_as_it_is_asked(store):
    await store.probe()
    await store.probe()

    assert [] == await stored(store)


async def test_a_reader_beside_the_store_reads_what_is_committed_or_says_that_it_cannot(store, url):
    await store.append([make_record("a"), make_record("b", tenant="other")])
    if url == "memory:":
        with pytest.raises(StoreError, match=r"memory: can only be read by the gateway"):
            await open_reader(url)
        return
    async with closing(await open_reader(url)) as reader:
        assert await stored(store) == await stored(reader)
        await store.append([make_record("c")])
        assert [key_of("a"), key_of("c")] == [
            one.key for one in await stored(reader, tenant="acme")
        ]
        await reader.close()
        with pytest.raises(StoreError):
            await stored(reader)


async def test_the_last_document_put_under_a_name_counts(store):
    assert await store.get("device", "T1", "a/1") is None
    await store.put("device", "T1", "a/1", "old", 1)
    await store.put("device", "T1", "a/1", "new", 2)
    await store.put("device", "T2", "a/2", "{}", 3)
    await store.put("moesif", "T1", "a/3", "{}", 4)
    await store.put("device", "T1", "b", "{}", 5)

    assert StoredDocument("new", 2) == await store.get("device", "T1", "a/1")
    assert {("T1", "a/1"), ("T2", "a/2")} == set(await store.names("device", "a/"))


async def test_only_a_url_of_its_own_form_names_a_store(url):
    assert ([Path(url[10:])] if url.startswith("sqlite:") else []) == list(files_of(url))
    with pytest.raises(ValueError, match="Expected"):
        files_of(url.partition(":")[0] + ":?")


async def test_closing_twice_is_safe(store):
    await store.close()
    await store.close()


async def test_after_reconciling_our_own_attempt_is_stored_and_kept_once(store):
    first, keyless = make_record("a"), make_record()
    await store.append([make_record("before")])
    await store.append([first, keyless])
    await store.reconcile([first.id, keyless.id, make_record().id])

    again = [first, keyless, msgspec.structs.replace(keyless, key=keyless.id)]
    assert [STORED] * 3 == list(await store.append(again))
    assert [DUPLICATE] * 2 == list(await store.append([make_record("a"), make_record("before")]))
    assert 3 == len(await stored(store))


async def test_after_reconciling_an_attempt_of_which_nothing_was_kept_it_can_be_made_again(store):
    record = make_record("a")
    await store.reconcile([record.id])

    assert [STORED] == list(await store.append([record]))
    assert [record] == await stored(store)


async def test_what_was_reconciled_is_known_by_its_identity_from_then_on(store):
    keyless = make_record()
    await store.append([keyless])
    await store.reconcile([keyless.id])
    for n in range(3):
        await store.append([make_record(f"{n}")])
        await store.reconcile([make_record().id])
    copy = msgspec.structs.replace(keyless, key=keyless.id)

    [outcome] = await store.append([copy])
    assert outcome in (DUPLICATE, STORED)
    assert 4 == len(await stored(store))


async def test_senders_are_read_back_and_may_be_unknown(store):
    senders = ["4f2a9c01 curl/8.5.0", None, "4f2a9c01 ", "b7e1 a  b", "4f2a9c01 curl/8.5.0"]
    records = [make_record(sender=sender) for sender in senders]
    await store.append(records)

    assert records == await stored(store)


async def test_a_client_that_changes_its_user_agent_with_each_request_becomes_other(store):
    names = [f"4f2a9c01 client/{n}" for n in range(MAX_SENDERS + 2)]
    for name in names:
        await store.append([make_record(sender=name)])
    await store.append([make_record(sender=one) for one in (names[0], names[-1], "b7e1 new")])

    kept, other = names[:MAX_SENDERS], f"4f2a9c01 {OTHER}"
    wanted = [*kept, other, other, names[0], other, "b7e1 new"]
    assert wanted == [one.sender for one in await stored(store)]


async def test_a_quarantined_record_that_is_sent_again_is_one_row_with_its_sightings(store):
    await store.append([make_rejected("a", received_at=NOW + 5), make_rejected("b")])
    for at in (20, 10):
        await store.append([make_rejected("a", received_at=NOW + at), make_record("event")])
    await store.append([make_rejected("c"), make_rejected("c", received_at=NOW + 1)])
    await store.add_counts([])

    sequences_of = {one.key: at async for at, one in store.read(Selection(kind="rejected"))}
    a, b, c = (sequences_of[key_of(name)] for name in "abc")
    everything = await store.sightings(range(100))
    assert {
        a: Sighting(3, NOW + 5, NOW + 20),
        b: Sighting(1, NOW, NOW),
        c: Sighting(2, NOW, NOW + 1),
    } == everything
    assert {b: everything[b]} == await store.sightings([b, 99])
    assert {} == await store.sightings([])


async def test_an_evicted_record_that_comes_again_is_seen_for_the_first_time(opened):
    store = await opened(1)
    for name in ("a", "a", "b", "a"):
        await store.append([make_rejected(name)])
    await store.add_counts([])

    [(sequence, _)] = [one async for one in store.read(Selection())]
    assert {sequence: Sighting(1, NOW, NOW)} == await store.sightings([sequence])


MINUTE = 60_000_000
NOON = NOW // (1440 * MINUTE) * 1440 * MINUTE + 720 * MINUTE


def count_of(minute, count, **changes):
    names = {"dialect": "moesif", "tenant": "acme", "kind": "api_call", "outcome": "stored"}
    return Count(time=NOON + minute * MINUTE, count=count, **{**names, **changes})


async def test_counts_of_a_minute_add_up_and_are_read_in_order(store):
    other = count_of(0, 7, outcome="duplicate")
    await store.add_counts([count_of(1, 2), other, count_of(0, 1)])
    await store.add_counts([count_of(1, 3), msgspec.structs.replace(count_of(1, 1), time=NOON)])

    assert [other, count_of(0, 2), count_of(1, 5)] == list(await store.counts(CountSelection()))


async def test_counts_are_selected_by_time_and_name_and_added_up_to_steps(store):
    tenants = [count_of(n, 1, tenant=tenant) for n in range(120) for tenant in ("a", "b")]
    refused = count_of(3, 4, kind="", tenant="", outcome="credential_unknown")
    await store.add_counts([*tenants, refused])

    async def found(**wanted):
        counts = await store.counts(CountSelection(**wanted))
        return [(one.time - NOON, one.tenant, one.count) for one in counts]

    assert [(0, "a", 60), (60 * MINUTE, "a", 60)] == await found(step=60, tenant="a")
    assert [(3 * MINUTE, "", 4)] == await found(outcome="credential_unknown")
    assert [(3 * MINUTE, "", 4)] == await found(kind="")
    since, until = NOON + 2 * MINUTE, NOON + 4 * MINUTE
    between = await found(since=since, until=until, tenant="b", dialect="moesif")
    assert [(2 * MINUTE, "b", 1), (3 * MINUTE, "b", 1)] == between
    assert [(3 * MINUTE, "b", 1)] == await found(since=since + 1, until=until, tenant="b")
    assert [] == await found(dialect="device")


async def test_a_reader_beside_the_store_has_counts_and_sightings(store, url):
    await store.append([make_rejected("a"), make_rejected("a")])
    await store.add_counts([count_of(0, 1)])
    if url == "memory:":
        return
    async with closing(await open_reader(url)) as reader:
        assert [count_of(0, 1)] == list(await reader.counts(CountSelection()))
        [sighting] = (await reader.sightings(await sequences(store))).values()
        assert 2 == sighting.times


async def test_quarantined_records_are_listed_newest_first_with_their_sightings(store):
    first, other, second = (
        make_rejected("a", data='{"n":1}'),
        make_rejected("b", tenant="other"),
        make_rejected("c"),
    )
    await store.append([first, make_record("e"), other])
    await store.append([second, make_rejected("a", received_at=NOW + 5)])
    await store.add_counts([])

    found = await store.quarantined(limit=10)

    assert [second, other, first] == [one.record for one in found]
    assert Sighting(2, NOW, NOW + 5) == found[2].seen
    before = found[0].sequence
    assert [other] == [one.record for one in await store.quarantined(before=before, limit=1)]
    assert [other] == [one.record for one in await store.quarantined(tenant="other", limit=10)]
    assert [] == await store.quarantined(dialect="device", limit=10)


async def test_released_records_are_gone_and_may_be_quarantined_anew(store):
    await store.append([make_rejected("a"), make_record("e"), make_rejected("b")])
    [newer, older] = [one.sequence for one in await store.quarantined(limit=10)]

    # Twice the same, one that never was, and an event.
    assert 1 == await store.release([older, older, older + 1, 1000], "drop", NOW)

    assert [newer] == [one.sequence for one in await store.quarantined(limit=10)]
    assert 2 == len(await stored(store))
    assert 0 == await store.release([older], "replay", NOW)
    assert [STORED, DUPLICATE] == list(await store.append([make_rejected("a"), make_rejected("b")]))


async def test_the_sequence_of_the_last_record_is_not_given_again_after_its_release(store):
    await store.append([make_rejected("a")])
    [last] = await sequences(store)
    await store.release([last], "drop", NOW)

    await store.append([make_record("b")])

    assert [last] < await sequences(store)


async def test_what_was_released_is_still_known_as_kept_by_the_last_append(store):
    record = make_rejected("a")
    await store.append([record])
    await store.release(await sequences(store), "drop", NOW)

    await store.reconcile([record.id])

    assert [STORED] == list(await store.append([record]))
    assert [] == await stored(store)
