"""Connections that end before or after a COMMIT: what was acknowledged is stored, and once."""

import asyncio

import pytest

from gateway.errors import StoreError
from gateway.record import Outcome
from gateway.stores import open_store
from tests.records import closing, make_record, stored

ROUNDS = 100
STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE


async def appended(store, record):
    """What became of *record*, which is sent again if a busy machine leaves that unknown."""
    for _ in range(5):
        try:
            return list(await store.append([record]))
        except StoreError:
            await store.reconcile([record.id])
    raise AssertionError("no answer at all")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("keyed", [True, False])
async def test_an_append_that_was_cut_is_made_again_and_recognised(proxy, url, moment, keyed):
    sent = []
    async with closing(await open_store(proxy.url(url), 10)) as store:
        await store.append([make_record("first")])
        for n in range(ROUNDS):
            sent.append(make_record(f"{n}" if keyed else None))
            proxy.cut = moment
            assert [STORED] == await appended(store, sent[-1])
        assert ROUNDS == proxy.cuts
        assert sent == (await stored(store))[1:]


async def test_a_device_event_whose_commit_was_cut_is_no_conflict(proxy, url, running):
    event = {"typeId": "0045", "description": "d", "appId": "a", "severity": 3, "data": {}}
    async with running({"store": {"url": proxy.url(url)}}) as gateway:
        assert 201 == (await gateway.device({**event, "timestamp": 1})).status
        for n in range(2, ROUNDS):
            proxy.cut = "after"
            answers = [await gateway.device({**event, "timestamp": n}) for _ in range(2)]
            assert [201, 409] == [one.status for one in answers]
        assert ROUNDS - 1 == len(await gateway.events())


async def test_a_server_that_does_not_answer_in_time_leaves_it_unknown(proxy, url):
    record, keyless = make_record("a"), make_record()
    async with closing(await open_store(proxy.url(url), 10)) as store:
        await store.append([make_record("first")])
        proxy.open.clear()
        with pytest.raises(StoreError) as failed:
            await store.append([record, keyless])
        proxy.open.set()

        assert not failed.value.nothing_kept
        await store.reconcile([record.id, keyless.id])
        assert [STORED] * 2 == list(await store.append([record, keyless.with_key()]))
        assert [DUPLICATE] == list(await store.append([make_record("a")]))
        assert 3 == len(await stored(store))


async def test_a_gateway_spools_while_the_server_hangs_and_drains_without_doubles(
    proxy, url, running
):
    event = {"typeId": "0045", "description": "d", "appId": "a", "severity": 3, "data": {}}
    action = {"action_name": "a", "user_id": "u", "request": {"time": "2026-01-15T10:00:00Z"}}
    async with running({"store": {"url": proxy.url(url)}}) as gateway:
        assert 201 == (await gateway.device({**event, "timestamp": 1})).status
        proxy.open.clear()
        answers = await asyncio.gather(
            *(gateway.device({**event, "timestamp": n}) for n in range(2, 22)),
            *(gateway.moesif("/v1/actions", action) for _ in range(20)),
        )
        assert {201, 202} >= {one.status for one in answers}
        proxy.open.set()
        for _ in range(200):
            if 41 == len(await gateway.events()):
                break
            await asyncio.sleep(0.1)

        found = await gateway.events()
        assert 41 == len(found)
        assert 41 == len({one["id"] for one in found})
        again = await gateway.device({**event, "timestamp": 7})
        assert 409 == again.status


async def test_an_unreachable_server_keeps_nothing_and_says_so(proxy, url):
    async with closing(await open_store(proxy.url(url), 10)) as store:
        await proxy.__aexit__()
        with pytest.raises(StoreError) as failed:
            await store.append([make_record("a")])

        assert failed.value.nothing_kept
        assert "gateway@" not in str(failed.value)


async def test_a_cancelled_append_leaves_nothing_half_done(url):
    async with closing(await open_store(url, 10)) as store:
        await store.append([make_record("first")])
        record = make_record("a")
        task = asyncio.create_task(store.append([record]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert [STORED] == list(await store.append([record]))
        assert 2 == len(await stored(store))
