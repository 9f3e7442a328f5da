"""What was rejected is stored after all, once, as what it would have been at first."""

import asyncio
import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from gateway.rejected import Wanted
from gateway.replay import Order
from tests.conftest import PROCESS_CONFIG, ROOT, command
from tests.records import eventually, locked, make_rejected

TIME = "2026-01-15T10:00:00Z"
CALL = {"request": {"time": TIME, "verb": "GET", "uri": "https://a/"}}
DEVICE = {
    "typeId": "0045",
    "description": "",
    "appId": "kiosk",
    "severity": 3,
    "data": {"a": 1},
    "timestamp": 1768471200000,
}
READING = {"id": "r-1", "type": "t", "system": "s", "agent-id": "a", "timestamp": TIME}
LOG = {"timeUnixNano": "1768471200250000000", "severityText": "INFO"}


def logs(*records: Any) -> dict[str, Any]:
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}


async def export_logs(gateway, body: Any) -> Any:
    return await gateway.moesif("/v1/logs", body, **{"Content-Type": "application/json"})


async def replay(gateway, *ids: str, **order: Any) -> list[tuple[str, list[str]]]:
    """Replay in a running gateway; the outcomes, and the problems of each."""
    wanted = Wanted(ids=frozenset(ids))
    report = await gateway.gateway.replaying().run(Order(wanted, **order), lambda *_: None)
    assert not report.stopped
    return [(one.outcome, [problem.message for problem in one.problems]) for one in report.replayed]


async def kinds(gateway) -> list[str]:
    return [event["kind"] for event in await gateway.events()]


SENT = {
    "call": (lambda g, body: g.moesif("/v1/events", body), CALL, "api_call", None),
    "action": (
        lambda g, body: g.moesif("/collector/v1/actions", body),
        {"action_name": "Clicked", "user_id": "u-1", "request": {"time": TIME}},
        "action",
        "u-1",
    ),
    "user in a batch": (
        lambda g, body: g.moesif("/v1/users/batch", [{"user_id": "u-0"}, body]),
        {"user_id": "u-2"},
        "user",
        "u-2",
    ),
    "reading": (lambda g, body: g.logspace([body]), READING, "event", "s/a"),
    "device": (lambda g, body: g.device(body), DEVICE, "device_event", "D1"),
    "log": (lambda g, body: export_logs(g, logs(body)), LOG, "log", None),
}


@pytest.mark.parametrize("case", sorted(SENT))
async def test_a_mended_event_is_stored_as_what_it_would_have_been(gateway, case):
    send, good, kind, subject = SENT[case]
    broken = {**good, "severityNumber": "x"} if case == "log" else dict.fromkeys(good, (5,))
    await send(gateway, broken)
    [kept] = await gateway.events(kind="rejected")
    text = json.loads(kept["data"]["raw"])
    mended = {**text, "logRecord": LOG} if case == "log" else good

    assert [("stored", [])] == await replay(gateway, kept["sequence"], text=json.dumps(mended))

    assert [] == await gateway.events(kind="rejected")
    stored = (await gateway.events())[-1]
    assert [kind, subject, mended] == [stored["kind"], stored.get("subject"), stored["data"]]
    for name in ("tenant", "source", "receivedat", "clientaddress", "credential", "useragent"):
        assert kept[name] == stored[name]


async def test_what_is_still_invalid_stays_and_what_became_valid_does_not(running):
    async with running({"device": {"lenient_description": False}}) as gateway:
        await gateway.device({**DEVICE, "description": None})
        await gateway.device({**DEVICE, "severity": "high"})
        assert ["rejected"] * 2 == await kinds(gateway)
    async with running({"device": {"lenient_description": True}}) as gateway:
        tried = await replay(gateway, dry_run=True)
        assert ["valid", "refused"] == [outcome for outcome, _ in tried]
        assert ["rejected"] * 2 == await kinds(gateway)

        [first, second] = await replay(gateway)

        assert ("stored", []) == first
        assert ("refused", ["Not a valid integer."]) == second
        assert ["rejected", "device_event"] == await kinds(gateway)


async def test_an_event_that_the_client_has_sent_again_meanwhile_is_a_duplicate(gateway):
    await gateway.logspace([{**READING, "timestamp": 5}])
    [kept] = await gateway.events()
    await gateway.logspace([READING])

    assert [("duplicate", [])] == await replay(gateway, kept["sequence"], text=json.dumps(READING))
    assert ["event"] == await kinds(gateway)


async def test_the_other_content_of_a_reused_id_needs_an_id_of_its_own(running):
    async with running({"ingest": {"on_conflict": "keep"}}) as gateway:
        await gateway.logspace([READING])
        await gateway.logspace([{**READING, "type": "other"}])
        [kept] = await gateway.events(kind="rejected")
        assert "conflict" == kept["type"]
        sequence = kept["sequence"]

        text = json.dumps({**READING, "type": "other"})
        for again in (await replay(gateway), await replay(gateway, sequence, text=text)):
            [(outcome, problems)] = again
            assert "refused" == outcome
            assert "Give it with --file and an id that no other event has." in problems
        text = json.dumps({**READING, "type": "other", "id": "r-2"})
        assert [("stored", [])] == await replay(gateway, sequence, text=text)
        assert ["t", "other"] == [event["type"] for event in await gateway.events()]


async def test_a_record_of_a_batch_is_the_same_one_when_the_batch_is_repeated(running):
    async with running({"otlp": {"recognize_retries": True}}) as gateway:
        batch = logs(LOG, {**LOG, "severityNumber": "x"})
        for expected in ("stored", "duplicate"):
            await export_logs(gateway, batch)
            [kept] = await gateway.events(kind="rejected")
            text = json.dumps({"logRecord": LOG})
            assert [(expected, [])] == await replay(gateway, kept["sequence"], text=text)
        assert ["log", "log"] == await kinds(gateway)


async def test_events_that_differ_in_masked_members_alone_are_both_stored(running):
    def event(secret: str) -> dict[str, Any]:
        return {**CALL, "transaction_id": secret, "user_id": [5]}

    rules = {"redact": {"keys": ["transaction_id"]}}
    async with running(rules) as gateway:
        # The quarantine has only one where nothing else differs.
        await gateway.moesif("/v1/events", {**event("one"), "n": 1})
        await gateway.moesif("/v1/events", {**event("two"), "n": 2})
        before = await gateway.events(kind="rejected")
        assert "[redacted]" in before[0]["data"]["raw"]
        store = gateway.gateway._store
        for one in before:
            await store.release([int(one["sequence"])], "drop", 0)
        problems = [{"path": "user_id", "message": "Not a valid string."}]
        await store.append(
            [
                make_rejected(
                    str(number),
                    data=json.dumps(
                        {
                            "problems": problems,
                            "raw": one["data"]["raw"].replace('"user_id": [5]', '"user_id": "u"'),
                            "path": "/v1/events",
                        }
                    ),
                )
                for number, one in enumerate(before)
            ]
        )

        assert [("stored", [])] * 2 == await replay(gateway)
        assert ["api_call"] * 2 == await kinds(gateway)


async def test_a_body_that_was_not_json_is_replayed_whole_or_not_at_all(gateway):
    await gateway.moesif("/v1/events/batch", b'[{"request": ')
    [kept] = await gateway.events()
    sequence = kept["sequence"]

    half = json.dumps([CALL, {"request": {}}, CALL])
    [(outcome, _)] = await replay(gateway, sequence, text=half)
    assert "refused" == outcome
    assert [("refused", ["It holds no event."])] == await replay(gateway, sequence, text="[]")
    assert ["rejected"] == await kinds(gateway)
    # Each of them counts, as it would have at first.
    both = json.dumps([CALL, CALL])
    assert [("stored", [])] == await replay(gateway, sequence, text=both)
    assert ["api_call"] * 2 == await kinds(gateway)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"raw": json.dumps(CALL)}, "say so with --path"),
        ({"raw": json.dumps(CALL), "path": "/v1/events", "cut": True}, "give all with --file"),
        ({"raw": "[withheld: not JSON, or too large, so nothing in it could be masked]",
          "path": "/v1/events"}, "give it with --file"),
        ({"raw": json.dumps(CALL), "path": "/events"}, "takes no events of the dialect moesif"),
        ({"raw": json.dumps(CALL), "path": "/v1/config"}, "takes no events"),
    ],
)  # fmt: skip
async def test_what_is_missing_for_a_replay_is_told(gateway, content, said):
    data = json.dumps({"problems": [], **content})
    await gateway.gateway._store.append([make_rejected("a", data=data)])

    [(outcome, [problem])] = await replay(gateway)

    assert "refused" == outcome
    assert said in problem
    assert [("stored", [])] == await replay(gateway, "1", path="/v1/events", text=json.dumps(CALL))


async def test_a_tenant_or_a_device_that_is_gone_is_told(running):
    content = {"problems": [], "raw": json.dumps(DEVICE)}
    paths = ("T1/devices/D9", "T9/devices/D1")
    async with running() as gateway:
        await gateway.gateway._store.append(
            [
                make_rejected(
                    path,
                    dialect="device",
                    tenant=path[:2],
                    data=json.dumps({**content, "path": f"/rest/v1/api/tenants/{path}/events"}),
                )
                for path in paths
            ]
        )

        assert [
            ("refused", ["Its tenant has no such device."]),
            ("refused", ["No credential of the configuration opens its tenant any more."]),
        ] == await replay(gateway)


async def test_a_replay_creates_the_device_that_its_event_would_have_created(running):
    tenant = {"tenant": "T1", "devices": [], "provisioning": "open"}
    open_to_all = {"device": {"tenants": [tenant], "keys": [{"key": "K1", "tenants": ["T1"]}]}}
    async with running(open_to_all) as gateway:
        await gateway.device({**DEVICE, "severity": "x"}, device="new%20one")
        assert [] == list(await gateway.gateway._store.names("device", "device/"))

        assert [("stored", [])] == await replay(gateway, "1", text=json.dumps(DEVICE))

        assert [("T1", "device/new one")] == list(
            await gateway.gateway._store.names("device", "device/")
        )


async def test_the_command_asks_the_running_gateway_and_takes_a_large_text(running, tmp_path):
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    large = {**CALL, "metadata": {"text": "x" * 200_000}}
    (tmp_path / "mended.json").write_text(json.dumps(large))
    async with running() as gateway:
        await gateway.moesif("/v1/events", {"request": 5})
        await gateway.moesif("/v1/events", {"request": 6})

        def run(*arguments: str):
            return command("rejected", *arguments, cwd=tmp_path)

        def last(done: Any) -> Any:
            # The gateway of this process logs there as well.
            return json.loads(done.stdout.splitlines()[-1])

        one = await asyncio.to_thread(run, "replay", "1", "--file", "mended.json")
        other = await asyncio.to_thread(run, "replay", "--all")
        gone = await asyncio.to_thread(run, "drop", "--tenant", "acme", "--yes")

        assert [0, "stored"] == [one.exit_code, last(one)["outcome"]], one.stderr
        assert [1, "refused"] == [other.exit_code, last(other)["outcome"]]
        assert {"records": 1} == last(gone), gone.stderr
        assert ["api_call"] == await kinds(gateway)
        assert 1 == await gateway.metric('gateway_accepted_total{dialect="moesif",tenant="acme"}')


KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from gateway.cli import main
from gateway.stores.sqlite import SqliteStore
release, calls = SqliteStore.release, []

async def killed(self, *arguments):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return await release(self, *arguments)

SqliteStore.release = killed
main(["rejected", "replay", "--all"])
"""


async def test_a_replay_that_is_killed_half_way_loses_and_doubles_nothing(running, tmp_path):
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    names = [f"https://a/{number}" for number in range(120)]
    async with running() as gateway:
        # Nothing identifies these: every copy would count.
        await gateway.gateway._store.append(
            [
                make_rejected(
                    name,
                    data=json.dumps(
                        {
                            "problems": [],
                            "raw": json.dumps({"request": {**CALL["request"], "uri": name}}),
                            "path": "/v1/events",
                        }
                    ),
                )
                for name in names
            ]
        )
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True
    )
    assert -signal.SIGKILL == killed.returncode, killed.stderr
    again = await asyncio.to_thread(command, "rejected", "replay", "--all", cwd=tmp_path)
    assert 0 == again.exit_code, again.stderr
    outcomes = [json.loads(line)["outcome"] for line in again.stdout.splitlines()]
    # The first fifty had left; the next fifty were stored, and had not.
    assert ["duplicate"] * 50 + ["stored"] * 20 == outcomes

    async with running() as gateway:
        events = await gateway.events()
    assert names == [event["data"]["request"]["uri"] for event in events]


async def test_a_replay_while_the_store_is_locked_is_queued_and_can_be_repeated(running, tmp_path):
    data = json.dumps({"problems": [], "raw": json.dumps(CALL), "path": "/v1/events"})
    async with running() as gateway:
        await gateway.gateway._store.append([make_rejected("a", data=data)])
        with locked(tmp_path / "events.db"):
            report = await gateway.gateway.replaying().run(Order(Wanted()), lambda *_: None)
        assert ["queued"] == [one.outcome for one in report.replayed]
        assert "What is stored is still in quarantine." in report.stopped

        async def drained() -> bool:
            return ["rejected", "api_call"] == await kinds(gateway)

        await eventually(drained)
        assert [("duplicate", [])] == await replay(gateway)
        assert ["api_call"] == await kinds(gateway)


def rejected_data() -> str:
    return json.dumps({"problems": [], "raw": "{}", "path": "/v1/events"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay"], "Say which: IDs, a filter such as --tenant, or --all."),
        (["replay", "1", "--all"], "--all is for all"),
        (["drop"], "Say which"),
        (["replay", "--tenant", "acmee"], "There are: acme."),
    ],
)
async def test_what_is_meant_has_to_be_said(running, tmp_path, arguments, said):
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    async with running() as gateway:
        await gateway.gateway._store.append([make_rejected("a", data=rejected_data())])

    done = command("rejected", *arguments, cwd=tmp_path)

    assert 2 == done.exit_code
    assert said in done.stderr


async def test_drop_asks_first_and_deletes_what_fits_alone(running, tmp_path):
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    async with running() as gateway:
        await gateway.gateway._store.append(
            [
                make_rejected("a", data=rejected_data()),
                make_rejected("b", tenant="other", data=rejected_data()),
            ]
        )

    asked = command("rejected", "drop", "--tenant", "other", cwd=tmp_path)
    assert 1 == asked.exit_code
    assert "Delete 1 rejected events for good?" in asked.stderr
    done = command("rejected", "drop", "--tenant", "other", "--yes", cwd=tmp_path)

    assert {"records": 1} == json.loads(done.stdout)
    async with running() as gateway:
        assert ["acme"] == [event["tenant"] for event in await gateway.events()]
    assert (
        "There is no 2 in quarantine."
        in command("rejected", "drop", "2", "--yes", cwd=tmp_path).stderr
    )
