"""``gateway send`` and ``gateway token``: a first event without a client."""

import json
import re
import tomllib
from typing import Any

import pytest

from gateway.clients import CLIENTS
from tests.conftest import APPLICATION_ID, PROCESS_CONFIG, command
from tests.dialects import CONTRACTS, REGISTERED

OPTIONS = {"device": ["--tenant", "T1", "--device", "D1"]}


@pytest.fixture
def served(process) -> Any:
    """A gateway, and a configuration that says where it listens."""
    process.start()
    asking = process.folder / "asking.toml"
    listen = process.url.removeprefix("http://")
    asking.write_text(PROCESS_CONFIG.replace('"127.0.0.1:0"', f'"{listen}"', 1))
    return process


def send(process: Any, *arguments: str, **environment: str) -> tuple[int, list[dict[str, Any]]]:
    done = command("send", "-c", "asking.toml", *arguments, cwd=process.folder, **environment)
    assert "Traceback" not in done.stderr
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def test_every_dialect_has_a_client():
    assert REGISTERED == sorted(CLIENTS)


def test_each_dialect_is_spoken_as_its_contract_has_it(served):
    for dialect in REGISTERED:
        contract = CONTRACTS[dialect]
        (served.folder / f"{dialect}.json").write_text(contract.body)
        options = OPTIONS.get(dialect, [])

        status, [answer] = send(served, dialect, f"{dialect}.json", "--gzip", *options)

        assert [0, contract.success] == [status, answer["status"]]
    kinds = {CONTRACTS[dialect].kind for dialect in REGISTERED}
    assert kinds == {event["kind"] for event in served.export()}
    assert served.export()[0]["useragent"].startswith("gateway-send/")


def test_a_single_object_goes_where_it_belongs(served):
    [event] = json.loads(CONTRACTS["logspace"].body)
    (served.folder / "event.json").write_text(json.dumps(event))
    (served.folder / "call.json").write_text(json.dumps(json.loads(CONTRACTS["moesif"].body)[0]))
    (served.folder / "user.json").write_text('{"user_id": "u"}')

    assert 0 == send(served, "logspace", "event.json")[0]
    assert 0 == send(served, "moesif", "call.json")[0]
    assert 0 == send(served, "moesif", "--path", "/v1/users", "user.json")[0]
    assert ["event", "api_call", "user"] == [event["kind"] for event in served.export()]


def test_what_a_device_sends_is_sent_one_by_one_and_a_refusal_ends_with_1(served):
    good = json.loads(CONTRACTS["device"].body)
    (served.folder / "three.json").write_text(json.dumps([good, {**good, "severity": "x"}, good]))

    status, answers = send(served, "device", "three.json", *OPTIONS["device"])

    assert [1, [201, 400, 409]] == [status, [one["status"] for one in answers]]
    assert "Validation error." in answers[1]["answer"]["message"]


def test_a_rejected_event_of_a_batch_is_counted_and_ends_with_1(served):
    [good] = json.loads(CONTRACTS["moesif"].body)
    (served.folder / "batch.json").write_text(json.dumps([good, {}]))

    assert (1, [{"status": 201, "rejected": 1, "answer": None}]) == send(
        served, "moesif", "batch.json"
    )


def test_the_credential_may_be_given_and_the_address_as_well(served):
    (served.folder / "call.json").write_text(CONTRACTS["moesif"].body)
    there = ["moesif", "call.json", "--url", served.url, "-c", "absent.toml"]

    given = command("send", *there, cwd=served.folder, GATEWAY_TOKEN=APPLICATION_ID)
    wrong = command("send", *there, "--token", "x" * 64, cwd=served.folder)

    assert [0, 201] == [given.exit_code, json.loads(given.stdout)["status"]], given.stderr
    assert [1, 401] == [wrong.exit_code, json.loads(wrong.stdout)["status"]]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["moesif", "x.json", "--tenant", "acmee"], 2, "opens 'acmee'. There are: acme."),
        (["device", "x.json"], 2, "say which, with --tenant and --device"),
        (["otlp", "x.json"], 2, "--path /v1/logs or /v1/traces"),
        (["logspace", "x.json"], 2, "has digests alone"),
        (["moesif", "x.json", "--url", "127.0.0.1:1"], 2, "Expected http://host:port"),
        (["moesif", "x.json", "--url", "http://127.0.0.1:1"], 69, "no answer from http://127.0.0.1:1"),
        (["moesif", "absent.json"], 2, "No such file"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told(tmp_path, arguments, status, said):
    digest = f'"sha256:{"0" * 64}"'
    (tmp_path / "config.toml").write_text(
        PROCESS_CONFIG.replace('tokens = ["development"]', f"tokens = [{digest}]")
    )
    (tmp_path / "x.json").write_text("{}")

    done = command("send", *arguments, cwd=tmp_path)

    assert [status, ""] == [done.exit_code, done.stdout]
    assert said in re.sub(r"\s+", " ", done.stderr)


def test_a_token_comes_with_the_lines_that_let_it_in(tmp_path):
    secret, digest, _, *lines = command(
        "token", "--tenant", 'Größe "X"', cwd=tmp_path
    ).stdout.splitlines()
    text = "\n".join(lines)
    assert secret not in text
    assert 5 == text.count(digest) + text.count("[[device.tenants]]")
    tables = tomllib.loads(text)
    assert set(REGISTERED) == tables.keys()
    (tmp_path / "config.toml").write_text(text)
    assert "OK, 4 tenants" in command("check", cwd=tmp_path).stderr


def test_a_token_opens_its_tenant(process):
    done = command("token", "--tenant", "new", "--dialect", "logspace", cwd=process.folder)
    secret, _, _, *lines = done.stdout.splitlines()
    process.config.write_text(PROCESS_CONFIG + "\n".join(lines))
    process.start()
    (process.folder / "event.json").write_text(CONTRACTS["logspace"].body)

    arguments = ["send", "logspace", "event.json", "--url", process.url, "--token", secret]
    assert 0 == command(*arguments, cwd=process.folder).exit_code
    assert ["new"] == [event["tenant"] for event in process.export()]


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--tenant", "a/b"], "or contain '/'"), (["--dialect", "otlp"], "goes with --tenant")],
)
def test_a_name_that_no_tenant_can_have_is_refused(tmp_path, options, said):
    done = command("token", *options, cwd=tmp_path)

    assert [2, ""] == [done.exit_code, done.stdout]
    assert said in done.stderr
