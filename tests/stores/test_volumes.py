"""Bounds of rules in the SQLite store, whatever happens to it: what is kept is counted right."""

import random
import shutil
from pathlib import Path

import pytest

from gateway.policy import RetentionPolicy, RetentionRule, bytes_of
from gateway.record import EventRecord, Kind
from gateway.store import Selection
from gateway.stores import volumes
from gateway.stores.sqlite import SqliteStore, open_store
from tests.records import NOW, closing, make_record, make_rejected, stored
from tests.stores.test_retention import HOUR, assert_newest, expire, keep, of_tenant

SMALL = keep(RetentionRule(tenant="small", max_bytes=100_000))


def opened(path: Path):
    return open_store(f"sqlite:///{path}", 30)


async def test_after_a_restart_the_events_of_before_are_counted(tmp_path):
    path, sent = tmp_path / "events.db", []
    for _ in range(4):
        async with closing(await opened(path)) as store:
            some = of_tenant("small", 60)
            await store.append(
                [one for pair in zip(some, of_tenant("x", 60), strict=True) for one in pair]
            )
            sent += some
            await expire(store, SMALL)
            kept = await stored(store, tenant="small")
    assert_newest(kept, sent, 100_000)


async def test_a_rule_is_kept_while_the_events_of_before_are_still_being_read(tmp_path):
    path = tmp_path / "events.db"
    async with closing(await opened(path)) as store:
        await store.append(of_tenant("x", 4000))
        before = of_tenant("small", 60)
        await store.append(before)
    async with closing(await opened(path)) as store:
        await store.expire(SMALL, NOW)
        sent = of_tenant("small", 300)
        for at in range(0, 300, 20):
            await store.append(sent[at : at + 20])
            await store.expire(SMALL, NOW)
        await expire(store, SMALL)
        assert_newest(await stored(store, tenant="small"), before + sent, 100_000)
        assert 4000 == len(await stored(store, tenant="x"))


async def test_what_a_prune_has_erased_does_not_count(tmp_path):
    async with closing(await opened(tmp_path / "events.db")) as store:
        sent = of_tenant("small", 60, subject="a") + of_tenant("small", 60, subject="b")
        await store.append(sent)
        await expire(store, SMALL)
        await store.prune(Selection(tenant="small", subject="b", until=NOW + 1), lambda *_: None)
        more = of_tenant("small", 50)
        await store.append(more)
        await expire(store, SMALL)

        assert sent[:60] + more == await stored(store, tenant="small")


async def test_what_is_released_from_the_quarantine_does_not_count(tmp_path):
    policy = keep(RetentionRule(kind=Kind.REJECTED, max_bytes=20_000))
    async with closing(await opened(tmp_path / "events.db")) as store:
        await store.append([make_rejected(f"{n}", data=f'"{"x" * 898}"') for n in range(18)])
        await expire(store, policy)
        await store.release(range(5, 15), "drop", NOW)
        await store.append([make_rejected(f"{n}", data=f'"{"x" * 898}"') for n in range(18, 28)])
        await expire(store, policy)

        assert 18 == len(await stored(store, kind=Kind.REJECTED))


async def test_a_count_that_fails_loses_no_event_and_is_made_again(tmp_path, monkeypatch):
    async with closing(await opened(tmp_path / "events.db")) as store:
        await expire(store, SMALL)
        sent = of_tenant("small", 200)
        await store.append(sent[:100])
        with monkeypatch.context() as patched:
            patched.setattr(volumes, "bytes_of", _out_of_memory)
            await store.append(sent[100:150])
        await store.append(sent[150:])
        await expire(store, SMALL)
        assert_newest(await stored(store, tenant="small"), sent, 100_000)


def _out_of_memory(data: str) -> int:
    raise MemoryError


async def test_what_is_counted_takes_little_memory_however_many_events_a_rule_has(tmp_path):
    volume = volumes.Volume(1_000_000)
    for seq in range(1, 100_001):
        volume.add(volume.new, seq, 300)
        if volume.bytes > volume.bound:
            volume.deleted(volumes.Stretch(volume, 0, 0, volume.new[0].last, "[]"))
    assert 90 < len(volume.new) < 140
    assert volume.bytes == sum(one.bytes for one in volume.new)


class History:
    """A store to which many things happen, and what was sent to it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.lives = 0
        self.now = NOW
        self.sent: list[EventRecord] = []
        self.policy = RetentionPolicy(
            (
                RetentionRule(kind=Kind.REJECTED, max_bytes=self.random.choice([8_000, 400_000])),
                RetentionRule(tenant="small", max_bytes=60_000),
                RetentionRule(tenant="aged", max_age=5 * HOUR, max_bytes=90_000),
                RetentionRule(kind="user"),
                RetentionRule(max_bytes=250_000),
            ),
            self.random.choice([None, 1_500_000]),
        )
        self.store: SqliteStore

    @property
    def path(self) -> Path:
        return self.folder / f"{self.lives}.db"

    async def append(self) -> None:
        group = []
        for _ in range(self.random.choice((1, 5, 60))):
            tenant = self.random.choice(("small", "aged", "large", "large", "large"))
            size = self.random.choice((10, 300, 2_000))
            data = '"' + self.random.choice(("x", "é")) * size + '"'
            make = make_rejected if self.random.random() < 0.1 else make_record
            changes = {"kind": "user"} if make is make_record and self.random.random() < 0.1 else {}
            name = f"{len(self.sent) + len(group)}"
            group.append(make(name, tenant=tenant, data=data, received_at=self.now, **changes))
        await self.store.append(group)
        self.sent += group

    async def pass_time(self) -> None:
        self.now += self.random.randrange(HOUR)
        for _ in range(self.random.choice((0, 1, 3, 10_000))):
            if not (await self.store.expire(self.policy, self.now)).more:
                break

    async def crash(self) -> None:
        before = self.path
        self.lives += 1
        for suffix in ("", "-wal"):
            shutil.copy(f"{before}{suffix}", f"{self.path}{suffix}")
        await self.store.close()
        self.store = await opened(self.path)

    async def compare(self) -> None:
        """Check that each rule keeps the newest of its events, and as many as it may."""
        await expire(self.store, self.policy, self.now)
        kept = await stored(self.store)
        everything_fits = self.policy.max_bytes is None
        for at, rule in enumerate(self.policy.rules):
            those = [one for one in kept if at == self._rule(one)]
            sent = [one for one in self.sent if at == self._rule(one)]
            if rule.kind == Kind.REJECTED:
                assert sum(bytes_of(one.data) for one in those) <= (rule.max_bytes or 0)
                continue
            # Of the newest ones, without a hole.
            assert those == sent[len(sent) - len(those) :]
            size = sum(bytes_of(one.data) for one in those)
            assert rule.max_bytes is None or size <= rule.max_bytes
            if everything_fits and rule.max_age is None and rule.max_bytes is not None:
                largest = 4_200
                whole = sum(bytes_of(one.data) for one in sent)
                assert size >= min(whole, rule.max_bytes * 0.9 - largest)

    def _rule(self, one: EventRecord) -> int | None:
        return self.policy.rule_of(one.dialect, one.tenant, one.kind)


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(0, 60), (1, 60), *(pytest.param(n, 200, marks=pytest.mark.slow) for n in range(2, 8))],
)
async def test_whatever_happens_each_rule_keeps_the_newest_and_as_many_as_it_may(
    tmp_path, seed, steps
):
    history = History(tmp_path, seed)
    history.store = await opened(history.path)
    try:
        for step in range(steps):
            await history.append()
            await history.pass_time()
            if history.random.random() < 0.05:
                await history.crash()
            if step % 20 == 19:
                await history.compare()
    finally:
        await history.store.close()
