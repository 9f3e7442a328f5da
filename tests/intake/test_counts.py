"""What becomes of events and requests is counted, by the minute of a clock, in a real store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import Reason, StoreError
from gateway.intake import counts as module
from gateway.intake.availability import Availability
from gateway.intake.counts import Counts
from gateway.record import EventRecord, Outcome
from gateway.store import ALL_TIME, CountSelection, Store
from gateway.stores.sqlite import open_store
from tests.records import closing, eventually, locked, make_record, make_rejected

STORED, DUPLICATE, QUEUED = Outcome.STORED, Outcome.DUPLICATE, Outcome.QUEUED
MINUTE = 60_000_000


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000 * MINUTE + 17

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with closing(await open_store(f"sqlite:///{path}", 10)) as opened:
        yield opened


@pytest.fixture
async def availability(store: Store) -> AsyncIterator[Availability]:
    async with closing(Availability(store.probe)) as made:
        yield made


@pytest.fixture
async def counts(
    store: Store,
    availability: Availability,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Counts]:
    monkeypatch.setattr(module, "INTERVAL", 0.02)
    async with closing(Counts(store, availability, clock)) as made:
        made.start()
        yield made


async def kept(store: Store) -> dict[tuple[int, str, str], int]:
    """The counts that the store has, by minute, kind and outcome."""
    found = await store.counts(CountSelection())
    return {(one.time // MINUTE, one.kind, one.outcome): one.count for one in found}


def events(*kinds: str) -> list[EventRecord]:
    return [make_record(kind=kind) for kind in kinds]


async def test_outcomes_are_counted_by_kind_and_minute(counts, store, clock):
    counts.events(events("action"), [STORED])
    counts.events(events("action", "action", "user"), [STORED, DUPLICATE, QUEUED])
    counts.events(events("user", "user"), [STORED, STORED])
    counts.events(events("user", "action"), [STORED, STORED])
    first = {
        (1000, "action", "stored"): 3,
        (1000, "action", "duplicate"): 1,
        (1000, "user", "queued"): 1,
        (1000, "user", "stored"): 3,
    }
    await eventually(lambda: same(store, first))

    clock.now += MINUTE
    counts.rejected("moesif", "acme", 7)
    counts.refused("moesif", "", Reason.CREDENTIAL_UNKNOWN)
    counts.malformed()
    counts.drained([make_record(), make_rejected("r")], [STORED, DUPLICATE])
    second = {
        (1001, "rejected", "rejected"): 7,
        (1001, "", "credential_unknown"): 1,
        (1001, "", "malformed"): 1,
        (1001, "api_call", "drained"): 1,
        (1001, "rejected", "drained_duplicate"): 1,
    }
    await eventually(lambda: same(store, first | second))


async def same(store: Store, wanted: dict[tuple[int, str, str], int]) -> bool:
    return wanted == await kept(store)


async def test_what_was_counted_last_is_written_when_the_gateway_stops(counts, store):
    counts.events(events("user"), [STORED])
    await counts.close()

    assert {(1000, "user", "stored"): 1} == await kept(store)


async def test_a_transaction_under_way_ends_before_the_gateway_stops(counts, store, monkeypatch):
    begun = asyncio.Event()
    add_counts = store.add_counts

    async def slowly(written):
        begun.set()
        await asyncio.sleep(0.1)
        await add_counts(written)

    monkeypatch.setattr(store, "add_counts", slowly)
    counts.events(events("user"), [STORED])
    await begun.wait()
    counts.events(events("user"), [STORED])
    await counts.close()

    assert {(1000, "user", "stored"): 2} == await kept(store)


async def test_nothing_is_written_while_nothing_is_counted(counts, store, path, monkeypatch):
    counts.events(events("user"), [STORED])
    await eventually(lambda: kept(store))
    wal = path.with_name("events.db-wal")
    before = wal.stat()

    await asyncio.sleep(module.INTERVAL * 5)

    assert (before.st_size, before.st_mtime_ns) == (wal.stat().st_size, wal.stat().st_mtime_ns)


async def test_counts_wait_for_an_unavailable_store_each_in_its_own_minute(
    counts, store, path, availability, clock
):
    with locked(path):
        availability.failed(StoreError("locked"))
        for _ in range(3):
            counts.events(events("user"), [QUEUED])
            await asyncio.sleep(module.INTERVAL * 3)
            clock.now += MINUTE
        assert availability.unavailable

    wanted = {(1000 + n, "user", "queued"): 1 for n in range(3)}
    await eventually(lambda: same(store, wanted))


async def test_counts_that_a_lock_kept_out_are_written_later(counts, store, path):
    with locked(path):
        counts.events(events("user"), [STORED])
        await asyncio.sleep(module.INTERVAL * 3)
        counts.events(events("user"), [STORED])

    await eventually(lambda: same(store, {(1000, "user", "stored"): 2}))


async def test_the_minutes_that_wait_for_a_store_are_bounded(
    counts, store, availability, clock, monkeypatch
):
    monkeypatch.setattr(module, "_MAX_WAITING", 2)
    availability.failed(StoreError("away"))
    for _ in range(50):
        counts.events(events("user"), [QUEUED])
        counts._collect_bounded()
        clock.now += MINUTE
    assert 2 == len(counts._waiting)

    await eventually(lambda: kept(store))
    await counts.close()
    assert 50 == sum((await kept(store)).values())


async def test_a_gateway_counts_what_it_answers(running, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.02)
    async with running() as gateway:
        action = {"action_name": "a", "user_id": "u", "request": {"time": "2026-01-15T10:00:00Z"}}
        same_id = {**action, "transaction_id": "t"}
        await gateway.moesif("/v1/actions/batch", [action, same_id, same_id, {"no": "action"}])
        await gateway.moesif("/v1/actions", b"no JSON")
        await gateway.send("POST", "/v1/actions", action, {"X-Moesif-Application-Id": "wrong"})
        await gateway.send("POST", "/nowhere")

        async def found():
            counts = await gateway.gateway._store.counts(CountSelection(step=ALL_TIME))
            return {(c.dialect, c.tenant, c.kind, c.outcome): c.count for c in counts}

        wanted = {
            ("moesif", "acme", "action", "stored"): 2,
            ("moesif", "acme", "action", "duplicate"): 1,
            ("moesif", "acme", "rejected", "rejected"): 2,
            ("moesif", "acme", "", "not_json"): 1,
            ("moesif", "", "", "credential_unknown"): 1,
            ("", "", "", "no_such_address"): 1,
        }
        await eventually(lambda: equal(found, wanted))


async def equal(found, wanted):
    return wanted == await found()
