"""Reading a store: selections, and writes at the same time; for every registered store."""

import pytest

from gateway.record import Outcome
from gateway.store import Selection
from tests.records import NOW, make_record, make_rejected, sequences, stored

STORED = Outcome.STORED


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "abcdef"),
        ({"dialect": "device"}, "bd"),
        ({"tenant": "other"}, "cd"),
        ({"kind": "rejected"}, "e"),
        ({"dialect": "device", "tenant": "other"}, "d"),
        ({"dialect": "device", "kind": "rejected"}, ""),
        ({"since": NOW + 1}, "ef"),
        ({"until": NOW + 1}, "abcd"),
        ({"since": NOW + 1, "until": NOW + 2}, "e"),
        ({"since": NOW + 2}, "f"),
        ({"until": NOW}, ""),
        ({"limit": 0}, ""),
        ({"limit": 2}, "ab"),
        ({"limit": 99}, "abcdef"),
        ({"tenant": "acme", "limit": 3}, "abe"),
        ({"tenant": ""}, ""),
        ({"dialect": "device' OR 1=1 --"}, ""),
    ],
)
async def test_a_selection_limits_what_is_read(store, wanted, expected):
    records = {
        "a": make_record("a"),
        "b": make_record("b", dialect="device"),
        "c": make_record("c", tenant="other"),
        "d": make_record("d", tenant="other", dialect="device"),
        "e": make_rejected("e", received_at=NOW + 1),
        "f": make_record("f", received_at=NOW + 2),
    }
    await store.append(list(records.values()))

    assert [records[name] for name in expected] == await stored(store, **wanted)


async def test_a_reader_continues_after_a_sequence(store):
    await store.append([make_record(f"{n}") for n in range(10)])
    everything = await sequences(store)
    seen: list[int] = []
    while page := await sequences(store, after=seen[-1] if seen else 0, limit=3):
        seen += page

    assert everything == seen
    assert [] == await sequences(store, after=everything[-1])


async def test_a_reader_sees_the_state_at_its_start_while_writing_continues(store):
    await store.append([make_record(f"{n}") for n in range(1200)])
    seen = 0
    async for _, _ in store.read(Selection()):
        if seen % 100 == 0:
            assert [STORED] == list(await store.append([make_record(f"later {seen}")]))
        seen += 1

    assert 1200 == seen
    assert 1212 == len(await sequences(store))


async def test_an_abandoned_reader_disturbs_nothing(store):
    await store.append([make_record(f"{n}") for n in range(1200)])
    reading = store.read(Selection())
    await anext(reading)
    await reading.aclose()

    assert [STORED] == list(await store.append([make_record("later")]))
