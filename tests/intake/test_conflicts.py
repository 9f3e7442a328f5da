"""Ids that a client uses for two events: told apart from retries, and kept on request."""

import json
import time

import pytest
from structlog.testing import capture_logs

from gateway.intake import conflicts
from gateway.record import Kind, Outcome, key_of
from gateway.store import Content
from gateway.stores import keys, open_store
from gateway.stores.spool import open_spool
from tests.adapters.test_logspace import reading
from tests.conftest import Running
from tests.intake.draining import draining
from tests.records import closing, eventually, locked, make_record, stored

SPACE = '{dialect="logspace",tenant="development"}'
CONFLICTS = f"gateway_conflicts_total{SPACE}"
NOT_COMPARED = f"gateway_duplicates_not_compared_total{SPACE}"
KEEP = {"ingest": {"on_conflict": "keep"}}


@pytest.fixture(params=["memory", "sqlite"])
def kept_in(request, tmp_path):
    url = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/events.db"}[request.param]
    return {"store": {"url": url}, "spool": {"path": str(tmp_path / "spool.db")}}


async def compared(gateway: Running, different: int) -> None:
    async def counted() -> bool:
        return await gateway.metric(CONFLICTS) == different

    await eventually(counted)


async def test_a_reused_id_is_counted_and_named_and_a_retry_is_not(running, kept_in):
    async with running(kept_in) as gateway:
        with capture_logs() as lines:
            await gateway.logspace([reading(id="1", system="a"), reading(id="2")])
            await gateway.logspace([reading(id="2")])
            await gateway.logspace([reading(id="1", system="b")])
            await compared(gateway, 1)
        [told] = [line for line in lines if line["event"] == "id_reused"]
        [first, _] = await gateway.events()

        assert ("logspace", "development", "1", 1) == tuple(
            told[name] for name in ("dialect", "tenant", "id", "count")
        )
        assert first["id"] == told["stored"]
        assert [] == await gateway.events(kind=Kind.REJECTED)
        assert 0 == await gateway.metric(NOT_COMPARED)


async def test_the_same_content_written_otherwise_is_a_retry(running, kept_in):
    event = reading(id="1")
    async with running({**kept_in, **KEEP}) as gateway:
        await gateway.logspace([event])
        other = json.dumps(dict(reversed(event.items())), indent=1)
        await gateway.logspace(f"[{other}]".encode())

        assert 0 == await gateway.metric(CONFLICTS)
        assert [] == await gateway.events(kind=Kind.REJECTED)


async def test_the_other_content_is_in_quarantine_before_the_answer_where_it_is_kept(
    running, kept_in
):
    async with running({**kept_in, **KEEP}) as gateway:
        await gateway.logspace([reading(id="1", system="a"), reading(id="2")])
        answer = await gateway.logspace([reading(id="1", system="b"), reading(id="2")])
        await gateway.logspace([reading(id="1", system="b")])
        first, _ = await gateway.events(kind="event")
        [kept] = await gateway.events(kind=Kind.REJECTED)

        assert (202, "2") == (answer.status, answer.headers["Gateway-Duplicate"])
        assert "Gateway-Rejected" not in answer.headers
        assert "conflict" == kept["type"].rpartition(".")[2]
        assert "b" == json.loads(kept["data"]["raw"])["system"]
        assert first["id"] in kept["data"]["problems"][0]["message"]
        assert 2 == await gateway.metric(CONFLICTS)


async def test_two_contents_of_one_request_are_a_conflict_too(running, kept_in):
    async with running({**kept_in, **KEEP}) as gateway:
        await gateway.logspace([reading(id="1", system="a"), reading(id="1", system="b")])

        assert 1 == len(await gateway.events(kind=Kind.REJECTED))


async def test_a_masked_event_is_compared_and_kept_without_its_secrets(running, tmp_path):
    async with running({**KEEP, "redact": {"keys": ["system"]}}) as gateway:
        await gateway.logspace([reading(id="1", system="s3cr3t")])
        await gateway.logspace([reading(id="1", system="s3cr3t")])
        assert 0 == await gateway.metric(CONFLICTS)
        changed = reading(id="1", system="s3cr3t", type="another")
        await gateway.logspace([changed])

        assert 1 == await gateway.metric(CONFLICTS)
    written = b"".join(path.read_bytes() for path in tmp_path.glob("*.db*"))
    assert b"s3cr3t" not in written


async def test_an_event_that_waits_in_the_spool_is_compared(running, tmp_path):
    async with running(KEEP) as gateway:
        with locked(tmp_path / "events.db"):
            await gateway.logspace([reading(id="1", system="a")])
            await gateway.logspace([reading(id="1", system="a")])
            await gateway.logspace([reading(id="1", system="b")])
            assert 1 == await gateway.metric(CONFLICTS)

        async def kept() -> bool:
            return len(await gateway.events(kind=Kind.REJECTED)) == 1

        await eventually(kept)


async def test_a_conflict_that_the_drain_finds_is_kept(tmp_path):
    first, second = make_record("a"), make_record("a")
    same = make_record("b")
    async with (
        closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store,
        closing(await open_spool(tmp_path / "spool.db", 10)) as spool,
    ):
        await store.append([first, same])
        await spool.append([second, make_record("b", data=same.data)])
        async with draining(spool, store, keep_conflicts=True) as (outcomes, _):
            await eventually(lambda: len(outcomes) == 2)
        [kept] = await stored(store, kind=Kind.REJECTED)

    assert [Outcome.DUPLICATE] * 2 == outcomes
    assert second.data == json.loads(kept.data)["raw"]
    assert "conflict" == kept.type


async def test_a_duplicate_of_an_event_that_expired_counts_as_not_compared(running, tmp_path):
    rule = {"retention": {"max_age": "1s"}}
    async with running({**KEEP, **rule}) as gateway:
        await gateway.logspace([reading(id="1", system="a")])

        async def gone() -> bool:
            return not await gateway.events()

        await eventually(gone)
        await gateway.logspace([reading(id="1", system="b")])

        assert (0, 1) == (await gateway.metric(CONFLICTS), await gateway.metric(NOT_COMPARED))


async def test_a_large_text_is_compared_as_it_is_written(running, monkeypatch):
    monkeypatch.setattr(conflicts, "_AS_JSON", 100)
    async with running(KEEP) as gateway:
        event = reading(id="1", system="a" * 200)
        await gateway.logspace([event])
        await gateway.logspace([event])
        assert 0 == await gateway.metric(CONFLICTS)
        await gateway.logspace(json.dumps([event], indent=1).encode())
        assert 1 == await gateway.metric(CONFLICTS)


async def test_what_waits_in_the_spool_is_read_within_a_bound(tmp_path):
    async with closing(await open_spool(tmp_path / "spool.db", 10)) as spool:
        await spool.append([make_record(name, data=f'"{"x" * 1000}"') for name in "abc"])
        asked = {key_of(name) for name in "abcd"}

        assert {key_of(name) for name in "abc"} == (await spool.contents(asked, 1 << 20)).keys()
        assert 1 == len(await spool.contents(asked, 1900))


async def test_more_duplicates_than_may_wait_count_as_not_compared(running, monkeypatch):
    monkeypatch.setattr(conflicts, "_WAITING", 3)
    async with running() as gateway:
        events = [reading(id=str(at)) for at in range(10)]
        await gateway.logspace(events)
        await gateway.logspace(events)

        assert 7 == await gateway.metric(NOT_COMPARED)


async def test_a_store_tells_what_it_has_of_the_events_with_some_keys(store):
    records = [make_record(str(at)) for at in range(5)]
    await store.append([*records, make_record()])
    asked = {key_of("1"), key_of("4"), key_of("none")}

    found = await store.contents(asked, 5, 1 << 20)

    wanted = {at: Content(records[at].id, records[at].data) for at in (1, 4)}
    assert {key_of(str(at)): content for at, content in wanted.items()} == found
    assert {} == await store.contents({key_of("1")}, 5, 1)
    assert {} == await store.contents(set(), 5, 1 << 20)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    url = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/events.db"}[request.param]
    async with closing(await open_store(url, 10)) as opened:
        yield opened


async def test_events_are_found_whose_keys_left_memory_long_ago(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "RUN_KEYS", 64)
    records = [make_record(str(at)) for at in range(600)]
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store:
        for at in range(0, 600, 20):
            await store.append(records[at : at + 20])
        asked = [key_of(str(at)) for at in range(0, 600, 7)]
        found = await store.contents(asked, 30, 1 << 20)
        began = time.monotonic()
        late = await store.contents([key_of("none")], 0.01, 1 << 20)

    assert {records[at].id for at in range(0, 600, 7)} == {one.id for one in found.values()}
    assert {} == late
    assert time.monotonic() - began < 5
