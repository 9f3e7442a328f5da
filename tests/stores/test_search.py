"""Searching a store, newest first; for every registered store."""

import uuid

import pytest
from msgspec.structs import replace

from gateway.query import Search
from gateway.record import key_of
from tests.records import NOW, make_record, make_rejected

ALWAYS = 60.0
"""Seconds that no search here takes."""


async def found(store, **wanted):
    """The names of the records that are found, one letter each."""
    page = await store.search(Search(**wanted), ALWAYS)
    return "".join(record.data[2] for _, record in page.found)


def named(name: str, **changes):
    return make_record(name, data=f'{{"{name}":1}}', **changes)


@pytest.fixture
async def filled(store):
    await store.append(
        [
            named("a"),
            named("b", dialect="device", subject="dev-1"),
            named("c", tenant="other", type="POST"),
            named("d", tenant="other", dialect="device", subject=None),
            make_rejected("e", received_at=NOW + 1, data='{"e":1}'),
            named("f", received_at=NOW + 2),
        ]
    )
    while await store.index(1):
        pass
    return store


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "fdcba"),
        ({"dialect": "device"}, "db"),
        ({"tenant": "other"}, "dc"),
        ({"kind": "rejected"}, "e"),
        ({"kind": "api_call"}, "fdcba"),
        ({"type": "POST"}, "c"),
        ({"type": "PATCH"}, ""),
        ({"subject": "dev-1"}, "b"),
        ({"subject": "user-1"}, "fca"),
        ({"subject": "user-1", "tenant": "other"}, "c"),
        ({"subject": "dev-1", "tenant": "other"}, ""),
        ({"since": NOW + 1}, "f"),
        ({"until": NOW + 1}, "dcba"),
        ({"text": '"b"'}, "b"),
        ({"text": "nothing"}, ""),
        ({"limit": 2}, "fd"),
        ({"limit": 0}, ""),
        ({"tenant": "nobody"}, ""),
        ({"subject": "x' OR 1=1 --"}, ""),
    ],
)
async def test_a_search_finds_what_fits_the_newest_first(filled, wanted, expected):
    assert expected == await found(filled, **wanted)


async def test_a_search_goes_on_where_a_page_ended(filled):
    names, before = "", None
    while True:
        page = await filled.search(Search(before=before, limit=2), ALWAYS)
        names += "".join(record.data[2] for _, record in page.found)
        before = page.before
        if before is None:
            break

    assert "fdcba" == names


async def test_an_event_is_found_by_its_own_id(filled):
    [(sequence, record)] = (await filled.search(Search(text='"c"'), ALWAYS)).found

    page = await filled.search(Search(id=str(uuid.UUID(bytes=record.id))), ALWAYS)

    assert [(sequence, record)] == page.found


@pytest.mark.parametrize("name", ["order-1", "d4ee35e1-ac1b-4f8b-9f2f-8b1a7ee1c1a3"])
async def test_an_event_is_found_by_the_id_that_its_client_gave_it(store, name):
    tenants = ["acme", "other", "third"]
    await store.append(
        [
            replace(make_record(tenant=one), key=key_of("moesif", one, "api_call", name))
            for one in tenants
        ]
    )

    page = await store.search(Search(id=name), ALWAYS)
    other = await store.search(Search(id=name, tenant="other"), ALWAYS)

    assert tenants == [record.tenant for _, record in reversed(page.found)]
    assert ["other"] == [record.tenant for _, record in other.found]
    assert [] == list((await store.search(Search(id="order-2"), ALWAYS)).found)
