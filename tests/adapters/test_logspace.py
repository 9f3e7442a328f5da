"""The Logspace dialect: what agents send, and the answers that they know."""

import json

import pytest

from tests.adapters.direct import DirectLogspace
from tests.dialects import READING

ARRAYS = {
    "boolean-properties": {"is_master": [True], "none": []},
    "date-properties": {"started": ["2015-05-18T14:07:00.123Z"]},
    "double-properties": {"load": [9.7e8, 0.0, 4], "big": [1e308]},
    "float-properties": {"ratio": [0.5]},
    "integer-properties": {"cpus": [4, 4.0, -(2**31), 2**31 - 1]},
    "long-properties": {"memory": [16490561536, -(2**63), 2**63 - 1]},
    "string-properties": {"s": ["x", "y"], "empty": [""], "weird key é": ['q"\\/\n']},
}
SCALARS = {
    "boolean-properties": {"is_master": False},
    "date-properties": {"started": "2015-05-18T14:07:00Z"},
    "double-properties": {"load": 0.44324237001029815},
    "float-properties": {"ratio": 1},
    "integer-properties": {"cpus": 4},
    "long-properties": {"memory": 16490561536},
    "string-properties": {"s": "x", "lone": "\ud800", "nul": "\x00"},
}


def reading(**changes):
    names = {name.replace("_", "-"): value for name, value in changes.items()}
    return {**READING, **names}


@pytest.mark.parametrize("path", ["/events", "//events", "/events/", "/api/events", "/events?a=b"])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_every_release_of_agents_finds_its_address(logspace, method, path):
    token = {"Logspace.Space-Token": " development "}
    answer = logspace.send(method, path, [READING], token)

    assert (202, b"") == (answer.status, answer.body)
    assert [READING] == [event["data"] for event in logspace.events()]


@pytest.mark.parametrize(
    "event",
    [
        {**READING, **ARRAYS},
        {**READING, **SCALARS},
        dict(reversed({**READING, **ARRAYS}.items())),
        reading(pid=None, gid=None, marker=None),
        reading(pid="p", gid="g", marker="m1", unknown={"a": [1]}),
        reading(double_properties={}, string_properties={}),
        reading(id="\x00\ud800"),
    ],
)
def test_real_events_of_agents_are_stored_unchanged(logspace, event):
    assert 202 == logspace.put([event]).status
    assert [event] == [kept["data"] for kept in logspace.events()]


@pytest.mark.parametrize(
    ("type", "expected"),
    [("os/cpu", "os/cpu"), (None, "logspace.event"), ("", "logspace.event"), (5, "5")],
)
def test_an_event_has_its_type_its_agent_and_its_time(logspace, type, expected):
    logspace.put([reading(type=type, timestamp="2015-05-18T16:07:00.5+02:00")])
    [event] = logspace.events()

    assert ("event", expected, "localhost/os/cpu", "2015-05-18T14:07:00.500000Z") == (
        event["kind"],
        event["type"],
        event["subject"],
        event["time"],
    )


def test_a_type_may_be_missing(logspace):
    logspace.put([{name: READING[name] for name in READING if name != "type"}])

    assert ["logspace.event"] == [event["type"] for event in logspace.events()]


def test_nan_and_infinities_bare_or_quoted_are_stored_as_strings(logspace):
    text = json.dumps(reading(double_properties={"d": 0}, float_properties={"f": ["NaN"]}))
    text = text.replace('"d": 0', '"d":[NaN,Infinity,-Infinity,1.5]')
    answer = logspace.put(f"[{text}]".encode())
    [event] = logspace.events()

    assert 202 == answer.status
    assert ["NaN", "Infinity", "-Infinity", 1.5] == event["data"]["double-properties"]["d"]
    assert {"f": ["NaN"]} == event["data"]["float-properties"]


def test_an_event_next_to_one_with_nan_keeps_its_exact_text(logspace):
    plain = json.dumps(READING).encode()[:-1] + b' ,\n"double-properties":{"d":2.50E0} }'
    odd = json.dumps(reading(id="2")).encode()[:-1] + b',"float-properties":{"f":NaN}}'
    logspace.put(b"[" + plain + b"," + odd + b"]")

    assert plain.decode() == logspace.records[0].data
    assert 2 == len(logspace.records)


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (reading(id=""), "id"),
        (reading(id=None), "id"),
        (reading(id=5), "id"),
        (reading(system=""), "system"),
        (reading(system="a\x00"), "system"),
        (reading(agent_id=None), "agent-id"),
        (reading(agent_id="\udfff"), "agent-id"),
        (reading(type="a\x00"), "type"),
        (reading(type=["a"]), "type"),
        (reading(timestamp="2015-05-18T14:07:00"), "timestamp"),
        (reading(timestamp="2015-13-40T25:61:61.123Z"), "timestamp"),
        (reading(timestamp=1431957600), "timestamp"),
        (reading(boolean_properties={"a": "true"}), "boolean-properties.a"),
        (reading(date_properties={"a": [5]}), "date-properties.a[0]"),
        (reading(double_properties={"a": "1.5"}), "double-properties.a"),
        (reading(float_properties={"a": [1.5, None]}), "float-properties.a[1]"),
        (reading(integer_properties={"a": 1.9}), "integer-properties.a"),
        (reading(integer_properties={"a": 2**31}), "integer-properties.a"),
        (reading(integer_properties={"\ud800": "x"}), "integer-properties.\\ud800"),
        (reading(long_properties={"a": [2**63]}), "long-properties.a[0]"),
        (reading(string_properties={"a": 5}), "string-properties.a"),
        (reading(string_properties={"a": None}), "string-properties.a"),
        (reading(string_properties=[]), "string-properties"),
        (reading(string_properties=None), "string-properties"),
        (reading(boolean_properties=None), "boolean-properties"),
        (reading(date_properties=None), "date-properties"),
    ],
)
def test_a_problem_is_reported_with_its_path_and_its_event_rejected(logspace, event, path):
    answer = logspace.put([event])
    [rejected] = logspace.rejected

    assert (400, "INVALID_EVENTS") == (answer.status, answer.json["type"])
    assert [f"[0].{path}"] == [one["path"] for one in answer.json["parameters"]["errors"]]
    assert event == json.loads(rejected.raw)


@pytest.mark.parametrize(
    "wrong", [b"{}", b"null", b"5", b"[]", b"NaN", b'{"a":' * 900 + b"1" + b"}" * 900]
)
def test_an_invalid_element_does_not_fail_its_batch(logspace, wrong):
    answer = logspace.put(b"[" + json.dumps(READING).encode() + b"," + wrong + b"]")

    assert (202, 1) == (answer.status, answer.rejected)
    assert (["event"], 1) == ([r.kind for r in logspace.records], len(logspace.rejected))


@pytest.mark.parametrize("on_invalid", ["accept", "quarantine", "refuse"])
async def test_a_batch_without_valid_events_is_answered_as_configured(running, on_invalid):
    status, kept = {"accept": (202, 1), "quarantine": (400, 1), "refuse": (400, 0)}[on_invalid]
    async with running({"logspace": {"on_invalid": on_invalid}}) as gateway:
        assert status == (await gateway.logspace([{"id": "poison"}])).status
        assert kept == len(await gateway.events(kind="rejected"))


def test_a_repeated_id_is_stored_once_and_the_first_one_wins(logspace):
    first, second = reading(marker="1"), reading(marker="2")
    answers = [logspace.put(batch) for batch in ([first, second], [second], [first])]

    assert [202, 202, 202] == [answer.status for answer in answers]
    assert [1, 1, 1] == [answer.duplicates for answer in answers]
    assert [first] == [event["data"] for event in logspace.events()]


def test_ids_with_unusual_characters_are_different(logspace):
    ids = ["a", "A", "a\x00", "a\x00b", " a", "\ud800", "\ud801", "á", "a\u0301", "\\ud800"]
    logspace.put([reading(id=one) for one in ids])

    assert ids == [event["data"]["id"] for event in logspace.events()]


def test_the_same_id_in_two_spaces_is_two_events():
    spaces = [{"tenant": "a", "tokens": ["a"]}, {"tenant": "b", "tokens": ["b", "b2"]}]
    logspace = DirectLogspace(spaces=spaces)
    for token in ("a", "b", "b2"):
        logspace.send("PUT", "/events", [READING], {"logspace.space-token": token})

    assert ["a", "b"] == [event["tenant"] for event in logspace.events()]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {},
            b'{"type":"MISSING_SPACE_TOKEN","message":"Missing header \'logspace.space-token\'.",'
            b'"parameters":{}}',
        ),
        (
            {"logspace.space-token": " "},
            b'{"type":"MISSING_SPACE_TOKEN","message":"Missing header \'logspace.space-token\'.",'
            b'"parameters":{}}',
        ),
        (
            {"LOGSPACE.SPACE-TOKEN": "n'o\"p<e"},
            b'{"type":"INVALID_SPACE_TOKEN","message":"Unrecognized space-token \'n\'o\\"p<e\'.",'
            b'"parameters":{"space-token":"n\'o\\"p<e"}}',
        ),
        (
            {"logspace.space-token": "Development"},
            b'{"type":"INVALID_SPACE_TOKEN","message":"Unrecognized space-token \'Development\'.",'
            b'"parameters":{"space-token":"Development"}}',
        ),
    ],
)
def test_the_answers_to_a_wrong_token_equal_the_hqs(logspace, headers, expected):
    answer = logspace.send("PUT", "/events", b"garbage", headers)

    assert (403, "application/json") == (answer.status, answer.headers["Content-Type"])
    assert expected == answer.body
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("body", [b"{}", b'{"elements":[]}', b"", b"null", b'"x"'])
def test_a_query_is_not_an_upload(logspace, body):
    token = {"logspace.space-token": "development"}
    answer = logspace.send("POST", "/events", body, token)

    assert (400, "INVALID_EVENTS") == (answer.status, answer.json["type"])


def test_a_byte_order_mark_and_whitespace_around_the_array_are_ignored(logspace):
    text = json.dumps([READING], ensure_ascii=False).encode("utf-8-sig") + b"\r\n "

    assert 202 == logspace.put(text).status
    assert [READING] == [event["data"] for event in logspace.events()]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_other_encodings_than_utf8_are_refused(logspace, encoding):
    assert 400 == logspace.put(json.dumps([READING]).encode(encoding)).status


async def test_a_thousand_events_are_one_batch(gateway):
    events = [reading(id=str(at), string_properties={"s": ["x" * 700]}) for at in range(1000)]
    events[500]["timestamp"] = "never"
    answer = await gateway.logspace(events)

    assert (202, "1") == (answer.status, answer.headers["Gateway-Rejected"])
    assert 999 == len(await gateway.events(kind="event"))
    [rejected] = await gateway.events(kind="rejected")
    assert "500" == json.loads(rejected["data"]["raw"])["id"]


@pytest.mark.parametrize("accept", ["text/html", "*/*", ""])
async def test_accept_and_content_type_are_ignored(gateway, accept):
    sent = {"Accept": accept, "Content-Type": "application/x-www-form-urlencoded"}

    assert 202 == (await gateway.logspace([READING], **sent)).status


TOKEN = {"logspace.space-token": "development"}


@pytest.mark.parametrize("name", ["", "\x00", "\ud800"])
@pytest.mark.parametrize("where", ["controller", "agent"])
async def test_capabilities_with_unusable_ids_are_refused(running, where, name):
    controller, agent = ("c", name) if where == "agent" else (name, "a")
    told = {"id": controller, "agent-capabilities": [{"id": agent, "trigger-types": ["Scheduler"]}]}
    path = "c" if where == "agent" else "%00"
    async with running({"logspace": {"default_orders": True}}) as gateway:
        assert 400 == (await gateway.send("PUT", f"/capabilities/{path}", told, TOKEN)).status
        assert 404 == (await gateway.send("GET", f"/orders/{path}", b"", TOKEN)).status


async def test_a_deeply_nested_element_is_quarantined_without_its_secrets(running):
    deep = b'[{"password":"secret","a":' + b"[" * 900 + b"]" * 900 + b"}]"
    async with running({"redact": {"keys": ["password"]}}) as gateway:
        assert 400 == (await gateway.logspace(deep)).status
        [kept] = await gateway.events()

        assert "secret" not in kept["data"]["raw"]


async def test_a_space_with_tokens_in_a_folder_keeps_its_rules_of_redaction(running, tmp_path):
    (tmp_path / "development.space").write_text("from-a-folder\n")
    space = {"tenant": "development", "tokens": ["own"], "redact": {"keys": ["password"]}}
    options = {"spaces": [space], "spaces_directory": str(tmp_path)}
    async with running({"logspace": options}) as gateway:
        event = reading(password="hunter2")
        answer = await gateway.logspace([event], **{"logspace.space-token": "from-a-folder"})
        [stored] = await gateway.events()

    assert 202 == answer.status
    assert "[redacted]" == stored["data"]["password"]
