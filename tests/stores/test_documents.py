"""Documents that are not events, for every registered store, and those in files."""

import os
from pathlib import Path

import pytest

from gateway.store import StoredDocument
from gateway.stores.documents import FolderDocuments
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


@pytest.fixture
def files(store, tmp_path: Path) -> FolderDocuments:
    """Documents of the dialect logspace whose names begin with ``orders/`` are files in orders."""
    (tmp_path / "orders").mkdir()
    return FolderDocuments(store, {("logspace", "orders/"): tmp_path / "orders"})


async def test_a_name_with_the_prefix_of_a_folder_is_a_file_there(files, store, tmp_path):
    await store.put("logspace", "T1", "orders/a", "of the store", NOW)
    assert await files.get("logspace", "T1", "orders/a") is None

    path = tmp_path / "orders" / "a.json"
    for body, second in (("é", 1_000_000_000), ("edited", 1_000_000_001)):
        path.write_text(body, encoding="utf-8")
        os.utime(path, (second, second))
        found = await files.get("logspace", "T1", "orders/a")
        assert StoredDocument(body, second * 1_000_000) == found


async def test_every_other_document_is_in_the_store(files, store):
    for dialect, name in (("device", "orders/a"), ("logspace", "order"), ("logspace", "a")):
        await files.put(dialect, "T1", name, "{}", NOW)
        assert StoredDocument("{}", NOW) == await files.get(dialect, "T1", name)
        assert StoredDocument("{}", NOW) == await store.get(dialect, "T1", name)
    assert {("T1", "order"), ("T1", "a")} == {*await files.names("logspace", "")}


@pytest.mark.parametrize("name", ["../secret", "sub/secret", "", "a\x00", "a/../../secret"])
async def test_no_name_leads_out_of_the_folder(files, tmp_path, name):
    for path in ("secret.json", "orders/.json", "orders/sub/secret.json", "orders/a/b"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("secret")

    assert await files.get("logspace", "T1", f"orders/{name}") is None


async def test_a_file_that_is_not_text_is_no_document(files, tmp_path):
    (tmp_path / "orders" / "a.json").write_bytes(b"\xff")
    (tmp_path / "orders" / "b.json").mkdir()

    assert await files.get("logspace", "T1", "orders/a") is None
    assert await files.get("logspace", "T1", "orders/b") is None
