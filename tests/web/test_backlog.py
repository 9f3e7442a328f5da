"""Overload: bursts wait, a queue that stands is refused, and refusals cost little."""

import asyncio
import json
import math
from contextlib import AsyncExitStack

import pytest

from gateway.web.again import Again, RefusedHeads
from gateway.web.backlog import PER_REQUEST, STANDING, Backlog
from gateway.web.budget import Budget
from gateway.web.turns import Turns
from tests.dialects import READING
from tests.web.sockets import connected, start, upload

BATCH = json.dumps([READING]).encode()
WHO, OTHER = ("logspace", "a"), ("logspace", "b")


class Machine:
    """A clock, and the CPU time of a process that is always busy."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def backlog(machine):
    return Backlog(machine, machine)


def wait_with(backlog, seconds, of=1):
    """Have so much work waiting, of a number of tenants."""
    backlog.work = seconds / STANDING * backlog.line
    backlog.tenants = of
    return backlog.work / of


def test_a_burst_may_wait_for_a_second(backlog):
    assert not backlog.refuses(wait_with(backlog, 0.9))
    assert backlog.refuses(wait_with(backlog, 1.1))


def test_a_queue_that_stands_is_refused_until_it_is_gone(backlog, machine):
    assert not backlog.refuses(wait_with(backlog, 0.3))
    machine.now += 0.6
    assert backlog.refuses(wait_with(backlog, 0.3))
    backlog.refuse()
    assert backlog.overloaded

    machine.now += 0.5
    wait_with(backlog, 0.05)
    backlog.measure()
    # It began to grow again: it is the same overload.
    assert backlog.refuses(wait_with(backlog, 0.3))
    machine.now += 1.1
    wait_with(backlog, 0.05)
    backlog.measure()
    assert not backlog.overloaded
    assert not backlog.refuses(wait_with(backlog, 0.3))


def test_a_tenant_with_little_work_is_let_in_beside_one_with_much(backlog):
    wait_with(backlog, 1.5, of=2)

    assert backlog.refuses(backlog.work)
    assert not backlog.refuses(0)
    assert not backlog.refuses(backlog.line / 2)


def test_the_seconds_of_work_are_measured_while_the_process_is_busy(backlog, machine):
    backlog.work = 10_000_000
    for _ in range(100):
        machine.now += 0.1
        backlog.done += 1_000_000
        backlog.measure()

    assert math.isclose(1.0, backlog.seconds)
    assert math.isclose(STANDING * 10_000_000, backlog.line)


def test_what_an_idle_process_does_is_not_taken_for_work(machine):
    backlog = Backlog(machine, lambda: machine.now / 10)
    before = backlog.line
    for _ in range(100):
        machine.now += 0.1
        backlog.done += 1
        backlog.measure()

    assert before == backlog.line


def test_a_request_is_work_until_its_answer_but_not_while_its_client_is_slow():
    budget = Budget(10_000, 10_000)
    backlog = budget.backlog
    one, two = budget.reserve(WHO, 100), budget.reserve(OTHER, 200)
    two.grow(50)
    assert (350 + 2 * PER_REQUEST, 2) == (backlog.work, backlog.tenants)

    one.pause()
    assert (250 + PER_REQUEST, 1) == (backlog.work, backlog.tenants)
    one.grow(100)
    one.begin()
    assert (450 + 2 * PER_REQUEST, 2) == (backlog.work, backlog.tenants)
    one.release()
    two.release()
    assert (0, 0) == (backlog.work, backlog.tenants)


@pytest.fixture
async def overloaded(running):
    """A gateway that takes its work for far too much, whatever it is."""
    async with running() as gateway:
        backlog = gateway.gateway._budget.backlog
        usual, backlog.line = backlog.line, -1.0
        gateway.calm = lambda: setattr(backlog, "line", usual)
        yield gateway


REFUSED = 'gateway_refused_total{dialect="logspace",reason="overloaded",tenant="development"}'


async def test_a_head_that_was_refused_is_refused_again_in_the_same_words(overloaded):
    async with connected(overloaded) as line, connected(overloaded) as other:
        answers = []
        for one in (line, line, other):
            await one.say(upload(BATCH))
            answers.append(await one.hear())
        assert 1 == await overloaded.metric("gateway_overloaded")
        assert 3 == await overloaded.metric(REFUSED)
        overloaded.calm()
        await other.say(upload(BATCH))
        accepted = await other.hear()

    assert [(503, "1")] * 3 == [(one.status, one.headers["retry-after"]) for one in answers]
    assert 1 == len({one.headers["x-request-id"] for one in answers})
    assert 202 == accepted.status
    assert 1 == len(await overloaded.events())


async def test_the_body_of_a_request_that_is_refused_again_is_passed_over(overloaded):
    large = BATCH + b" " * 300_000
    async with connected(overloaded) as line:
        await line.say(upload(large))
        assert 503 == (await line.hear()).status
        again = upload(large)
        await line.say(again[:1000])
        assert 503 == (await line.hear()).status
        await line.say(again[1000:200_000])
        await asyncio.sleep(0.05)
        overloaded.calm()
        await line.say(again[200_000:], upload(BATCH))

        assert 202 == (await line.hear()).status


async def test_another_credential_and_another_path_have_refusals_of_their_own(overloaded):
    ids = set()
    async with connected(overloaded) as line:
        plain = upload(BATCH)
        for request in (plain, upload(BATCH, "X-Any: 1"), plain.replace(b"/ev", b"/api/ev")):
            await line.say(request)
            answer = await line.hear()
            assert 503 == answer.status
            ids.add(answer.headers["x-request-id"])
        await line.say(plain.replace(b"development", b"nobody"))
        assert 403 == (await line.hear()).status

    assert 3 == len(ids)


async def test_who_expects_to_be_asked_for_a_body_is_not_refused_without_being_read(overloaded):
    head = start(f"Content-Length: {len(BATCH)}", "Expect: 100-continue")
    ids = set()
    for _ in range(2):
        async with connected(overloaded) as line:
            await line.say(head)
            ids.add((await line.hear()).headers["x-request-id"])

    assert 2 == len(ids)


async def test_pipelined_requests_are_answered_in_order(overloaded):
    async with connected(overloaded) as line:
        await line.say(upload(BATCH) * 3)
        statuses = [(await line.hear()).status for _ in range(3)]
        overloaded.calm()
        await line.say(upload(BATCH) * 2)
        statuses += [(await line.hear()).status for _ in range(2)]

    assert [503, 503, 503, 202, 202] == statuses


def server_of(gateway):
    return gateway.gateway._server


async def test_a_refusal_does_not_overtake_the_answer_to_a_request_before_it(overloaded):
    async with connected(overloaded) as line:
        await line.say(upload(BATCH))
        assert 503 == (await line.hear()).status
        [connection] = server_of(overloaded).connections
        # Both arrive before the handler of the first one has begun.
        connection.data_received(start("Content-Length: 0").replace(b"/events", b"/nowhere"))
        connection.data_received(upload(BATCH))

        assert [404, 503] == [(await line.hear()).status for _ in range(2)]


async def test_no_more_are_let_in_at_once_than_there_is_room_for(overloaded):
    """The event loop reads from many clients before the first of their requests is counted."""
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(connected(overloaded)) for _ in range(10)]
        ids = set()
        for line in lines:
            await line.say(upload(BATCH))
            ids.add((await line.hear()).headers["x-request-id"])
        overloaded.gateway._budget.backlog.line = 2.5 * (len(upload(BATCH)) + PER_REQUEST)
        for connection in server_of(overloaded).connections:
            connection.data_received(upload(BATCH))
        answers = [await line.hear() for line in lines]
        for connection in server_of(overloaded).connections:
            connection.data_received(upload(BATCH))
        later = [await line.hear() for line in lines]

    for heard in (answers, later):
        assert [202] * 3 + [503] * 7 == sorted(one.status for one in heard)
        assert ids == {one.headers["x-request-id"] for one in heard if one.status == 503}


async def test_heads_that_differ_in_the_length_of_the_body_are_refused_alike(overloaded):
    ids = set()
    async with connected(overloaded) as line:
        for size in (0, 1, 1000):
            await line.say(upload(BATCH + b" " * size))
            ids.add((await line.hear()).headers["x-request-id"])
        overloaded.calm()
        await line.say(upload(BATCH))
        assert 202 == (await line.hear()).status

    assert 1 == len(ids)


async def test_one_request_now_and_then_is_refused_at_length_for_the_sake_of_its_answer():
    heads, head = RefusedHeads(), upload(b"")
    always = Again(lambda *_: True, lambda: None, 0.05)
    heads.remember(head, b"first", always)
    [refused, rest] = heads.find(head)
    assert (b"first", 0) == (refused.answer, rest)
    assert not heads.lets_in(refused, 0)

    await asyncio.sleep(0.06)
    assert [True, False, False] == [heads.lets_in(refused, 0) for _ in range(3)]
    heads.remember(head, b"second", always)
    assert b"second" == heads.find(head)[0].answer
    await asyncio.sleep(0.2)
    assert heads.find(head) is None


@pytest.mark.parametrize(
    "data",
    [
        start("Transfer-Encoding: chunked") + b"2\r\n[]\r\n0\r\n\r\n",
        upload(b"")[:-2],
        upload(b"", "X-Any: 1"),
        upload(b"").replace(b"Content-Length: 0", b"Content-Length: 0x"),
        start() + b"\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_is_not_the_whole_of_a_head_that_was_refused_goes_to_the_parser(data):
    heads = RefusedHeads()
    heads.remember(upload(b""), b"", Again(lambda *_: True, lambda: None, 1))

    assert heads.find(data) is None


async def test_tenants_take_turns():
    turns, order = Turns(), []

    async def work(who, name):
        await turns.take(who)
        try:
            order.append(name)
            await asyncio.sleep(0)
        finally:
            turns.give()

    names = [(WHO, "a1"), (WHO, "a2"), (WHO, "a3"), (OTHER, "b1"), (OTHER, "b2")]
    async with asyncio.TaskGroup() as group:
        for who, name in names:
            group.create_task(work(who, name))

    assert ["a1", "a2", "b1", "a3", "b2"] == order


async def test_a_turn_is_not_lost_with_a_client_that_leaves():
    turns = Turns()
    await turns.take(WHO)
    waiting = [asyncio.create_task(turns.take(WHO)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    turns.give()
    # The second has a turn now, and leaves before it knows.
    waiting[1].cancel()
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await waiting[2]
    turns.give()
    await turns.take(OTHER)
