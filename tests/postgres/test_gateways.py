"""Several gateways on one server: one truth, whichever is asked."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gateway.stores import without_password
from tests.conftest import Running, command, serving

ROUNDS = 200
COPIES = 50


@pytest.fixture
async def gateways(url, tmp_path) -> AsyncIterator[list[Running]]:
    async with AsyncExitStack() as stack:
        made = []
        for n in range(3):
            place = tmp_path / f"{n}"
            place.mkdir()
            changes = {"store": {"url": url}, "spool": {"path": str(place / "spool.db")}}
            made.append(await stack.enter_async_context(serving(place, changes)))
        yield made


def event(number: int) -> dict[str, object]:
    return {
        "typeId": "0045",
        "description": "door opened",
        "appId": "kiosk",
        "severity": 3,
        "data": {},
        "timestamp": number,
    }


async def test_of_copies_of_an_event_at_several_gateways_one_is_stored(gateways):
    for n in range(1, ROUNDS + 1):
        answers = await asyncio.gather(
            *(gateways[copy % 3].device(event(n)) for copy in range(COPIES))
        )
        assert {201: 1, 409: COPIES - 1} == Counter(one.status for one in answers)

    assert ROUNDS == len(await gateways[0].events())


async def test_a_batch_is_told_apart_event_by_event_at_another_gateway(gateways):
    def action(name: str) -> dict[str, object]:
        time = {"time": "2026-01-15T10:00:00Z"}
        return {"action_name": "a", "user_id": "u", "transaction_id": name, "request": time}

    await gateways[0].moesif("/v1/actions/batch", [action("a"), action("b")])
    await gateways[1].moesif("/v1/actions/batch", [action("b"), action("c"), {"no": "action"}])
    await gateways[2].moesif("/v1/actions/batch", [action("c"), {"no": "action"}])

    assert 3 == len(await gateways[0].events(kind="action"))
    assert 1 == len(await gateways[0].events(kind="rejected"))


async def test_the_password_of_the_store_is_in_no_log_line():
    url = "postgresql://gateway:p@ss@db1,db2:5433/events?require_standby=on"

    assert "postgresql://gateway:...@db1,db2:5433/events?require_standby=on" == without_password(
        url
    )
    assert "sqlite:////a:b@c/events.db" == without_password("sqlite:////a:b@c/events.db")


async def test_the_commands_of_an_operator_read_what_several_gateways_stored(
    gateways, url, tmp_path
):
    for n, gateway in enumerate(gateways):
        assert 201 == (await gateway.device(event(n + 1))).status
    config = tmp_path / "config.toml"
    config.write_text(f'[store]\nurl = "{url}"\n')

    done = await asyncio.to_thread(
        command, "export", "--config", str(config), "--dialect", "device", cwd=tmp_path
    )
    assert 3 == len(done.stdout.splitlines()), done.stderr
    done = await asyncio.to_thread(
        command, "events", "--config", str(config), "--last", "2", cwd=tmp_path
    )
    assert 2 == len(done.stdout.splitlines()), done.stderr
    found = await asyncio.to_thread(
        command, "prune", "--config", str(config), "--tenant", "T1", "--before", "0d", cwd=tmp_path
    )
    assert found.exit_code == 0, found.stderr
    assert 3 == json.loads(found.stdout)["stored"]
    assert "VACUUM FULL" in found.stdout
    assert [] == await gateways[1].events(dialect="device")
    for name in ("backup", "verify"):
        extra = [str(tmp_path / "copies")] if name == "backup" else []
        done = await asyncio.to_thread(command, name, "--config", str(config), *extra, cwd=tmp_path)
        assert done.exit_code != 0
        assert "PostgreSQL's own tools" in done.stderr, (name, done.stderr)
