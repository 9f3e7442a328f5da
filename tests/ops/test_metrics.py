"""The metrics, as Prometheus scrapes them."""

import asyncio
import re
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.buckets import WaitingBuckets
from tests.adapters.test_logspace import reading
from tests.conftest import ROOT, Running
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
DRAINED = 'gateway_spool_drained_total{dialect="device",outcome="stored",tenant="T1"}'


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
        return await gateway.metric(DRAINED) == 2

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

        of_tenant = 'gateway_quarantine_trimmed_total{dialect="logspace",tenant="development"}'
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


async def test_the_table_of_metrics_is_what_a_scrape_has(gateway):
    await gateway.logspace([AGENT_EVENT])
    await gateway.device({**DEVICE_EVENT, "timestamp": 1})
    text = await page(gateway)
    shown: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        name = family.name + ("_total" if family.type == "counter" else "")
        if not name.startswith("process_"):
            shown[name] = labels

    table: dict[str, set[str]] = {}
    text = (ROOT / "docs" / "operating.md").read_text()
    for line in text.partition("| metric | labels |")[2].partition("\n\n")[0].splitlines()[2:]:
        _, names, labels, *_ = line.split("|")
        for name in re.findall(r"`(gateway_\w+)`", names):
            table[name] = set(re.findall(r"\w+", labels))

    assert sorted(shown) == sorted(table)
    # What no request has met has no series, and no labels.
    assert {name: table[name] for name in shown if shown[name]} == {
        name: labels for name, labels in shown.items() if labels
    }


async def test_requests_are_measured_by_dialect(gateway):
    await gateway.logspace([AGENT_EVENT])
    await gateway.logspace([reading(id=str(at)) for at in range(100)])
    await gateway.send("GET", "/nowhere")
    size = await gateway.metric(f"gateway_bytes_total{SPACE}")

    assert 2 == await gateway.metric('gateway_request_seconds_count{dialect="logspace"}')
    assert await gateway.metric('gateway_request_seconds_sum{dialect="logspace"}') > 0
    assert 0 == await gateway.metric('gateway_request_seconds_count{dialect="moesif"}')
    assert 1 == await gateway.metric('gateway_request_seconds_count{dialect=""}')
    assert size == await gateway.metric('gateway_request_body_bytes_sum{dialect="logspace"}')
    small = 'gateway_request_body_bytes_bucket{dialect="logspace",le="1024"}'
    assert 1 == await gateway.metric(small)


@pytest.mark.parametrize("together", [False, True])
def test_a_value_counts_in_the_first_bucket_that_is_not_below_it(together):
    buckets = WaitingBuckets((1, 2.5))
    for value in (2.6, 0, 1, 1.1, 2.5, 100):
        if together:
            buckets.waiting.append(value)
        else:
            buckets.observe(value)
    buckets.fold()
    buckets.fold()

    assert [("1", 2), ("2.5", 4), ("+Inf", 6)] == buckets.cumulative()
    assert 107.2 == pytest.approx(buckets.total)


async def test_files_disks_and_keys_are_measured(gateway, tmp_path):
    for at in range(3):
        await gateway.logspace([reading(id=str(at)), {"n": at}])
    await asyncio.sleep(0.5)

    store = await gateway.metric('gateway_file_bytes{file="store"}')
    log = await gateway.metric('gateway_file_bytes{file="store_wal"}')
    assert (tmp_path / "events.db").stat().st_size == store
    assert (tmp_path / "events.db-wal").stat().st_size == log > 0
    assert await gateway.metric('gateway_file_bytes{file="spool"}') > 0
    assert await gateway.metric('gateway_disk_free_bytes{file="store"}') > 1 << 20
    assert 3 == await gateway.metric("gateway_keys_in_memory")
    assert 0 == await gateway.metric("gateway_key_runs")
    assert 3 == await gateway.metric("gateway_quarantine_records")
    assert await gateway.metric("gateway_quarantine_bytes") > 3
    assert await gateway.metric('gateway_sync_seconds_count{file="store"}') >= 3


async def test_the_age_of_the_oldest_spooled_event_is_known(gateway, tmp_path):
    assert 0 == await gateway.metric("gateway_spool_oldest_seconds")
    with locked(tmp_path / "events.db"):
        await gateway.device(DEVICE_EVENT)

        async def grows() -> bool:
            return await gateway.metric("gateway_spool_oldest_seconds") > 0.3

        await eventually(grows)
        assert 1 == await gateway.metric('gateway_limit_used{limit="spool_events"}')
        assert 1 <= await gateway.metric('gateway_sync_seconds_count{file="spool"}')

    async def drained() -> bool:
        return await gateway.metric("gateway_spool_oldest_seconds") == 0

    await eventually(drained)


async def test_limits_are_shown_as_they_are_configured(running):
    limits = {"limits": {"connections": 50}, "ingest": {"max_waiting_events": 77}}
    async with running(limits) as gateway:
        assert 50 == await gateway.metric('gateway_limit{limit="connections"}')
        assert 77 == await gateway.metric('gateway_limit{limit="waiting_events"}')
        await gateway.logspace([AGENT_EVENT])
        used = await gateway.metric('gateway_limit_used{limit="connections"}')
        assert used == await gateway.metric("gateway_connections") == 1


async def test_refusals_that_an_alert_needs_are_0_from_the_start(gateway):
    labels = 'dialect="device",reason="unavailable",tenant="T2"'
    assert f"gateway_refused_total{{{labels}}} 0.0" in await page(gateway)


async def test_a_page_is_made_beside_the_event_loop(gateway):
    made_by = set()

    def read() -> float:
        made_by.add(threading.get_ident())
        return 0

    gateway.gateway.metrics.watch("of_a_test", "Nothing.", read)
    made_by.clear()
    await page(gateway)

    assert made_by
    assert threading.get_ident() not in made_by


async def test_a_disk_that_hangs_holds_a_scrape_for_half_a_second_at_most(gateway, monkeypatch):
    await page(gateway)
    await asyncio.sleep(0.5)
    hangs = asyncio.Event()

    async def measures() -> None:
        await hangs.wait()

    monkeypatch.setattr(gateway.gateway._store, "measures", measures)
    await gateway.logspace([AGENT_EVENT, {}])
    began = time.monotonic()
    for _ in range(2):
        assert "gateway_quarantine_records 0.0" in await page(gateway)
    assert time.monotonic() - began < 5
    hangs.set()
