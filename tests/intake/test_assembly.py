"""What the watchdog asks: whether a write to the disk hangs."""

import asyncio

import pytest

from gateway.errors import StoreError
from gateway.intake import assembly
from gateway.intake.assembly import Assembly
from gateway.intake.availability import Availability
from gateway.intake.commit import GroupCommitter
from tests.intake.test_commit import Gate, begin
from tests.records import eventually, make_record


@pytest.fixture
async def parts(monkeypatch):
    """An assembly whose writes hang until their gates open, and those gates."""
    monkeypatch.setattr(assembly, "_HANGS_AFTER", 0.05)
    gates = Gate(), Gate()
    store, spool = (
        GroupCommitter(gate, max_events=9, max_bytes=9999, deadline=10) for gate in gates
    )
    availability = Availability(asyncio.Event().wait)
    store.start()
    spool.start()
    yield Assembly(None, store, spool, availability), gates
    for gate in gates:
        gate.open.set()
    await store.close()
    await spool.close()
    await availability.close()


async def turned_unhealthy(parts: Assembly) -> None:
    async def unhealthy() -> bool:
        return not parts.healthy

    await eventually(unhealthy)


async def test_an_idle_gateway_is_healthy(parts):
    await asyncio.sleep(0.1)

    assert parts[0].healthy


@pytest.mark.parametrize("which", ["to_store", "to_spool"])
async def test_a_gateway_is_not_healthy_while_a_write_hangs(parts, which):
    whole, gates = parts
    waiting = begin(getattr(whole, which), make_record("a"))
    await asyncio.sleep(0)
    assert whole.healthy
    await turned_unhealthy(whole)

    for gate in gates:
        gate.open.set()
    await waiting
    assert whole.healthy


async def test_a_gateway_that_spools_is_healthy_although_its_store_hangs(parts):
    whole, _ = parts
    waiting = begin(whole.to_store, make_record("a"))
    await turned_unhealthy(whole)
    whole.availability.failed(StoreError("hangs"))

    assert whole.healthy
    waiting.cancel()
