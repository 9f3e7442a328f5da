"""No secret in any file: neither in the store, the spool, nor in what is logged or answered."""

import asyncio
import hashlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.intake.redact import MASK
from tests.dialects import CALL, CONTRACTS, READING, REGISTERED, REPORT

SECRET = "Zq7secretZq7"
RULES = {
    "redact": {"headers": ["authorization", "cookie"], "keys": ["password", "pin"]},
    "logspace": {"default_orders": True},
}
NAMES = ["password", "PASSWORD", "pass\\u0077ord", "pin", "headers", "metadata", "a", "request"]
EVENTS = {
    "moesif": CALL,
    "logspace": READING,
    "device": REPORT,
    "otlp": {"timeUnixNano": "1", "body": {"stringValue": "x"}},
}
SECRET_NAMES = ("password", "pin")


def pair(chance: random.Random, name: str, value: str) -> str:
    """A member whose value is an array with an attribute of that name."""
    names = [name, f"app.{name}", f"{name}.first"]
    header = "http.request.header.authorization"
    text = f'"value":{value}'
    if chance.random() < 0.2:
        names, text = [header], f'"value":{{"stringValue":"{SECRET}"}}'
    members = [f'"key":"{chance.choice(names)}"', text]
    chance.shuffle(members)
    return f'"l{chance.randrange(9)}":[{{{",".join(members)}}}]'


def documents(
    chance: random.Random, levels: int = 4, secret: bool = False, *, paired: bool = False
) -> str:
    """JSON text in which the secret stands only where a rule masks it.

    With *paired*, some members are written as pairs of a name and a value.
    """
    if levels == 0 or chance.random() < 0.2:
        return json.dumps(SECRET) if secret else chance.choice(["1", "null", '""', '"x"', "2.50"])
    if chance.random() < 0.3:
        inner = [
            documents(chance, levels - 1, secret, paired=paired) for _ in range(chance.randrange(3))
        ]
        return f"[{','.join(inner)}]"
    members = []
    for _ in range(chance.randrange(1, 4)):
        name = chance.choice(NAMES)
        hidden = secret or json.loads(f'"{name}"').lower() in SECRET_NAMES
        if paired and chance.random() < 0.5:
            members.append(pair(chance, name, documents(chance, levels - 1, hidden, paired=True)))
            continue
        if name == "headers" and chance.random() < 0.5:
            value = chance.choice(
                [
                    f'{{"Authorization":"{SECRET}","Accept":1,"cookie":["{SECRET}"]}}',
                    f'[["cookie","{SECRET}"]]',
                    f'"cookie: {SECRET}"',
                ]
            )
        else:
            value = documents(chance, levels - 1, hidden, paired=paired)
        members.append(f'"{name}":{value}')
        if chance.random() < 0.4:
            members.append(f'"{name}":{{}}')
    return f"{{{','.join(members)}}}"


def requests(chance: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    """A request with such a document: an event that may be valid, or a document."""
    dialect = chance.choice(REGISTERED)
    hidden = documents(chance, paired=dialect == "otlp")
    extra = hidden[1:-1] if hidden.startswith("{") else f'"extra":{hidden}'
    known = CONTRACTS[dialect]
    event = EVENTS[dialect]
    text = f"{json.dumps(event)[:-1]},{extra}}}"
    if chance.random() < 0.3:
        text = f"{{{extra}}}"
    if chance.random() < 0.2:
        text = f'{{{extra},"n":"\\u0000","big":1e999}}'
    if chance.random() < 0.1:
        text = text[: chance.randrange(len(text))]
    if dialect == "logspace" and chance.random() < 0.3:
        path = "/capabilities/c"
        return "PUT", path, f'{{"id":"c",{extra}}}'.encode(), known.sent
    batch = known.batch_at(known.path)
    body = batch.of(text) if batch else text.encode()
    return known.method, known.path, body, known.sent


@settings(max_examples=10)
@given(st.integers(0, 1 << 30))
def test_no_byte_of_any_file_tells_a_secret(running, tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("files")
    asyncio.run(_no_byte_of_any_file_tells(running, folder, random.Random(seed)))


def contents_of(folder: Path) -> list[tuple[str, bytes]]:
    return [(file.name, file.read_bytes()) for file in folder.iterdir() if file.is_file()]


async def _no_byte_of_any_file_tells(running, folder: Path, chance: random.Random) -> None:
    stores = {"store": {"url": f"sqlite:///{folder}/events.db"}}
    told = []
    with capture_logs() as logs:
        async with running({**RULES, **stores}) as gateway:
            for _ in range(40):
                method, path, body, headers = requests(chance)
                told.append((await gateway.send(method, path, body, headers)).body)
            contents = contents_of(folder)
    for name, content in [*contents, *contents_of(folder)]:
        assert SECRET.encode() not in content, name
    assert SECRET not in repr(logs)
    assert SECRET.encode() not in b"".join(told)


async def test_capabilities_are_kept_masked(running):
    known = {"logspace.space-token": "development"}
    told = {"id": "c", "agent-capabilities": [{"id": "a"}], "password": SECRET}
    async with running(RULES) as gateway:
        assert 200 == (await gateway.send("PUT", "/capabilities/c", told, known)).status
        kept = await gateway.gateway._store.get("logspace", "development", "capabilities/c")

        assert {**told, "password": MASK} == json.loads(kept.body)
        assert 200 == (await gateway.send("GET", "/orders/c", b"", known)).status


async def test_there_is_no_order_if_what_it_is_made_of_is_masked(running):
    known = {"logspace.space-token": "development"}
    told = {"id": "c", "agent-capabilities": [{"id": "a"}]}
    async with running({**RULES, "redact": {"keys": ["agent-capabilities"]}}) as gateway:
        assert 200 == (await gateway.send("PUT", "/capabilities/c", told, known)).status
        assert 404 == (await gateway.send("GET", "/orders/c", b"", known)).status


async def test_a_problem_does_not_repeat_a_number(gateway):
    answer = await gateway.device(json.dumps(REPORT)[:-1].encode() + b',"n":1234567e999}')

    assert 400 == answer.status
    assert b"1234567" not in answer.body
    [kept] = await gateway.events(kind="rejected")
    assert "1234567" not in json.dumps(kept["data"]["problems"])


@pytest.mark.parametrize("dialect", REGISTERED)
async def test_of_an_unknown_credential_the_log_shows_some_digits_of_its_digest(gateway, dialect):
    known = CONTRACTS[dialect]
    [header] = known.credential
    with capture_logs() as logs:
        headers = {**known.sent, header: SECRET, "User-Agent": "curl"}
        await gateway.send(known.method, known.path, b"[]", headers)
    [line] = [one for one in logs if one["event"] == "request_refused"]

    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert (digest[:8], dialect) == (line["credential_sha256"], line["dialect"])
    assert digest[:9] not in repr(line)
    assert SECRET not in repr(line)


async def test_the_log_shows_nothing_of_a_request_but_some_of_its_path_agent_and_problem(gateway):
    extra = {"User-Agent": "agent\u009b" + "x" * 1000, "X-Other": SECRET, "Cookie": SECRET}
    long = {f"{'p' * 1000}\x1b": "wrong"}
    with capture_logs() as logs:
        await gateway.logspace([{**READING, "double-properties": long, "note": SECRET}], **extra)
        await gateway.moesif(f"/v1/{'y' * 1000}?token={SECRET}", b"")
    first, second = [one for one in logs if one["event"] == "request_refused"]

    assert first["agent"].startswith("agent\\x9bxxx")
    assert first["problem"].startswith("[0].double-properties.ppp")
    assert ("logspace", "development", 400) == (
        first["dialect"],
        first["tenant"],
        first["status"],
    )
    assert second["path"].startswith("/v1/yyy")
    for line in (first, second):
        assert SECRET not in repr(line)
        assert all(len(str(value)) < 210 for value in line.values())
        assert all(str(value).isprintable() for value in line.values())


def test_the_log_of_a_refusal_escapes_what_a_terminal_would_obey():
    from gateway.web.context import shown

    assert "a\\x1b[31m\\n\\u202e\\ud800ü" == shown("a\x1b[31m\n\u202e\ud800ü")
    assert 200 == len(shown("x" * 5000))
