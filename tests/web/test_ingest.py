"""The handler of all dialects: what it makes of batches that are read in several parts."""

import json

from structlog.testing import capture_logs

from tests.adapters.test_logspace import reading
from tests.records import locked


def batch(size: int, invalid: set[int]) -> list[dict[str, str]]:
    ids = ("" if at in invalid else f"{at}" for at in range(size))
    return [reading(id=one, system=f"web-{at}") for at, one in enumerate(ids)]


async def test_a_problem_in_a_large_batch_has_the_index_of_its_element(running):
    async with running({"logspace": {"on_invalid": "refuse"}}) as gateway:
        answer = await gateway.logspace(batch(650, {3, 199, 200, 431, 649}))

    assert 400 == answer.status
    assert [f"[{at}].id" for at in (3, 199, 200, 431, 649)] == [
        problem["path"] for problem in answer.json["parameters"]["errors"]
    ]


async def test_the_events_of_a_large_batch_are_stored_in_their_order(gateway):
    answer = await gateway.logspace(batch(650, {431}))
    stored = await gateway.events(kind="event")
    [rejected] = await gateway.events(kind="rejected")

    assert (202, "1") == (answer.status, answer.headers["Gateway-Rejected"])
    assert [f"{at}" for at in range(650) if at != 431] == [one["data"]["id"] for one in stored]
    assert "" == json.loads(rejected["data"]["raw"])["id"]


async def test_a_refused_request_is_logged_with_its_reason_and_whether_to_repeat_it(
    gateway, tmp_path
):
    with capture_logs() as lines:
        assert 404 == (await gateway.send("PUT", f"/events/{'x' * 1000}")).status
        assert 400 == (await gateway.logspace(batch(2, {0, 1}))).status
        with locked(tmp_path / "events.db"), locked(tmp_path / "spool.db"):
            assert 503 == (await gateway.logspace(batch(1, set()))).status
    refused = [line for line in lines if line["event"] == "request_refused"]

    assert [
        ("info", 404, "no_such_address", False),
        ("info", 400, "invalid", False),
        ("warning", 503, "unavailable", True),
    ] == [(one["log_level"], one["status"], one["reason"], one["retryable"]) for one in refused]
    assert f"/events/{'x' * 192}" == refused[0]["path"]
    assert refused[1]["problem"].startswith("[0].id: ")
    assert {"127.0.0.1"} == {one["client"] for one in refused}


async def test_an_answered_request_is_logged_with_what_became_of_its_events(gateway):
    with capture_logs() as lines:
        await gateway.logspace(batch(3, {1}))
        await gateway.logspace(batch(4, set()))
    first, second = (line for line in lines if line["event"] == "request_answered")

    assert ("logspace", "development", 202) == tuple(
        first[name] for name in ("dialect", "tenant", "status")
    )
    assert (2, 1) == (first["stored"], first["rejected"])
    assert (2, 2) == (second["stored"], second["duplicate"])
    assert first["request_id"] != second["request_id"]


async def test_a_request_that_is_rejected_in_part_names_its_first_problem(running):
    async with running({"redact": {"keys": ["string-properties"]}}) as gateway:
        secret = {**reading(id="1"), "string-properties": {"s3cr3t": 1}}
        with capture_logs() as lines:
            await gateway.logspace(batch(5, {1, 2}))
            await gateway.logspace([reading(id="2"), secret])
        first, second = (line for line in lines if line["event"] == "request_answered")

    assert first["problem"].startswith("[1].id: ")
    assert second["problem"].startswith("[1].string-properties")
    assert "s3cr3t" not in str(lines)


async def test_a_request_with_duplicates_names_the_first_id(gateway):
    with capture_logs() as lines:
        await gateway.logspace(batch(2, set()))
        await gateway.logspace([reading(id="new"), *batch(2, set())])
        await gateway.logspace([{}, *batch(2, set())])
    first, second, third = (line for line in lines if line["event"] == "request_answered")

    assert "duplicate_id" not in first
    assert ("0", "0") == (second["duplicate_id"], third["duplicate_id"])
    assert third["problem"].startswith("[0]")


async def test_the_id_of_a_duplicate_is_masked_where_a_rule_masks_it(running):
    async with running({"redact": {"keys": ["id"]}}) as gateway:
        with capture_logs() as lines:
            await gateway.logspace([reading(id="s3cr3t")])
            await gateway.logspace([reading(id="s3cr3t")])

    assert "[redacted]" == lines[-1]["duplicate_id"]
    assert "s3cr3t" not in str(lines)


async def test_a_device_event_that_is_there_already_is_named_by_its_time(gateway):
    event = {"typeId": "0045", "description": "", "appId": "a", "severity": 1, "data": {}}
    with capture_logs() as lines:
        assert 201 == (await gateway.device({**event, "timestamp": 7})).status
        assert 409 == (await gateway.device({**event, "timestamp": 7})).status

    assert "7" == lines[-1]["duplicate_id"]
