"""The metrics, as Prometheus scrapes them."""

import re
import time

from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Running
from tests.records import eventually, locked

AGENT_EVENT = {"id": "1", "system": "s", "agent-id": "a", "timestamp": "2026-01-01T00:00:00Z"}
DEVICE_EVENT = {
    "typeId": "0045",
    "description": "",
    "appId": "a",
    "severity": 1,
    "data": {},
    "timestamp": 1,
}
SPACE = '{dialect="logspace",tenant="development"}'
T1 = '{dialect="device",tenant="T1"}'


async def page(gateway: Running) -> str:
    async with gateway.session.get(gateway.ops_url + "/metrics") as response:
        assert 200 == response.status
        assert response.headers["Content-Type"].startswith("text/plain")
        return await response.text()


async def test_events_are_counted_by_outcome(gateway):
    answer = await gateway.logspace([AGENT_EVENT, AGENT_EVENT, {**AGENT_EVENT, "id": "2"}, {}])
    assert 202 == answer.status

    assert 2 == await gateway.metric(f"gateway_accepted_total{SPACE}")
    assert 1 == await gateway.metric(f"gateway_duplicate_total{SPACE}")
    assert 1 == await gateway.metric(f"gateway_rejected_total{SPACE}")
    assert 0 == await gateway.metric(f"gateway_queued_total{SPACE}")


async def test_bytes_are_counted_after_decompression(gateway):
    body = b'[{"id":"1","system":"s","agent-id":"a","timestamp":"2026-01-01T00:00:00Z"}]'
    await gateway.logspace(body)

    assert len(body) == await gateway.metric(f"gateway_bytes_total{SPACE}")


async def test_the_delay_of_the_event_loop_is_observed(gateway):
    async def observed() -> bool:
        return await gateway.metric("gateway_loop_lag_seconds_count") > 1

    await eventually(observed)
    before = await gateway.metric("gateway_loop_lag_seconds_sum")
    time.sleep(0.3)  # noqa: ASYNC251 - nobody has a turn meanwhile

    async def late() -> bool:
        return await gateway.metric("gateway_loop_lag_seconds_sum") > before + 0.2

    await eventually(late)


async def test_refusals_are_counted_by_reason(gateway):
    await gateway.logspace(b"[")
    await gateway.logspace([{}])
    await gateway.send("PUT", "/events", [AGENT_EVENT])
    await gateway.send("GET", "/no/such/address")

    async def refused(dialect: str, reason: str, tenant: str) -> float:
        labels = f'dialect="{dialect}",reason="{reason}",tenant="{tenant}"'
        return await gateway.metric(f"gateway_refused_total{{{labels}}}")

    assert 1 == await refused("logspace", "not_json", "development")
    assert 1 == await refused("logspace", "invalid", "development")
    assert 1 == await refused("logspace", "credential_missing", "")
    assert 1 == await refused("", "no_such_address", "")
    # Both bodies went to quarantine before they were refused.
    assert 2 == await gateway.metric(f"gateway_rejected_total{SPACE}")


async def test_refuse_counts_nothing_as_quarantined(running):
    async with running({"ingest": {"on_invalid": "refuse"}}) as gateway:
        await gateway.logspace([{}])
        await gateway.logspace(b"[")

        assert 0 == await gateway.metric(f"gateway_rejected_total{SPACE}")


async def test_the_spool_is_measured_from_filling_to_draining(gateway, tmp_path):
    with locked(tmp_path / "events.db"):
        for event in (DEVICE_EVENT, {**DEVICE_EVENT, "timestamp": 2}):
            assert 202 == (await gateway.device(event)).status
        assert 2 == await gateway.metric(f"gateway_queued_total{T1}")
        assert 0 == await gateway.metric(f"gateway_accepted_total{T1}")
        assert 2 == await gateway.metric("gateway_spool_depth")

    async def drained() -> bool:
        return await gateway.metric('gateway_spool_drained_total{outcome="stored"}') == 2

    await eventually(drained)
    assert 0 == await gateway.metric("gateway_spool_depth")


async def test_commits_are_measured(gateway):
    await gateway.logspace([AGENT_EVENT, {**AGENT_EVENT, "id": "2"}])

    assert 1 == await gateway.metric("gateway_commit_events_count")
    assert 2 == await gateway.metric("gateway_commit_events_sum")
    assert 1 == await gateway.metric("gateway_commit_seconds_count")
    assert await gateway.metric("gateway_commit_seconds_sum") > 0
    assert 0 == await gateway.metric("gateway_waiting_events")


async def test_evicted_quarantined_records_are_counted(running):
    async with running({"quarantine": {"max_records": 1}}) as gateway:
        await gateway.logspace([{}, 1, 2])

        of_tenant = 'gateway_quarantine_trimmed{dialect="logspace",tenant="development"}'
        assert 2 == await gateway.metric(of_tenant)


async def test_metric_labels_contain_no_text_of_clients(gateway):
    await gateway.send("PUT", "/events", [], {"logspace.space-token": "s3cr3t"})
    await gateway.device(DEVICE_EVENT, tenant="gone", device="s3cr3t")
    await gateway.send("POST", "/v1/s3cr3t")
    await gateway.device(DEVICE_EVENT)
    text = await page(gateway)

    families = list(text_string_to_metric_families(text))
    assert all(family.name.startswith(("gateway_", "process_")) for family in families)
    assert all(family.documentation for family in families)
    assert "s3cr3t" not in text
    configured = {tenant for _, tenant in gateway.gateway.configured.tenants}
    assert {"", *configured} == set(re.findall(r'tenant="([^"]*)"', text))


async def test_every_configured_tenant_has_its_series_before_it_sends_anything(gateway):
    for who in (SPACE, T1):
        for name in ("accepted", "duplicate", "queued", "rejected", "bytes"):
            assert 0 == await gateway.metric(f"gateway_{name}_total{who}")


async def test_the_time_of_the_last_event_is_known_again_after_a_restart(running):
    name = f"gateway_last_event_timestamp_seconds{SPACE}"
    async with running() as gateway:
        assert name not in await page(gateway)
        before = time.time()
        await gateway.logspace([AGENT_EVENT])
        first = await gateway.metric(name)
        assert before <= first <= time.time()

    async with running() as again:
        found = await eventually(lambda: metric_or_none(again, name))
        assert abs(found - first) < 1


async def metric_or_none(gateway: Running, name: str) -> float | None:
    return await gateway.metric(name) if name in await page(gateway) else None


async def test_the_page_has_no_times_of_creation_and_tells_what_runs(gateway):
    shown = await page(gateway)

    assert "_created" not in shown
    assert 'gateway_build_info{python="' in shown
    assert "process_resident_memory_bytes" in shown
