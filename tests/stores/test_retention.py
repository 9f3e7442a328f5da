"""What a store deletes when it is told what to keep: for every registered store."""

import msgspec
import pytest

from gateway.policy import Expired, RetentionPolicy, RetentionRule, bytes_of
from gateway.record import Outcome, key_of
from gateway.store import Store
from tests.records import NOW, make_record, make_rejected, sequences, stored

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE
HOUR = 3_600_000_000


def keep(*rules: RetentionRule, max_bytes: int | None = None) -> RetentionPolicy:
    return RetentionPolicy(rules, max_bytes)


async def expire(store: Store, policy: RetentionPolicy, now: int = NOW) -> Expired:
    """Make steps until there is nothing more to do; return the sum of them."""
    by_age = by_size = 0
    for _ in range(100_000):
        step = await store.expire(policy, now)
        by_age, by_size = by_age + step.by_age, by_size + step.by_size
        if not step.more:
            return Expired(by_age, by_size)
    raise AssertionError("it never ends")


def aged(*hours: float, **changes):
    """Records that were received so many hours before now, each with its hours for a key."""
    return [make_record(str(age), received_at=NOW - int(age * HOUR), **changes) for age in hours]


async def test_records_go_once_they_are_as_old_as_they_may_be(store):
    await store.append(aged(50, 25, 24, 23.9, 1))

    assert Expired(by_age=3) == await expire(store, keep(RetentionRule(max_age=24 * HOUR)))
    assert [4, 5] == await sequences(store)
    assert Expired() == await expire(store, keep(RetentionRule(max_age=24 * HOUR)), NOW + 1)
    later = await expire(store, keep(RetentionRule(max_age=24 * HOUR)), NOW + HOUR)
    assert Expired(by_age=1) == later
    assert [5] == await sequences(store)


async def test_without_a_rule_that_fits_everything_stays(store):
    await store.append(aged(50, 25))

    assert Expired() == await expire(store, keep())
    assert Expired() == await expire(store, keep(RetentionRule(tenant="other", max_age=1)))
    assert [1, 2] == await sequences(store)


async def test_the_first_rule_that_fits_counts(store):
    policy = keep(
        RetentionRule(kind="user"),
        RetentionRule(tenant="short", max_age=2 * HOUR),
        RetentionRule("logspace", kind="event", max_age=10 * HOUR),
        RetentionRule(max_age=100 * HOUR),
    )
    for age in (200, 50, 5, 1):
        changes = [
            {"kind": "user", "tenant": "short"},
            {"tenant": "short"},
            {"dialect": "logspace", "kind": "event"},
            {},
        ]
        await store.append(
            [
                make_record(received_at=NOW - age * HOUR, data=f'"{age}"', **change)
                for change in changes
            ]
        )

    await expire(store, policy)

    assert ['"200"', '"50"', '"5"', '"1"'] == [
        record.data for record in await stored(store, kind="user")
    ]
    assert ['"1"'] == [
        record.data for record in await stored(store, tenant="short", kind="api_call")
    ]
    assert ['"5"', '"1"'] == [record.data for record in await stored(store, kind="event")]
    assert ['"50"', '"5"', '"1"'] == [
        record.data for record in await stored(store, tenant="acme", kind="api_call")
    ]


async def test_a_late_retry_of_an_expired_event_is_a_duplicate_for_a_while(store):
    await store.append(aged(50, 1))
    await expire(store, keep(RetentionRule(max_age=24 * HOUR)))

    assert {key_of("50"), key_of("1")} == await store.known([key_of("50"), key_of("1")])
    assert [DUPLICATE, DUPLICATE] == list(await store.append(aged(50, 1)))
    assert [2] == await sequences(store)


async def test_a_sequence_is_never_given_again_although_all_records_went(store):
    await store.append(aged(50, 51))
    await expire(store, keep(RetentionRule(max_age=1)))
    assert [] == await sequences(store)

    await store.append([make_record("new")])

    assert [3] == await sequences(store)


async def test_quarantined_records_expire_too_and_their_keys_are_free_again(store):
    old = {"received_at": NOW - 5 * HOUR}
    await store.append([make_rejected("a", **old), make_record("b", **old), make_rejected("c")])

    await expire(store, keep(RetentionRule(kind="rejected", max_age=HOUR)))

    assert [2, 3] == await sequences(store)
    assert [STORED, DUPLICATE] == list(await store.append([make_rejected("a"), make_rejected("c")]))
    assert not store.evicted


async def test_after_retention_the_quarantine_still_has_its_own_bound(opened):
    store = await opened(2)
    old = {"received_at": NOW - 5 * HOUR}
    await store.append([make_rejected("a", **old), make_rejected("b")])
    await expire(store, keep(RetentionRule(max_age=HOUR)))

    await store.append([make_rejected("c"), make_rejected("d")])

    kept = await stored(store, kind="rejected")
    assert [key_of("c"), key_of("d")] == [record.key for record in kept]
    assert 1 == sum(store.evicted.values())


async def test_the_oldest_records_go_while_the_store_is_larger_than_its_bound(store):
    bound = 2_000_000
    for n in range(40):
        await store.append([make_record(f"{n} {m}", data=f'"{"x" * 700}"') for m in range(140)])

    told = await expire(store, keep(RetentionRule(), max_bytes=bound))

    left = await sequences(store)
    assert told.by_size == 5600 - len(left) > 0
    assert list(range(5601 - len(left), 5601)) == left
    assert bound * 0.65 < len(left) * 700 < bound
    assert Expired() == await expire(store, keep(max_bytes=bound))


async def test_only_a_store_beyond_its_bound_is_pressing(store):
    await store.append([make_record(data=f'"{"x" * 200_000}"') for _ in range(20)])

    assert (await store.expire(keep(max_bytes=1_000_000), NOW)).pressing
    assert not (await store.expire(keep(max_bytes=100_000_000), NOW)).pressing


async def test_records_of_which_some_are_still_to_be_settled_can_be_reconciled(store):
    record, keyless = make_record("a", received_at=1), make_record(received_at=1)
    await store.append([record, keyless])
    await expire(store, keep(RetentionRule(max_age=HOUR)))
    assert [] == await stored(store)

    await store.reconcile([record.id, keyless.id])

    again = [record, keyless, msgspec.structs.replace(keyless, key=keyless.id)]
    assert [STORED] * 3 == list(await store.append(again))
    assert [] == await stored(store)


@pytest.mark.parametrize("size", [1, 300_000])
async def test_records_of_very_different_sizes_expire(store, size):
    old = {"received_at": NOW - HOUR}
    await store.append([make_record(data='"s"', **old) for _ in range(3000)])
    await store.append([make_record(data=f'"{"x" * size}"', **old) for _ in range(60)])
    await store.append([make_record("new")])

    assert Expired(by_age=3060) == await expire(store, keep(RetentionRule(max_age=HOUR)))
    assert [3061] == await sequences(store)


def of_tenant(name: str, count: int, size: int = 700, **changes) -> list:
    """So many records of a tenant, each with so many bytes of data."""
    return [make_record(tenant=name, data=f'"{"x" * (size - 2)}"', **changes) for _ in range(count)]


def assert_newest(kept: list, all_of_them: list, bound: int) -> None:
    """Check that *kept* are the newest, and that they have as many bytes as they may."""
    assert kept == all_of_them[len(all_of_them) - len(kept) :]
    largest = max(bytes_of(one.data) for one in all_of_them)
    assert bound * 0.9 - largest < sum(bytes_of(one.data) for one in kept) <= bound


async def test_the_oldest_records_of_a_rule_go_while_they_have_more_bytes_than_they_may(store):
    noisy, quiet = of_tenant("noisy", 400), of_tenant("quiet", 400)
    await store.append([one for pair in zip(noisy, quiet, strict=True) for one in pair])

    told = await expire(store, keep(RetentionRule(tenant="noisy", max_bytes=100_000)))

    kept = await stored(store, tenant="noisy")
    assert_newest(kept, noisy, 100_000)
    assert told == Expired(by_size=400 - len(kept))
    assert quiet == await stored(store, tenant="quiet")


async def test_what_comes_later_counts_for_the_bytes_of_its_rule_too(store):
    policy = keep(
        RetentionRule(tenant="kept", kind="user"),
        RetentionRule(tenant="small", max_bytes=30_000),
        RetentionRule(kind="user", max_bytes=60_000),
        RetentionRule(max_bytes=90_000),
    )
    groups = [
        ({"tenant": "small", "kind": "user"}, 30_000),
        ({"tenant": "large", "kind": "user"}, 60_000),
        ({"tenant": "kept", "kind": "user"}, None),
        ({"tenant": "large", "kind": "event"}, 90_000),
    ]
    sent: dict[int, list] = {at: [] for at in range(len(groups))}
    for turn in range(12):
        for at, (changes, _) in enumerate(groups):
            some = of_tenant(count=20 + turn % 3, name=changes["tenant"], kind=changes["kind"])
            sent[at] += some
            await store.append(some)
        await expire(store, policy)

    for at, (changes, bound) in enumerate(groups):
        kept = await stored(store, **changes)
        if bound is None:
            assert sent[at] == kept
        else:
            assert_newest(kept, sent[at], bound)


@pytest.mark.parametrize("text", ["x" * 900, "é" * 450, "\U0001f600" * 225, "x" * 20_000])
async def test_the_bytes_of_a_rule_are_those_of_the_data_in_utf8_and_a_hundred_for_each(
    store, text
):
    rule = RetentionRule(max_bytes=300_000)
    before = [make_record(data=f'"{text}"') for _ in range(320)]
    await store.append(before)
    await expire(store, keep(rule))
    assert_newest(await stored(store), before, 300_000)

    after = [make_record(data=f'"{text}"') for _ in range(200)]
    await store.append(after)
    await expire(store, keep(rule))
    assert_newest(await stored(store), before + after, 300_000)


async def test_a_record_with_more_bytes_than_its_rule_may_have_goes(store):
    rule = RetentionRule(max_bytes=10_000)
    await store.append(of_tenant("acme", 3, 20_000))
    assert 3 == (await expire(store, keep(rule))).by_size

    await store.append([*of_tenant("acme", 1, 20_000), *of_tenant("acme", 1)])
    await expire(store, keep(rule))

    assert [5] == await sequences(store)


async def test_a_rule_may_bound_the_age_and_the_bytes_of_its_records(store):
    rule = RetentionRule(max_age=24 * HOUR, max_bytes=80_000)
    old = of_tenant("acme", 100, received_at=NOW - 20 * HOUR)
    new = of_tenant("acme", 20, received_at=NOW - HOUR)
    await store.append(old + new)

    await expire(store, keep(rule))
    assert_newest(await stored(store), old + new, 80_000)
    await expire(store, keep(rule), NOW + 5 * HOUR)
    assert new == await stored(store)
    more = of_tenant("acme", 80)
    await store.append(more)
    await expire(store, keep(rule), NOW + 5 * HOUR)
    assert_newest(await stored(store), new + more, 80_000)


async def test_quarantined_records_are_bounded_by_the_bytes_of_a_rule(opened):
    store = await opened(40)
    rule = RetentionRule(kind="rejected", max_bytes=20_000)
    await store.append(of_tenant("acme", 100))
    await store.append([make_rejected(f"{n}", data=f'"{"x" * 898}"') for n in range(60)])

    await expire(store, keep(rule))

    kept = await stored(store, kind="rejected")
    assert [key_of(f"{n}") for n in range(60 - len(kept), 60)] == [one.key for one in kept]
    assert 17_000 <= len(kept) * 1000 <= 20_000
    assert 100 == len(await stored(store, tenant="acme", kind="api_call"))


async def test_what_the_quarantine_has_evicted_does_not_count_for_a_rule(opened):
    store = await opened(30)
    policy = keep(RetentionRule(kind="rejected", max_bytes=50_000))
    quiet = [make_rejected(f"q{n}", data=f'"{"x" * 898}"', tenant="quiet") for n in range(5)]
    await store.append(quiet)
    for n in range(100):
        await store.append([make_rejected(f"{n}", data=f'"{"x" * 898}"', tenant="noisy")])
        await expire(store, policy)

    assert 25 == len(await stored(store, tenant="noisy"))
    assert quiet == await stored(store, tenant="quiet")
