"""What the Moesif dialect answers to SDKs and browsers besides receiving events."""

import json

import pytest

from gateway.adapters.moesif_settings import CONFIG_TAG, RULES_TAG
from tests.adapters.test_recordings import RECORDED, replay
from tests.conftest import APPLICATION_ID

ID = {"X-Moesif-Application-Id": APPLICATION_ID}
POSTS = [
    f"/v1/{sort}{batch}"
    for sort in ("events", "actions", "users", "companies", "subscriptions")
    for batch in ("", "/batch")
]
ADDRESSES = [*POSTS, "/v1/config", "/v1/rules", "/health/probe", "/moesifapi/events"]
ONE = {
    "events": {"request": {"time": "2026-01-01T00:00:00Z", "uri": "/a", "verb": "GET"}},
    "actions": {"action_name": "Clicked"},
    "users": {"user_id": "u"},
    "companies": {"company_id": "c"},
    "subscriptions": {"subscription_id": "s", "company_id": "c"},
}
MEMBERS = {
    "org_id": str,
    "app_id": str,
    "sample_rate": int,
    "block_bot_traffic": bool,
    "user_sample_rate": dict,
    "company_sample_rate": dict,
    "user_rules": dict,
    "company_rules": dict,
    "ip_addresses_blocked_by_name": dict,
    "regex_config": list,
    "billing_config_jsons": dict,
}


def customised(tmp_path, **files):
    """Changes of the configuration: an application with these files and options."""
    options = {}
    for name, value in files.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(value))
        options[name] = str(path) if name.endswith("_file") else value
    return {"moesif": {"applications": [{"tenant": "acme", "ids": [APPLICATION_ID], **options}]}}


@pytest.mark.parametrize("path", POSTS)
async def test_every_address_that_takes_events_answers_exactly_201(shared, path):
    sort = path.split("/")[2]
    body = [ONE[sort]] if path.endswith("/batch") else ONE[sort]

    answer = await shared.moesif(path, body)

    assert (201, b"", "0") == (answer.status, answer.body, answer.headers["Content-Length"])


@pytest.mark.parametrize(
    "path", [p for p in RECORDED if p.parent.name == "moesif"], ids=lambda path: path.stem
)
async def test_every_recorded_request_gets_what_its_client_needs(running, path):
    answers, _ = await replay(running, path)

    for sent, answer in answers:
        wanted = {"POST": 201, "GET": 200, "OPTIONS": 204}[sent.method]
        assert wanted == answer.status, sent.path
        assert "*" == answer.headers["Access-Control-Allow-Origin"]
    assert 1 == len({(a.headers[CONFIG_TAG], a.headers[RULES_TAG]) for _, a in answers})


async def test_every_answer_carries_both_tags_the_same_everywhere(running, tmp_path):
    changes = customised(tmp_path, config_file={"sample_rate": 10}, rules_file=[])
    async with running(changes) as gateway:
        answers = [
            await gateway.moesif("/v1/events", ONE["events"]),
            await gateway.moesif("/v1/events", b"{"),
            await gateway.moesif("/v1/nothing", {}),
            await gateway.send("PUT", "/v1/events", b"", ID),
            await gateway.send("GET", "/v1/config", b"", ID),
            await gateway.send("GET", "/v1/rules", b"", ID),
            await gateway.send("GET", "/health/probe", b"", ID),
        ]
        stranger = await gateway.send("POST", "/v1/events", b"{}")

    assert [201, 400, 404, 405, 200, 200, 200] == [answer.status for answer in answers]
    assert 1 == len({(a.headers[CONFIG_TAG], a.headers[RULES_TAG]) for a in answers})
    assert 401 == stranger.status
    assert stranger.headers[CONFIG_TAG]
    assert stranger.headers[RULES_TAG]


async def test_the_default_configuration_has_every_member_and_captures_everything(shared):
    answer = await shared.send("GET", "/v1/config", b"", ID)

    assert "application/json" == answer.headers["Content-Type"]
    assert MEMBERS == {name: type(value) for name, value in answer.json.items()}
    assert 100 == answer.json["sample_rate"]
    assert [] == (await shared.send("GET", "/v1/rules", b"", ID)).json


async def test_a_configuration_from_a_file_gets_the_missing_members(running, tmp_path):
    changes = customised(tmp_path, config_file={"user_sample_rate": {"u": 5}}, sample_rate=50)
    async with running(changes) as gateway:
        answer = await gateway.send("GET", "/v1/config", b"", ID)

    assert MEMBERS == {name: type(value) for name, value in answer.json.items()}
    assert ({"u": 5}, 50) == (answer.json["user_sample_rate"], answer.json["sample_rate"])


async def test_rules_have_the_members_that_sdks_require(running, tmp_path):
    changes = customised(tmp_path, rules_file=[{"_id": "r", "type": "user", "name": "n"}])
    async with running(changes) as gateway:
        [rule] = (await gateway.send("GET", "/v1/rules", b"", ID)).json

    assert ("r", "user", "n") == (rule["_id"], rule["type"], rule["name"])
    assert ([], False, {}) == (
        rule["regex_config"],
        rule["applied_to_unidentified"],
        rule["response"],
    )


@pytest.mark.parametrize("path", ["/v1/config", "/v1/rules"])
@pytest.mark.parametrize("form", ["{}", '"{}"', 'W/"{}"', '"other", "{}"', "*"])
async def test_an_unchanged_tag_gets_304(shared, path, form):
    tag = CONFIG_TAG if path.endswith("config") else RULES_TAG
    had = (await shared.send("GET", path, b"", ID)).headers[tag]

    same = await shared.send("GET", path, b"", {**ID, "If-None-Match": form.format(had)})
    other = await shared.send("GET", path, b"", {**ID, "If-None-Match": '"other"'})

    assert (304, b"", had) == (same.status, same.body, same.headers[tag])
    assert 200 == other.status


async def test_a_tag_changes_only_with_its_content_even_after_a_restart(running, tmp_path):
    async def tags(**files):
        async with running(customised(tmp_path, **files)) as gateway:
            headers = (await gateway.moesif("/v1/events", ONE["events"])).headers
            return headers[CONFIG_TAG], headers[RULES_TAG]

    first = await tags(config_file={"sample_rate": 10}, rules_file=[])
    again = await tags(config_file={"sample_rate": 10}, rules_file=[])
    changed = await tags(config_file={"sample_rate": 11}, rules_file=[])

    assert first == again
    assert first[0] != changed[0]
    assert first[1] == changed[1]


@pytest.mark.parametrize("path", ADDRESSES)
async def test_a_cors_preflight_needs_no_credential(shared, path):
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-moesif-application-id,x-moesif-sdk",
    }
    answer = await shared.send("OPTIONS", path, b"", asked)

    allowed = answer.headers["Access-Control-Allow-Headers"].lower().replace(" ", "").split(",")
    assert (204, b"") == (answer.status, answer.body)
    assert "*" == answer.headers["Access-Control-Allow-Origin"]
    assert {"content-type", "x-moesif-application-id", "x-moesif-sdk"} <= set(allowed)


async def test_a_browser_may_read_the_reason_of_a_refusal(shared):
    answer = await shared.send("POST", "/v1/events", b"{}", {"Origin": "https://shop.example"})

    assert (401, "application/problem+json") == (answer.status, answer.headers["Content-Type"])
    assert 401 == answer.json["status"]
    assert "*" == answer.headers["Access-Control-Allow-Origin"]


async def test_the_health_probe_needs_no_credential(shared):
    answer = await shared.send("GET", "/health/probe")

    assert (200, True) == (answer.status, answer.json["status"])


async def test_events_with_the_same_header_id_are_both_stored(gateway):
    def event(direction):
        headers = {"X-Moesif-Transaction-Id": "fb9da688"}
        return {"request": {**ONE["events"]["request"], "headers": headers}, "direction": direction}

    await gateway.moesif("/v1/events/batch", [event("Incoming"), event("Outgoing")])

    assert 2 == len(await gateway.events())


async def test_an_event_resent_in_another_batch_is_stored_once(gateway):
    def event(name):
        return {**ONE["events"], "transaction_id": name}

    for batch in (["A", "B"], ["C"], ["A", "C", "D"]):
        await gateway.moesif("/v1/events/batch", [event(name) for name in batch])

    stored = [event["data"]["transaction_id"] for event in await gateway.events()]
    assert ["A", "B", "C", "D"] == stored
