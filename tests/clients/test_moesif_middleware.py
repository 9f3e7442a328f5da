"""The middleware of four web frameworks: the requests of a shop's customers are stored.

`moesifwsgi` under Flask, `moesifasgi` under Starlette, `moesifdjango`, and
`moesif-nodejs` under Express serve the same small shop.
"""

import base64
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients import documents
from tests.clients.conftest import Script, eventually, requests, stored
from tests.clients.documents import instant, told
from tests.conftest import Process

ORDER = {"lines": [{"sku": "a", "n": 2}], "note": "leave it at Zoë's 🦊"}
SHOPS = ["flask_shop.py", "starlette_shop.py", "django_shop.py", "express_shop.js"]


@pytest.fixture
def open_shop(process: Process, request: pytest.FixtureRequest, monkeypatch) -> Callable[..., Any]:
    """Start a gateway and a shop; give the shop and its address."""

    def start(name: str, batch_size: int = 5) -> tuple[Script, str]:
        monkeypatch.setenv("BATCH_SIZE", str(batch_size))
        process.start()
        program = request.getfixturevalue("node" if name.endswith(".js") else "python")(name)
        return program, program.hear()

    return start


def visit(url: str, body: Any = None) -> int:
    """A customer's request."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "X-Customer": "c 1", "User-Agent": "till/1"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def visit_together(url: str, *paths: str) -> None:
    """Requests in one packet, so that the shop has all of them before it answers one."""
    host, port = urlsplit(url).netloc.split(":")
    asked = [f"GET {path} HTTP/1.1\r\nHost: {host}\r\n" for path in paths]
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(("\r\n".join(asked) + "Connection: close\r\n\r\n").encode())
        while connection.recv(65536):
            pass


def batches(url: str) -> int:
    """How many batches the Node middleware knows to have been taken."""
    with urllib.request.urlopen(f"{url}/health") as response:
        return int(response.read())


def lowered(headers: dict[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.mark.parametrize("shop", SHOPS)
def test_the_middleware_logs_the_request_and_the_response(process: Process, open_shop, shop):
    before = datetime.now(UTC)
    _, url = open_shop(shop)
    assert 201 == visit(f"{url}/orders?to=Zo%C3%AB&n=1", ORDER)

    (record,) = stored(process, 1)
    event = record["data"]
    asked, answered = event["request"], event["response"]
    assert ("POST", f"{url}/orders?to=Zo%C3%AB&n=1") == (asked["verb"], asked["uri"])
    assert ORDER == asked["body"]
    assert asked.get("transfer_encoding") in ("json", None)
    assert ("1.2.3", "127.0.0.1") == (asked["api_version"], asked["ip_address"])
    sent = {"content-type": "application/json", "x-customer": "c 1", "user-agent": "till/1"}
    assert sent.items() <= lowered(asked["headers"]).items()
    expected = {"order": 7, "lines": ORDER["lines"], "to": "Zoë"}
    assert (201, expected) == (answered["status"], answered["body"])
    assert "7" == lowered(answered["headers"])["x-shop"]
    names = ("user_id", "company_id", "session_token", "metadata", "direction", "weight")
    expected = ["user-7", "company-3", "session-1", {"plan": {"name": "gold"}}, "Incoming", 1]
    assert expected == [event[name] for name in names]
    assert ("api_call", "POST", "user-7") == (record["kind"], record["type"], record["subject"])
    times = [instant(asked["time"]), instant(answered["time"])]
    assert times == sorted(times)
    # SDKs write milliseconds, cut off.
    assert before.replace(microsecond=0) <= times[0] <= datetime.now(UTC)
    assert times[0] == instant(record["time"])


@pytest.mark.parametrize("shop", SHOPS)
def test_texts_errors_and_skipped_events_are_distinguished(process: Process, open_shop, shop):
    _, url = open_shop(shop)
    pages = ["/receipt", "/health", "/nowhere?x=1", "/receipt"]
    assert [200, 200, 404, 200] == [visit(url + page) for page in pages]

    events = [record["data"] for record in stored(process, 3)]
    said = [(one["request"]["uri"], one["response"]["status"]) for one in events]
    expected = [(f"{url}/receipt", 200)] * 2 + [(f"{url}/nowhere?x=1", 404)]
    assert sorted(expected) == sorted(said)
    for one in events:
        answered = one["response"]
        if answered["status"] == 404:
            assert {"error": "no such page"} == answered["body"]
        else:
            assert "base64" == answered["transfer_encoding"]
            assert "Total: 5 €" == base64.b64decode(answered["body"]).decode()


@pytest.mark.parametrize("shop", SHOPS)
def test_many_events_arrive_in_batches_and_once_each(process: Process, open_shop, shop):
    _, url = open_shop(shop)
    for number in range(10):
        visit(f"{url}/receipt?n={number}")

    events = [record["data"]["request"]["uri"] for record in stored(process, 10)]
    assert sorted(f"{url}/receipt?n={number}" for number in range(10)) == sorted(events)
    batches = requests(process, "POST", "/v1/events/batch")
    assert len(batches) < 10
    assert {201} == {line["status"] for line in batches}


@pytest.mark.parametrize("shop", SHOPS)
def test_users_and_companies_are_updated_through_the_middleware(process: Process, open_shop, shop):
    program, _ = open_shop(shop)
    sent = {
        "update_user": documents.USER,
        "update_users_batch": [documents.USER, documents.SECOND_USER],
        "update_company": documents.COMPANY,
        "update_companies_batch": [documents.COMPANY, documents.SECOND_COMPANY],
    }
    if shop in ("django_shop.py", "express_shop.js"):
        sent["update_subscription"] = documents.SUBSCRIPTION
        sent["update_subscriptions_batch"] = [documents.SUBSCRIPTION]
    if shop == "express_shop.js":
        sent["send_action"] = documents.ACTION
        sent["send_actions_batch"] = [documents.SECOND_ACTION]
        sent = {_camel(method): argument for method, argument in sent.items()}
    for call in sent.items():
        program.ask(call)

    expected = [one for it in sent.values() for one in (it if isinstance(it, list) else [it])]
    assert list(map(told, expected)) == [told(record["data"]) for record in process.export()]


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)


def test_the_node_middleware_asks_for_its_configuration_at_most_twice_in_20_events(
    process: Process, open_shop
):
    _, url = open_shop("express_shop.js", batch_size=2)
    # Until a first batch is answered the SDK asks with each event, unless it is asking already:
    # hence two at once, and the next two when it has seen the tags of the answer.
    for number in range(1, 11):
        visit_together(url, f"/receipt?a={number}", f"/receipt?b={number}")
        assert number == eventually(lambda: batches(url), lambda seen, n=number: seen >= n)

    assert 20 == len(process.export())
    process.stop()
    assert len(requests(process, "GET", "/v1/config")) in (1, 2)
    assert len(requests(process, "GET", "/v1/rules")) in (1, 2)


def test_a_sample_rate_of_zero_stops_the_middleware_from_sending(process: Process, open_shop):
    config = process.config.read_text()
    process.config.write_text(config.replace("ids = [", "sample_rate = 0\nids = [", 1))
    program, url = open_shop("express_shop.js")
    assert requests(process, "GET", "/v1/config")
    program.ask(["updateUser", documents.SECOND_USER])
    visit(f"{url}/receipt")
    # Longer than the middleware gathers a batch.
    time.sleep(1.5)

    assert ["user"] == [record["kind"] for record in process.export()]


@pytest.mark.parametrize("shop", SHOPS)
def test_a_rule_configured_by_the_operator_blocks_a_user(process: Process, open_shop, shop):
    rule = {
        "_id": "rule-1",
        "created_at": "2026-01-01T00:00:00.000",
        "name": "No receipts",
        "type": "user",
        "block": True,
        "state": 2,
        "applied_to": "matching",
        "applied_to_unidentified": False,
        "variables": [{"name": "0", "path": "body.plan_name"}],
        "regex_config": [{"conditions": [{"path": "request.route", "value": ".*/receipt.*"}]}],
        "response": {
            "status": 429,
            "headers": {"X-Limit": "1"},
            "body": {"error": "not in the plan {{0}}"},
        },
    }
    values = {"user_rules": {"user-7": [{"rules": "rule-1", "values": {"0": "Free"}}]}}
    (process.folder / "rules.json").write_text(json.dumps([rule]))
    (process.folder / "config.json").write_text(json.dumps(values))
    files = 'rules_file = "rules.json"\nconfig_file = "config.json"\nids = ['
    process.config.write_text(process.config.read_text().replace("ids = [", files, 1))
    _, url = open_shop(shop)
    # SDKs ask for rules in the background, some of them after their first batch.
    status = eventually(lambda: visit(f"{url}/receipt"), lambda status: status == 429)

    assert 429 == status
    assert 201 == visit(f"{url}/orders", ORDER)
    blocked = eventually(
        lambda: [one["data"] for one in process.export() if one["data"].get("blocked_by")], len
    )
    assert ("rule-1", 429) == (blocked[0]["blocked_by"], blocked[0]["response"]["status"])
    assert {"error": "not in the plan Free"} == blocked[0]["response"]["body"]
