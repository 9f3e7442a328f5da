"""When a device that an event creates is recorded, and who waits for that."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.stores import open_store
from tests.adapters.reports import E, altered
from tests.conftest import Running
from tests.records import closing, eventually

TENANTS = [{"tenant": "T1", "provisioning": "open"}]


@pytest.fixture
async def gateway(running: Callable[..., Any]) -> AsyncIterator[Running]:
    """A gateway with a tenant that creates devices."""
    changes = {"device": {"tenants": TENANTS}, "store": {"deadline": 1}}
    async with running(changes) as started:
        yield started


@pytest.fixture
def gate(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Holds up the recording of a device until it is set."""
    store, event = gateway.gateway._store, asyncio.Event()
    put = store.put

    async def held_up(*document: object) -> None:
        await event.wait()
        await put(*document)

    monkeypatch.setattr(store, "put", held_up)
    return event


async def devices(gateway: Running) -> list[tuple[str, str]]:
    return list(await gateway.gateway._store.names("device", "device/"))


async def test_a_stored_event_is_answered_once_its_device_is_recorded(gateway, gate):
    request = asyncio.create_task(gateway.device(E, device="new"))
    await eventually(gateway.events)
    await asyncio.sleep(0.1)
    assert not request.done()

    gate.set()
    assert 201 == (await request).status
    assert [("T1", "device/new")] == await devices(gateway)


async def test_a_queued_event_is_answered_before_its_device_is_recorded(gateway, gate):
    async with asyncio.timeout(10):
        answer = await gateway.device(E, device="new", Prefer="respond-async")
    assert 202 == answer.status
    assert [] == await devices(gateway)

    gate.set()

    async def recorded() -> bool:
        return [("T1", "device/new")] == await devices(gateway)

    await eventually(recorded)


async def test_a_stop_waits_until_the_devices_of_queued_events_are_recorded(
    gateway, gate, tmp_path
):
    assert 202 == (await gateway.device(E, device="new", Prefer="respond-async")).status
    stopping = asyncio.create_task(gateway.gateway.stop())
    await asyncio.sleep(0.1)
    assert not stopping.done()
    gate.set()
    await stopping

    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 1)) as store:
        assert [("T1", "device/new")] == list(await store.names("device", "device/"))


async def test_a_stop_gives_up_a_device_that_cannot_be_recorded_in_time(gateway, gate):
    assert 202 == (await gateway.device(E, device="new", Prefer="respond-async")).status
    with capture_logs() as lines:
        async with asyncio.timeout(20):
            await gateway.gateway.stop()
        gate.set()
        await asyncio.sleep(0.05)

    [line] = [line for line in lines if "not_remembered" in line["event"]]
    assert ("warning", "device", 1) == (line["log_level"], line["dialect"], line["count"])


async def test_a_device_is_recorded_once(gateway):
    for severity in (1, 2, 3):
        assert 201 == (await gateway.device(altered(severity=severity), device="new")).status

    assert [("T1", "device/new")] == await devices(gateway)
