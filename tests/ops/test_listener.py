"""The operator's listener."""

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.conftest import Running
from tests.records import eventually, locked

EVENT = {
    "typeId": "0045",
    "description": "",
    "appId": "a",
    "severity": 1,
    "data": {},
    "timestamp": 1,
}


async def asked(gateway: Running, path: str) -> tuple[int, str]:
    async with gateway.session.get(gateway.ops_url + path) as response:
        return response.status, (await response.json())["status"]


async def test_a_running_gateway_is_alive_and_ready(shared):
    assert (200, "alive") == await asked(shared, "/livez")
    assert (200, "ready") == await asked(shared, "/readyz")


async def test_a_gateway_with_a_spool_is_ready_without_the_store(gateway, tmp_path):
    with locked(tmp_path / "events.db"):
        assert (200, "ready") == await asked(gateway, "/readyz")


async def test_without_store_and_spool_the_gateway_is_alive_and_not_ready(gateway, tmp_path):
    with locked(tmp_path / "events.db"), locked(tmp_path / "spool.db"):
        assert (503, "not ready") == await asked(gateway, "/readyz")
        assert (200, "alive") == await asked(gateway, "/livez")

    assert (200, "ready") == await asked(gateway, "/readyz")


async def test_a_gateway_with_a_full_spool_and_no_store_is_not_ready(running, tmp_path):
    async with running({"spool": {"max_events": 1}}) as gateway:
        with locked(tmp_path / "events.db"):
            assert 202 == (await gateway.device(EVENT)).status
            assert (503, "not ready") == await asked(gateway, "/readyz")
            assert 503 == (await gateway.device({**EVENT, "timestamp": 2})).status

        async def ready() -> bool:
            return (await asked(gateway, "/readyz"))[0] == 200

        await eventually(ready)


async def test_a_stopping_gateway_is_alive_not_ready_and_answers_open_requests(running, tmp_path):
    async with running() as gateway:
        with locked(tmp_path / "events.db"), locked(tmp_path / "spool.db"):
            waiting = asyncio.create_task(gateway.device(EVENT))

            async def waits() -> bool:
                return await gateway.metric("gateway_waiting_events") == 1

            await eventually(waits)
            stopping = asyncio.create_task(gateway.gateway.stop())
            await asyncio.sleep(0.1)
            assert (503, "not ready") == await asked(gateway, "/readyz")
            assert (200, "alive") == await asked(gateway, "/livez")
            assert 503 == (await waiting).status
        await stopping


async def test_the_operators_addresses_are_not_on_the_public_listener(shared):
    for path in ("/livez", "/readyz", "/metrics"):
        assert 404 == (await shared.send("GET", path)).status


async def test_the_dialects_are_not_on_the_operators_listener(shared):
    async with shared.session.put(shared.ops_url + "/events", data=b"[]") as response:
        assert 404 == response.status


async def test_readyz_gives_the_reason_for_not_being_ready(gateway, tmp_path):
    with locked(tmp_path / "events.db"), locked(tmp_path / "spool.db"):
        async with gateway.session.get(gateway.ops_url + "/readyz") as response:
            assert "locked" in json.loads(await response.text())["reason"]


def commits(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count FROM probe").fetchone()[0])


async def test_readyz_writes_to_the_disk_at_most_once_a_second_however_often_it_is_asked(
    gateway, tmp_path
):
    before = commits(tmp_path / "events.db")
    started = time.monotonic()
    for _ in range(40):
        assert (200, "ready") == await asked(gateway, "/readyz")

    assert commits(tmp_path / "events.db") - before <= 1 + (time.monotonic() - started)


async def test_readyz_does_not_write_while_events_are_stored(gateway, tmp_path):
    before = commits(tmp_path / "events.db")
    assert 201 == (await gateway.device(EVENT)).status
    assert (200, "ready") == await asked(gateway, "/readyz")

    assert before == commits(tmp_path / "events.db")


ADDRESSES = ["127.0.0.1:8081", "127.0.0.1", "[::1]:8081", "localhost", "LOCALHOST:1"]


async def test_the_listener_answers_to_addresses_and_to_the_names_that_are_configured(running):
    async with running({"ops": {"hosts": ["ops.example"]}}) as gateway:
        for host in (*ADDRESSES, "ops.example:8081"):
            url, headers = f"{gateway.ops_url}/metrics", {"Host": host}
            async with gateway.session.get(url, headers=headers) as answer:
                assert 200 == answer.status, host


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/nowhere"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", ""]
)
async def test_a_page_that_rebinds_its_name_reads_nothing(shared, host, path):
    async with shared.session.get(shared.ops_url + path, headers={"Host": host}) as answer:
        assert 421 == answer.status
        assert "gateway_" not in await answer.text()


async def test_a_malformed_request_to_operators_is_logged_without_what_was_sent(running, caplog):
    with capture_logs() as lines:
        async with running() as gateway:
            host, port = gateway.gateway.ops_address
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nsecret value\r\n\r\n")
            assert b" 400 " in await reader.readline()
            writer.close()

    [line] = [line for line in lines if line["event"] == "request_malformed"]
    assert ("ops", "127.0.0.1") == (line["listener"], line["client"])
    assert not [record for record in caplog.records if "aiohttp" in record.name]
    assert "secret value" not in caplog.text
