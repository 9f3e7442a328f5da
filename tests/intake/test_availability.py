"""Whether the store takes events, as one task finds out for everyone."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import StoreError
from gateway.intake import availability
from gateway.intake.availability import Availability
from tests.records import eventually


class Store:
    """A store of which only the probe is asked: it raises what `troubles` holds, one a time."""

    def __init__(self) -> None:
        self.troubles: list[Exception] = []
        self.probes = 0

    async def probe(self) -> None:
        self.probes += 1
        if self.troubles:
            raise self.troubles.pop(0)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(availability, "INTERVAL", 0.01)
    return Store()


@pytest.fixture
async def known(store: Store) -> AsyncIterator[Availability]:
    made = Availability(store.probe)
    yield made
    await made.close()


async def test_a_store_is_not_away_at_first_and_nobody_asks_it(store, known):
    await asyncio.wait_for(known.wait(), 1)

    assert (False, "", 0) == (known.unavailable, known.reason, store.probes)


async def test_a_store_that_has_failed_is_away_until_a_probe_succeeds(store, known):
    store.troubles = [StoreError("still locked"), StoreError("")]
    known.failed(StoreError("locked"), silent=True)
    waiting = asyncio.create_task(known.wait())
    await asyncio.sleep(0)
    assert (True, True, "locked") == (known.unavailable, known.silent, known.reason)

    await eventually(lambda: known.reason == "still locked")
    assert not waiting.done()
    await asyncio.wait_for(waiting, 5)
    assert (False, False, 3) == (known.unavailable, known.silent, store.probes)


async def test_an_unexpected_error_of_a_probe_does_not_end_the_probes(store, known):
    store.troubles = [RuntimeError("a bug")]
    known.failed(StoreError("locked"))
    await eventually(lambda: "a bug" in known.reason)

    await asyncio.wait_for(known.wait(), 5)
    assert not known.unavailable


async def test_many_failures_at_once_start_one_series_of_probes(store, known):
    store.troubles = [StoreError("locked")] * 3
    for _ in range(20):
        known.failed(StoreError("locked"))
    await asyncio.wait_for(known.wait(), 5)
    await asyncio.sleep(0.05)

    assert 4 == store.probes


async def test_a_store_can_be_away_again(store, known):
    for _ in range(2):
        known.failed(StoreError("locked"))
        assert known.unavailable
        await asyncio.wait_for(known.wait(), 5)
        assert not known.unavailable


async def test_a_closed_one_asks_no_more(store, known):
    store.troubles = [StoreError("locked")] * 1000
    known.failed(StoreError("locked"))
    await eventually(lambda: store.probes > 1)
    await known.close()
    probes = store.probes
    await asyncio.sleep(0.05)

    assert probes == store.probes
