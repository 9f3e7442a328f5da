"""What one request may cost: large events, many faults, many invalid elements."""

import gzip
import json

import pytest

from gateway.adapter import MAX_REJECTED
from gateway.adapters.batch import MAX_EXPLAINED, NOT_EXPLAINED
from schemas.fields import MAX_FAULTS
from tests.dialects import CALL, CONTRACTS, READING, REGISTERED, REPORT

GZIP = {"Content-Encoding": "gzip"}
SMALL = {"ingest": {"max_event": 2_000}}
SINGLE = {"moesif": ("POST", CALL, "request"), "device": ("POST", REPORT, "data")}


def padded(event, member, size):
    """An event whose text has *size* bytes."""
    whole = {**event, member: {**event[member], "pad": ""}}
    short = len(json.dumps(whole).encode())
    whole[member]["pad"] = "x" * (size - short)
    return json.dumps(whole).encode()


@pytest.mark.parametrize("dialect", sorted(SINGLE))
@pytest.mark.parametrize("packed", [False, True])
async def test_an_event_alone_that_is_too_large_is_413(running, dialect, packed):
    method, event, member = SINGLE[dialect]
    known = CONTRACTS[dialect]
    path = "/v1/events" if dialect == "moesif" else known.path
    headers = {**known.sent, "Content-Type": "application/json", **(GZIP if packed else {})}
    async with running(SMALL) as gateway:
        for size, status in ((2_000, known.success), (2_001, 413)):
            body = padded(event, member, size)
            body = gzip.compress(body) if packed else body

            assert status == (await gateway.send(method, path, body, headers)).status
        assert 1 == len(await gateway.events())


@pytest.mark.parametrize("dialect", [one for one in REGISTERED if CONTRACTS[one].batch])
async def test_an_event_of_a_batch_that_is_too_large_is_quarantined(running, dialect):
    known = CONTRACTS[dialect]
    [event] = known.document
    large = json.dumps({**event, "id": "large", "pad": "x" * 2_000})
    async with running(SMALL) as gateway:
        body = known.batch.of(large, json.dumps(event))
        answer = await gateway.send(known.method, known.path, body, known.sent)

        assert (known.success, "1") == (answer.status, answer.headers["Gateway-Rejected"])
        [rejected] = await gateway.events(kind="rejected")
        assert [{"path": "", "message": "Larger than 2000 bytes."}] == rejected["data"]["problems"]
        assert large == rejected["data"]["raw"]
        assert 2 == len(await gateway.events())


@pytest.mark.parametrize(
    "properties",
    [{"a": [""] * 9_000}, {f"{at}": "" for at in range(9_000)}],
    ids=["values of one name", "names"],
)
async def test_a_check_stops_after_some_faults_and_counts_the_rest(gateway, properties):
    answer = await gateway.logspace([{**READING, "double-properties": properties}])

    assert 400 == answer.status
    [rejected] = await gateway.events(kind="rejected")
    told = answer.json["parameters"]["errors"]
    assert MAX_FAULTS == len(told) == len(rejected["data"]["problems"])
    [first] = [one for one in told if one["path"] == "[0].double-properties"]
    found = MAX_FAULTS - 1
    rest = 9_000 - found
    assert f"{found} faults so far; {rest} more values are not checked." == first["message"]


@pytest.mark.parametrize("count", [400_000, pytest.param(4_000_000, marks=pytest.mark.slow)])
async def test_very_many_wrong_values_in_one_request_are_refused_at_once(gateway, count):
    values = b'""' + b',""' * count
    event = json.dumps(READING).encode()[:-1] + b',"double-properties":{"a":[' + values + b"]}}"
    answer = await gateway.logspace(gzip.compress(b"[" + event + b"]"), **GZIP)

    assert 400 == answer.status
    assert ["Larger than 1048576 bytes."] == [
        one["message"] for one in answer.json["parameters"]["errors"]
    ]


async def test_some_invalid_elements_are_explained_and_the_others_are_kept(gateway):
    count = MAX_EXPLAINED + 500
    elements = [json.dumps(READING), *(f'{{"n":{at}}}' for at in range(count)), "{}", "{}"]
    answer = await gateway.logspace(f"[{','.join(elements)}]".encode())

    assert (202, f"{count + 2}") == (answer.status, answer.headers["Gateway-Rejected"])
    kept = await gateway.events(kind="rejected")
    told = [one["data"]["problems"][0]["message"] for one in kept]
    assert (count + 1, 501) == (len(told), told.count(NOT_EXPLAINED))


async def test_an_invalid_element_that_is_repeated_is_explained_once(gateway):
    body = b"[" + b",".join([b"{}"] * 90_000) + b"]"
    answer = await gateway.logspace(gzip.compress(body), **GZIP)

    assert 400 == answer.status
    assert 1 == len(await gateway.events(kind="rejected"))


async def test_no_more_than_some_invalid_elements_go_to_quarantine(running):
    elements = ",".join(f'{{"n":{at}}}' for at in range(MAX_REJECTED + 1_000))
    # A busy machine takes its time to store them.
    async with running({"store": {"deadline": 60}}) as gateway:
        assert 400 == (await gateway.logspace(f"[{elements}]".encode())).status

        assert MAX_REJECTED == len(await gateway.events(kind="rejected"))


async def test_an_event_that_is_not_plainly_valid_may_have_some_values_only(gateway):
    many = {**READING, "more": [0] * 30_000}

    assert 202 == (await gateway.logspace([many])).status
    answer = await gateway.logspace([{**many, "id": "2", "note": "\0"}])
    assert 400 == answer.status
    [told] = answer.json["parameters"]["errors"]
    assert "More than 20000 values, and not plainly valid." == told["message"]


async def test_a_report_may_have_some_values_only(gateway):
    assert 201 == (await gateway.device({**REPORT, "data": {"a": [0] * 19_000}})).status
    assert 400 == (await gateway.device({**REPORT, "data": {"a": [0] * 21_000}})).status


async def test_capabilities_may_have_some_agents_only(gateway):
    agents = [{"id": f"{at}", "trigger-types": ["Scheduler"]} for at in range(1_001)]
    known = {"logspace.space-token": "development"}
    for count, status in ((1_000, 200), (1_001, 400)):
        told = {"id": "c", "agent-capabilities": agents[:count]}
        answer = await gateway.send("PUT", "/capabilities/c", told, known)

        assert status == answer.status
