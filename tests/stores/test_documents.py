"""Documents that are not events, for every registered store."""

from gateway.store import StoredDocument
from tests.records import NOW, stored


async def test_the_last_document_put_under_a_name_counts(store):
    assert await store.get("device", "T1", "a") is None

    await store.put("device", "T1", "a", "{}", NOW)
    await store.put("device", "T1", "a", '{"\x00":"🎉"}', NOW + 1)

    assert StoredDocument('{"\x00":"🎉"}', NOW + 1) == await store.get("device", "T1", "a")


async def test_documents_are_separate_by_dialect_tenant_and_name(store):
    names = [("device", "T1", "a"), ("device", "T2", "a"), ("logspace", "T1", "a")]
    for dialect, tenant, name in [*names, ("device", "T1", "b")]:
        await store.put(dialect, tenant, name, f"{dialect} {tenant} {name}", NOW)

    for dialect, tenant, name in names:
        found = await store.get(dialect, tenant, name)
        assert f"{dialect} {tenant} {name}" == found.body


async def test_documents_are_listed_by_the_prefix_of_their_names(store):
    for tenant, name in [("T1", "device/1"), ("T2", "device/2"), ("T1", "devices"), ("T1", "%")]:
        await store.put("device", tenant, name, "{}", NOW)
    await store.put("logspace", "T1", "device/3", "{}", NOW)

    listed = {tuple(one) for one in await store.names("device", "device/")}
    assert {("T1", "device/1"), ("T2", "device/2")} == listed
    assert [("T1", "%")] == [tuple(one) for one in await store.names("device", "%")]
    assert 4 == len(await store.names("device", ""))


async def test_documents_are_not_events(store):
    await store.put("device", "T1", "a", "{}", NOW)

    assert [] == await stored(store)
