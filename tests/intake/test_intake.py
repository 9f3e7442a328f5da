"""The intake, with real parts and a real disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import gateway.stores.database
from gateway.adapter import Head, Inbound, ParseResult, Rejected, Tenant
from gateway.errors import Reason, Refusal, StoreError
from gateway.intake.assembly import Bounds, assemble
from gateway.intake.drain import Drain
from gateway.intake.intake import Intake
from gateway.intake.redact import MASK, Redactor, Rules
from gateway.ops.metrics import Metrics
from gateway.record import EventRecord, Outcome, Receipt, key_of
from gateway.stores.spool import open_spool
from gateway.stores.sqlite import open_store
from schemas import Problem
from tests.intake.draining import drained
from tests.records import NOW, closing, locked, make_record, stored

STORED, DUPLICATE, QUEUED = Outcome.STORED, Outcome.DUPLICATE, Outcome.QUEUED

INBOUND = Inbound(
    Head("POST", "/v1/events", {}, lambda name: None, lambda name: ()),
    Tenant("acme"),
    b"",
    NOW,
    "192.0.2.1",
)


class Desk:
    """An intake with its store and spool; the spool drains only when told to."""

    def __init__(self, folder: Path, intake: Intake, store: Any, spool: Any) -> None:
        self.store_path = folder / "events.db"
        self.spool_path = folder / "spool.db"
        self.intake, self.store, self.spool = intake, store, spool

    async def accept(
        self,
        *records: EventRecord,
        rejected: tuple[Rejected, ...] = (),
        on_invalid: str = "quarantine",
        queue: bool = False,
    ) -> Receipt:
        reading = ParseResult(list(records), list(rejected))
        return await self.intake.accept(
            "moesif", INBOUND, reading, on_invalid=on_invalid, queue=queue
        )

    async def outcomes(self, *records: EventRecord, **how: Any) -> list[Outcome]:
        return list((await self.accept(*records, **how)).outcomes)

    async def refused(self, *records: EventRecord, **how: Any) -> Refusal:
        with pytest.raises(Refusal) as refusal:
            await self.accept(*records, **how)
        return refusal.value

    async def drain(self) -> None:
        await drained(self.spool, self.store)


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    # A lock of another process is given up on sooner, and an absent store tried again sooner.
    monkeypatch.setattr(gateway.stores.database, "BUSY_SECONDS", 0.05)
    async with AsyncExitStack() as stack:
        store = await open_store(f"sqlite:///{tmp_path}/events.db", 10)
        await stack.enter_async_context(closing(store))
        spool = await open_spool(tmp_path / "spool.db", 10)
        await stack.enter_async_context(closing(spool))
        with monkeypatch.context() as patch:
            patch.setattr(Drain, "start", lambda _: None)
            assembly = await assemble(
                stack,
                store=store,
                spool=spool,
                bounds=Bounds(max_events=100, max_bytes=1 << 20, deadline=2),
                redactor=Redactor(Rules.of([], ["password"]), {}),
                metrics=Metrics(),
            )
        intake = assembly.intake
        yield Desk(tmp_path, intake, store, spool)


def bad(raw: bytes = b"{}", position: int | None = 0) -> Rejected:
    return Rejected(position, [Problem("time", "Missing.")], raw)


async def test_each_event_has_its_outcome_in_order(desk):
    assert [STORED, STORED, DUPLICATE] == await desk.outcomes(
        make_record("a"), make_record("b"), make_record("a")
    )
    assert [DUPLICATE, STORED] == await desk.outcomes(make_record("b"), make_record("c"))


async def test_a_request_without_events_succeeds(desk):
    assert Receipt((), 0) == await desk.accept()
    assert Receipt((), 0) == await desk.accept(queue=True)


@pytest.mark.parametrize("queue", [False, True])
async def test_secrets_are_masked_before_anything_is_stored(desk, queue):
    secret = make_record("a", data='{"password":"s3cr3t"}')
    await desk.accept(secret, rejected=(bad(b'{"password":"s3cr3t"}'),), queue=queue)

    written = b"".join(path.read_bytes() for path in desk.store_path.parent.glob("*.db*"))
    assert b"s3cr3t" not in written
    assert MASK.encode() in written


async def test_invalid_events_are_quarantined_and_valid_ones_stored(desk):
    receipt = await desk.accept(make_record("a"), rejected=(bad(b"1"), bad(b"2")))

    assert ([STORED], 2) == (list(receipt.outcomes), receipt.rejected)
    assert ["api_call", "rejected", "rejected"] == [one.kind for one in await stored(desk.store)]


async def test_refuse_stores_nothing_if_one_event_is_invalid(desk):
    refusal = await desk.refused(make_record("a"), rejected=(bad(position=4),), on_invalid="refuse")

    assert Reason.INVALID is refusal.reason
    assert (Problem("[4].time", "Missing."),) == refusal.problems
    assert [] == await stored(desk.store)


@pytest.mark.parametrize("on_invalid", ["refuse", "quarantine"])
async def test_a_refusal_names_the_first_hundred_problems(desk, on_invalid):
    rejected = tuple(bad(b"%d" % at, at) for at in range(150))
    refusal = await desk.refused(rejected=rejected, on_invalid=on_invalid)

    assert [f"[{at}].time" for at in range(100)] == [one.path for one in refusal.problems]


async def test_a_request_with_only_invalid_events_is_refused_after_they_are_quarantined(desk):
    refusal = await desk.refused(rejected=(bad(position=None),))

    assert Reason.INVALID is refusal.reason
    assert (Problem("time", "Missing."),) == refusal.problems
    assert ["rejected"] == [one.kind for one in await stored(desk.store)]


async def test_an_event_that_the_spool_kept_although_it_failed_is_stored_once(desk, monkeypatch):
    append = desk.spool.append

    async def unsure(records: list[EventRecord]) -> None:
        await append(records)
        raise StoreError("the connection ended within COMMIT")

    with monkeypatch.context() as patch:
        patch.setattr(desk.spool, "append", unsure)
        assert [STORED] == await desk.outcomes(make_record(), queue=True)
    assert 1 == desk.spool.depth
    await desk.drain()

    assert 1 == len(await stored(desk.store))


async def test_accept_lets_a_request_with_only_invalid_events_succeed(desk):
    receipt = await desk.accept(rejected=(bad(), bad()), on_invalid="accept")

    assert Receipt([], 2, (Problem("[0].time", "Missing."),) * 2) == receipt
    # The same content twice is kept once.
    assert 1 == len(await stored(desk.store))


async def test_a_body_that_is_not_json_is_quarantined(desk):
    await desk.intake.quarantine_body("moesif", INBOUND, Problem("", "Not JSON."))

    assert ["not_json"] == [one.type for one in await stored(desk.store)]


async def test_events_to_be_queued_wait_in_the_spool(desk):
    assert [QUEUED, DUPLICATE] == await desk.outcomes(
        make_record("a"), make_record("a"), queue=True
    )
    assert 1 == desk.spool.depth
    assert [] == await stored(desk.store)


async def test_a_spooled_key_is_a_duplicate_for_store_and_spool(desk):
    await desk.accept(make_record("a"), queue=True)

    assert [DUPLICATE, STORED] == await desk.outcomes(make_record("a"), make_record("b"))
    assert [QUEUED, DUPLICATE] == await desk.outcomes(
        make_record("c"), make_record("a"), queue=True
    )
    assert [DUPLICATE] == await desk.outcomes(make_record("a"))


async def test_a_key_that_the_store_has_is_not_queued(desk):
    await desk.accept(make_record("a"))

    assert [DUPLICATE, QUEUED] == await desk.outcomes(
        make_record("a"), make_record("b"), queue=True
    )
    assert 1 == desk.spool.depth


async def test_while_the_store_is_unavailable_events_are_queued_and_reach_it_once(desk):
    with locked(desk.store_path):
        assert [QUEUED, QUEUED] == await desk.outcomes(make_record("a"), make_record())
        assert [DUPLICATE, QUEUED] == await desk.outcomes(make_record("a"), make_record("b"))
        problems = (Problem("[0].time", "Missing."),)
        receipt = await desk.accept(make_record("c"), rejected=(bad(),))
        assert Receipt([QUEUED], 1, problems) == receipt
        refusal = await desk.refused(rejected=(bad(b"other"),))
        assert Reason.INVALID is refusal.reason

    await desk.drain()
    kinds = [one.kind for one in await stored(desk.store)]
    assert ["api_call"] * 4 == [kind for kind in kinds if kind != "rejected"]
    assert 2 == kinds.count("rejected")
    assert {key_of("a")} == await desk.store.known([key_of("a")])


async def test_a_stored_key_is_a_duplicate_while_the_store_cannot_be_written(desk):
    await desk.accept(make_record("a"))
    with locked(desk.store_path):
        # The first of these finds the store locked, the others do not even try it.
        for name in "bcd":
            assert [DUPLICATE, QUEUED] == await desk.outcomes(make_record("a"), make_record(name))
    assert [DUPLICATE, QUEUED] == await desk.outcomes(make_record("a"), make_record("e"))


async def never(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_store_that_does_not_say_what_it_holds_is_asked_once(desk, monkeypatch):
    asked = 0

    async def known(_: object) -> set[bytes]:
        nonlocal asked
        asked += 1
        await never()
        return set()

    monkeypatch.setattr(desk.store, "known", known)
    monkeypatch.setattr(desk.store, "probe", never)
    async with asyncio.timeout(10):
        for name in "abc":
            assert [QUEUED] == await desk.outcomes(make_record(name), queue=True)

    assert 1 == asked


async def test_a_store_that_does_not_answer_a_probe_is_away(desk, monkeypatch):
    monkeypatch.setattr(desk.store, "probe", never)
    async with asyncio.timeout(10):
        assert "no answer to a probe" in await desk.intake.probe()
        assert [QUEUED] == await desk.outcomes(make_record("a"))
        with locked(desk.spool_path), pytest.raises(StoreError, match="no answer to a probe"):
            await desk.intake.probe()


async def test_the_spool_accepts_events_while_the_store_cannot_be_read(desk):
    await desk.accept(make_record("a"))
    await desk.store.close()

    assert [QUEUED, QUEUED] == await desk.outcomes(make_record("a"), make_record("b"))
    assert [DUPLICATE, QUEUED] == await desk.outcomes(make_record("b"), make_record("c"))


async def test_who_has_waited_for_both_does_not_wait_for_the_spool_again(desk, monkeypatch):
    asked = []

    async def fails(records: list[EventRecord]) -> None:
        asked.append(len(records))
        raise StoreError("the disk refuses")

    monkeypatch.setattr(desk.spool, "append", fails)
    with locked(desk.store_path):
        refusal = await desk.refused(make_record("a"), queue=True)

    assert Reason.UNAVAILABLE is refusal.reason
    assert [1] == asked


async def test_without_store_and_spool_every_request_gets_503(desk):
    with locked(desk.store_path), locked(desk.spool_path):
        for how in ({}, {"queue": True}, {"rejected": (bad(),)}):
            refusal = await desk.refused(make_record("a"), **how)
            assert Reason.UNAVAILABLE is refusal.reason
            assert refusal.reason.retryable
        with pytest.raises(StoreError):
            await desk.intake.probe()

    assert 0 == desk.spool.depth
    assert [] == await stored(desk.store)
    await desk.intake.probe()


async def test_a_working_store_or_spool_is_enough_to_be_ready(desk):
    with locked(desk.store_path):
        await desk.intake.probe()
    with locked(desk.spool_path):
        await desk.intake.probe()


async def test_a_full_spool_does_no_harm_while_the_store_works(desk):
    await desk.accept(*(make_record(f"{n}") for n in range(10)), queue=True)

    assert [STORED] == await desk.outcomes(make_record("y"), queue=True)
    assert [DUPLICATE] == await desk.outcomes(make_record("3"), queue=True)
    assert [STORED] == await desk.outcomes(make_record("x"))


async def test_a_request_larger_than_the_limit_passes_alone(desk):
    assert [STORED] * 300 == await desk.outcomes(*(make_record() for _ in range(300)))


async def test_where_only_the_spool_fails_what_was_to_be_queued_is_stored(desk):
    with locked(desk.spool_path):
        assert [STORED] == await desk.outcomes(make_record("a"), queue=True)
        assert [DUPLICATE] == await desk.outcomes(make_record("a"), queue=True)

    assert 1 == len(await stored(desk.store))
