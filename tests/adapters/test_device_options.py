"""What the test vectors of the tenant/device endpoint leave open, and what options change."""

import asyncio

import pytest

from tests.adapters.direct import DirectDevice
from tests.adapters.reports import KEY, MISSING, E, altered, assert_error, stored
from tests.records import locked


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "K1"},
        {"Authorization": "Bearer K1"},
        {"Authorization": "bearer  K1 "},
        {"authorization": "bearer  K1 "},
        {"x-moki-tenantapitoken": "K1", "X-API-Key": "wrong"},
        [("X-Moki-TenantAPIToken", "K1"), ("X-Moki-TenantAPIToken", "K1")],
    ],
)
def test_the_first_key_header_that_is_present_counts(device, headers):
    path = "/rest/v1/api/tenants/T1/devices/D1/events"
    sent = [*(headers.items() if isinstance(headers, dict) else headers), *list(KEY.items())[1:]]

    assert 201 == device.send("POST", path, E, sent).status


def test_a_key_for_some_devices_opens_no_others():
    keys = [{"key": "K1", "tenants": ["T1"], "devices": ["D1"]}]
    device = DirectDevice(keys=keys)
    assert 201 == device.post(E, device="sn-!-ABCDEFGHIJ12").status
    assert_error(device.post(E, device="D3"), 403, 0)
    assert_error(device.post(E, device="nope"), 404, 5)


def test_a_key_for_some_devices_cannot_find_out_others_where_tenants_are_hidden():
    keys = [{"key": "K1", "tenants": ["T1"], "devices": ["D1"]}]
    device = DirectDevice(keys=keys, hide_foreign_tenants=True)
    assert 201 == device.post(E).status
    for name in ("D3", "nope"):
        assert_error(device.post(E, device=name), 403, 0)


def tenant(**options):
    return {"device": {"tenants": [{"tenant": "T1", "devices": ["D1"], **options}]}}


async def test_an_open_tenant_creates_a_device_with_its_first_valid_event(running):
    async with running(tenant(provisioning="open", max_devices=1)) as gateway:
        assert_error(await gateway.device(altered(severity=9), device="new"), 400, 6)
        assert_error(await gateway.device(E, device="%ff"), 404, 5)
        assert 201 == (await gateway.device(E, device="new")).status
        assert_error(await gateway.device(E, device="new"), 409, 6)
        assert_error(await gateway.device(E, device="one%20too%20many"), 404, 5)
    async with running(tenant(provisioning="open", max_devices=1)) as gateway:
        assert_error(await gateway.device(E, device="new"), 409, 6)


async def test_a_device_is_created_only_once_its_event_is_durable(running, tmp_path):
    async with running(tenant(provisioning="open", max_devices=1)) as gateway:
        assert_error(await gateway.device(altered(severity=9), device="invalid"), 400, 6)
        with locked(tmp_path / "events.db"), locked(tmp_path / "spool.db"):
            assert_error(await gateway.device(E, device="unlucky"), 503, -1)
        # Neither of the two has taken the only place.
        assert (await gateway.device(E, device="new")).status in (201, 202)


async def test_a_device_is_created_only_once_its_document_is_durable(running, tmp_path, capsys):
    async with running(tenant(provisioning="open", max_devices=1)) as gateway:
        with locked(tmp_path / "events.db"):
            assert 202 == (await gateway.device(E, device="unlucky")).status
            async with asyncio.timeout(20):
                while "device_not_remembered" not in capsys.readouterr().out:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert (await gateway.device(E, device="new")).status in (201, 202)


@pytest.mark.parametrize("prefer", ["respond-async", "wait=5, Respond-Async;foo=bar"])
async def test_prefer_respond_async_gets_202(gateway, prefer):
    answer = await gateway.device(E, Prefer=prefer)

    assert (202, "respond-async") == (answer.status, answer.headers["Preference-Applied"])
    assert_error(await gateway.device(E), 409, 6)


async def test_a_queued_tenant_is_answered_from_the_spool(running):
    async with running(tenant(acknowledge="queued")) as gateway:
        answer = await gateway.device(E)
        assert 202 == answer.status
        assert "Preference-Applied" not in answer.headers
        assert_error(await gateway.device(E), 409, 6)


@pytest.mark.parametrize("description", [None, MISSING])
def test_a_missing_description_is_blank_if_configured(description):
    device = DirectDevice(lenient_description=True)
    assert 201 == device.post(altered(description=description)).status
    assert_error(device.post(E), 409, 6)


def test_a_conflict_may_be_limited_to_the_instant():
    device = DirectDevice(conflict="instant")
    assert 201 == device.post(E).status
    assert_error(device.post(altered(severity=1, data={})), 409, 6)
    assert 201 == device.post(altered(typeId="45")).status


def test_a_time_too_far_in_the_future_is_refused_if_configured():
    device = DirectDevice(max_future_ms=1000)
    assert 201 == device.post(E).status
    answer = device.post(altered(timestamp=253402300799999))
    assert_error(answer, 400, 6)
    assert "timestamp" in answer.json["message"]


def test_all_problems_are_reported_in_the_order_of_the_fields(device):
    message = (device.post({"timestamp": "x", "extra": 1})).json["message"]
    names = ["typeId", "description", "appId", "severity", "data", "timestamp"]

    assert names == sorted(names, key=lambda name: message.index(f"{name}:"))


def test_unknown_members_are_stored_but_not_compared_for_duplicates(device):
    assert 201 == device.post({**E, "x": 1}).status
    assert_error(device.post({**E, "x": 2}), 409, 6)
    assert [{**E, "x": 1}] == stored(device)
