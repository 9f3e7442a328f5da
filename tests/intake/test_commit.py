"""Group commit: one transaction for all waiting requests, and an outcome for each."""

import asyncio
import time
from collections.abc import Collection, Sequence

import pytest

from gateway.errors import Reason, Refusal, StoreError
from gateway.intake.commit import GroupCommitter
from gateway.record import EventRecord, Outcome
from gateway.stores.memory import MemoryStore
from tests.records import eventually, make_record, stored

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE


class Gate:
    """A target that writes only while its gate is open, and fails when told to."""

    def __init__(self) -> None:
        self.store = MemoryStore(10)
        self.open = asyncio.Event()
        self.groups: list[int] = []
        self.failure: Exception | None = None
        self.failure_after: Exception | None = None
        self.reconciled: list[list[bytes]] = []

    async def reconcile(self, ids: Collection[bytes]) -> None:
        self.reconciled.append(list(ids))
        await self.store.reconcile(ids)

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        self.groups.append(len(records))
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        outcomes = await self.store.append(records)
        if self.failure_after is not None:
            raise self.failure_after
        return outcomes


@pytest.fixture
async def gate():
    return Gate()


@pytest.fixture
async def commit(gate):
    """Starts a committer with bounds; whatever happens, its gate opens and it is closed."""
    made: list[GroupCommitter] = []

    def start(**bounds: object) -> GroupCommitter:
        settings = {"max_events": 100, "max_bytes": 10_000, "deadline": 10, **bounds}
        made.append(GroupCommitter(gate, **settings))
        made[-1].start()
        return made[-1]

    yield start
    gate.open.set()
    for committer in made:
        await committer.close()


def begin(committer: GroupCommitter, *records: EventRecord) -> "asyncio.Task[Sequence[Outcome]]":
    return asyncio.create_task(committer.append(records))


async def test_each_request_gets_the_outcomes_of_its_own_events_in_order(gate, commit):
    gate.open.set()
    committer = commit()
    requests = [
        begin(committer, make_record("a"), make_record("b")),
        begin(committer, make_record("b"), make_record("c"), make_record("c")),
        begin(committer, make_record()),
    ]

    assert [[STORED, STORED], [DUPLICATE, STORED, DUPLICATE], [STORED]] == [
        list(outcomes) for outcomes in await asyncio.gather(*requests)
    ]


async def test_requests_that_arrive_while_a_group_is_written_form_the_next(gate, commit):
    committer = commit()
    requests = [begin(committer, make_record())]
    await eventually(lambda: gate.groups)
    requests += [begin(committer, make_record(), make_record()) for _ in range(10)]
    await eventually(lambda: 21 == committer.held_events)
    gate.open.set()
    await asyncio.gather(*requests)

    assert [1, 20] == gate.groups
    assert 0 == committer.held_events


async def test_no_request_is_answered_before_the_commit(gate, commit):
    request = begin(commit(), make_record())
    await eventually(lambda: gate.groups)
    await asyncio.sleep(0.05)
    assert not request.done()

    gate.open.set()
    assert [STORED] == list(await request)


async def test_a_request_without_events_waits_for_nothing(commit):
    assert [] == list(await commit().append([]))


@pytest.mark.parametrize(
    "bounds", [{"max_events": 3}, {"max_bytes": 3 * len(make_record(data="x" * 50).data)}]
)
async def test_a_request_beyond_a_limit_is_refused(gate, commit, bounds):
    committer = commit(**bounds)
    held = [begin(committer, make_record(data="x" * 50)) for _ in range(3)]
    await eventually(lambda: 3 == committer.held_events)

    with pytest.raises(Refusal) as refused:
        await committer.append([make_record(data="x" * 50)])
    assert Reason.OVERLOADED is refused.value.reason
    assert refused.value.reason.retryable

    gate.open.set()
    await asyncio.gather(*held)
    assert 3 == len(await stored(gate.store))
    assert [STORED] == list(await committer.append([make_record()]))


async def test_a_request_larger_than_the_limits_passes_if_nothing_else_waits(gate, commit):
    gate.open.set()
    committer = commit(max_events=2, max_bytes=10)

    assert [STORED] * 5 == list(await committer.append([make_record() for _ in range(5)]))


async def test_the_limits_are_released_after_failure_and_cancellation(gate, commit):
    committer = commit(max_events=2)
    gate.failure = StoreError("full")
    failing, cancelled = begin(committer, make_record()), begin(committer, make_record())
    await eventually(lambda: 2 == committer.held_events)
    cancelled.cancel()
    gate.open.set()
    with pytest.raises(StoreError):
        await failing
    gate.failure = None

    await eventually(lambda: 0 == committer.held_events)
    assert [STORED, STORED] == list(await committer.append([make_record(), make_record()]))


@pytest.mark.parametrize("failure", [StoreError("disk full"), RuntimeError("a bug")])
async def test_a_failure_gives_each_waiting_request_its_own_exception(gate, commit, failure):
    gate.failure = failure
    committer = commit()
    requests = [begin(committer, make_record()) for _ in range(3)]
    gate.open.set()
    told = await asyncio.gather(*requests, return_exceptions=True)

    assert [StoreError] * 3 == [type(one) for one in told]
    assert 3 == len({id(one) for one in told})
    assert all(str(failure) in str(one) for one in told)


async def test_the_committer_continues_after_a_failure(gate, commit):
    gate.failure = StoreError("away")
    gate.open.set()
    committer = commit()
    with pytest.raises(StoreError):
        await committer.append([make_record()])

    gate.failure = None
    assert [STORED] == list(await committer.append([make_record()]))


async def test_a_cancelled_request_affects_no_other_and_its_events_are_stored(gate, commit):
    committer = commit()
    first, given_up, last = (begin(committer, make_record(name)) for name in "abc")
    await eventually(lambda: 3 == committer.held_events)
    given_up.cancel()
    gate.open.set()

    assert [STORED] == list(await first)
    assert [STORED] == list(await last)
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert 3 == len(await stored(gate.store))


async def test_closing_answers_waiting_requests_and_refuses_later_ones(gate, commit):
    committer = commit()
    requests = [begin(committer, make_record())]
    await eventually(lambda: gate.groups)
    requests += [begin(committer, make_record()) for _ in range(5)]
    await eventually(lambda: 6 == committer.held_events)
    closing = asyncio.create_task(committer.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreError):
        await committer.append([make_record()])
    assert not closing.done()
    gate.open.set()
    await closing

    assert [[STORED]] * 6 == [list(outcomes) for outcomes in await asyncio.gather(*requests)]


async def test_the_limit_of_bytes_is_free_again_after_the_commit(gate, commit):
    gate.open.set()
    committer = commit(max_bytes=100)
    for _ in range(5):
        assert [STORED] == list(await committer.append([make_record(data="x" * 90)]))

    gate.open.clear()
    held = [begin(committer, make_record(data="x" * 40)) for _ in range(2)]
    await eventually(lambda: 2 == committer.held_events)
    gate.open.set()
    assert [[STORED]] * 2 == [list(outcomes) for outcomes in await asyncio.gather(*held)]


async def test_the_limit_of_bytes_counts_bytes_and_not_characters(gate, commit):
    committer = commit(max_bytes=100)
    held = begin(committer, make_record(data="é" * 40))
    await eventually(lambda: 1 == committer.held_events)

    with pytest.raises(Refusal):
        await committer.append([make_record(data="é" * 20)])
    gate.open.set()
    await held


async def test_requests_of_the_next_turns_of_the_loop_share_a_transaction(gate, commit):
    gate.open.set()
    committer = commit()

    async def later(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await committer.append([make_record()])

    await asyncio.gather(*(later(turns) for turns in range(6)))

    assert [6] == gate.groups


async def test_closing_an_unused_committer_returns(commit):
    await commit().close()


async def test_only_committed_groups_are_observed(gate, commit):
    seen: list[tuple[int, float]] = []
    committer = commit(observe=lambda events, seconds: seen.append((events, seconds)))
    gate.open.set()
    await committer.append([make_record(), make_record()])
    gate.failure = StoreError("away")
    with pytest.raises(StoreError):
        await committer.append([make_record()])

    [(events, seconds)] = seen
    assert 2 == events
    assert seconds > 0


async def test_a_group_that_takes_too_long_is_given_up_for_everyone_who_waits(gate, commit):
    committer = commit(deadline=0.1)
    written = begin(committer, make_record())
    await eventually(lambda: gate.groups)
    waiting = [begin(committer, make_record()) for _ in range(3)]
    waiting.append(asyncio.create_task(committer.append_in_background([make_record()])))
    told = await asyncio.gather(written, *waiting, return_exceptions=True)

    assert [StoreError] * 5 == [type(one) for one in told]
    assert [False] + [True] * 4 == [one.nothing_kept for one in told]
    assert "no answer within 0.1 s" == str(told[0])
    assert [1] == gate.groups


async def test_nobody_waits_longer_because_others_of_the_group_came_later(gate, commit):
    committer = commit(deadline=1)
    written = begin(committer, make_record())
    await eventually(lambda: gate.groups)
    early = begin(committer, make_record())
    await asyncio.sleep(0.6)
    late, since = begin(committer, make_record()), time.monotonic()
    gate.open.set()
    await written
    gate.open.clear()
    told = await asyncio.gather(early, late, return_exceptions=True)

    assert [StoreError] * 2 == [type(one) for one in told]
    assert [1, 2] == gate.groups
    # Both were told at the end of the first one's time, not of the second one's.
    assert time.monotonic() - since < 1


async def test_the_limit_of_bytes_is_free_again_after_an_overdue_group(gate, commit):
    committer = commit(deadline=0.1, max_bytes=100)
    written = begin(committer, make_record(data="x" * 10))
    await eventually(lambda: gate.groups)
    waiting = begin(committer, make_record(data="x" * 80))
    await asyncio.gather(written, waiting, return_exceptions=True)
    gate.open.set()
    await eventually(lambda: 0 == committer.held_events)

    again = [begin(committer, make_record(data="x" * 40)) for _ in range(2)]
    assert [[STORED]] * 2 == [list(outcomes) for outcomes in await asyncio.gather(*again)]


async def test_who_comes_while_a_group_is_overdue_does_not_wait(gate, commit):
    committer = commit(deadline=0.1)
    with pytest.raises(StoreError):
        await committer.append([make_record()])
    late = begin(committer, make_record())
    await asyncio.sleep(0)

    assert late.done()
    assert "no answer within 0.1 s" == str(late.exception())
    assert 1 == committer.held_events

    gate.open.set()
    await eventually(lambda: 0 == committer.held_events)
    assert [STORED] == list(await committer.append([make_record()]))


@pytest.mark.parametrize("how", ["late", "failed"])
async def test_our_own_earlier_attempt_is_no_duplicate_and_is_kept_once(gate, commit, how):
    committer = commit(deadline=0.1)
    records = [make_record("a"), make_record()]
    if how == "failed":
        gate.open.set()
        gate.failure_after = StoreError("the connection ended within COMMIT")
    with pytest.raises(StoreError):
        await committer.append(records)
    gate.failure_after = None
    gate.open.set()
    await eventually(lambda: 0 == committer.held_events)

    assert [STORED, STORED] == list(await committer.append(records))
    assert [[record.id for record in records]] == gate.reconciled
    assert [DUPLICATE] == list(await committer.append([make_record("a")]))
    assert records == await stored(gate.store)


async def test_what_can_wait_is_added_to_the_groups_of_requests_a_call_at_a_time(gate, commit):
    committer = commit()
    first = begin(committer, make_record())
    await eventually(lambda: gate.groups)
    background = [
        asyncio.create_task(committer.append_in_background([make_record(), make_record()]))
        for _ in range(3)
    ]
    requests = [begin(committer, make_record()) for _ in range(5)]
    await eventually(lambda: 6 == committer.held_events)
    gate.open.set()
    await asyncio.gather(first, *background, *requests)

    assert [1, 5 + 2, 2, 2] == gate.groups


class Slow(Gate):
    """A target whose transactions take a time of their own, by the number of their events."""

    def __init__(self, small: float, large: float) -> None:
        super().__init__()
        self.store = MemoryStore(10_000)
        self.seconds = small, large
        self.open.set()

    async def append(self, records: Sequence[EventRecord]) -> Sequence[Outcome]:
        await asyncio.sleep(self.seconds[len(records) > 10])
        return await super().append(records)


LARGE = {"max_events": 10_000, "max_bytes": 1 << 30}


def noise(committer: GroupCommitter, requests: int) -> "list[asyncio.Task[Sequence[Outcome]]]":
    """Requests of 100 events."""
    ids = [[f"{at}-{event}" for event in range(100)] for at in range(requests)]
    return [begin(committer, *map(make_record, some)) for some in ids]


async def test_tenants_take_turns_where_more_waits_than_a_group_may_have(gate, commit):
    gate.store = MemoryStore(10_000)
    committer = commit(**LARGE)
    begun = begin(committer, make_record("first"))
    await eventually(lambda: gate.groups)
    noisy = noise(committer, 20)
    quiet = begin(committer, make_record("quiet", tenant="quiet"))
    await asyncio.sleep(0)
    gate.open.set()

    assert [STORED] == await quiet
    assert 10 == sum(one.done() for one in noisy)
    assert [STORED] * 2000 == [one for some in await asyncio.gather(*noisy) for one in some]
    assert [STORED] == await begun
    assert [1, 1001, 1000] == gate.groups


@pytest.mark.parametrize("gate", [Slow(0, 0.05)])
async def test_groups_that_take_long_become_smaller(gate, commit):
    committer = commit(**LARGE)
    await asyncio.gather(*noise(committer, 27))

    assert [1000, 500, 300, 300, 300, 300] == gate.groups


@pytest.mark.parametrize("gate", [Slow(0.05, 0.05)])
async def test_groups_may_take_some_times_as_long_as_the_smallest_ones(gate, commit):
    """Where an fsync takes long, many small groups would take much longer in all."""
    committer = commit(**LARGE)
    for number in range(20):
        await begin(committer, make_record(f"{number}"))
    await asyncio.gather(*noise(committer, 27))

    assert [1000, 1700] == gate.groups[20:]


async def test_all_that_waits_is_written_at_once_before_its_time_is_over(gate, commit):
    gate.store = MemoryStore(10_000)
    committer = commit(**LARGE, deadline=2)
    begun = [begin(committer, make_record("first"))]
    await eventually(lambda: gate.groups)
    begun += noise(committer, 20)
    await asyncio.sleep(1.1)
    gate.open.set()
    await asyncio.gather(*begun)

    assert [1, 2000] == gate.groups
