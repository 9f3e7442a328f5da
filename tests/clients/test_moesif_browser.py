"""`moesif-browser-js` in a headless Chromium: a page of a shop, and the real process.

Page and gateway have different origins, so each request is preceded by the
browser's own question whether it is allowed.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.clients.conftest import HERE, requests, stored
from tests.clients.documents import instant, told, without
from tests.conftest import APPLICATION_ID, Process

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
USER = {
    "user_id": "user-7",
    "session_token": "session-1",
    "metadata": {"email": "zoë@acme.example", "plan": {"seats": 3}},
}
COMPANY = {
    "company_id": "company-3",
    "company_domain": "acme.example",
    "session_token": "session-1",
    "metadata": {"org_name": "Acme, Inc"},
}
ACTOR = {"user_id": "user-7", "company_id": "company-3", "session_token": "session-1"}


@pytest.fixture
def site(node_sdks: Path) -> Iterator[str]:
    """The address of a site whose page loads the SDK."""
    files = {
        "/": ("text/html", (HERE / "browser" / "page.html").read_bytes()),
        "/moesif.js": (
            "text/javascript",
            (node_sdks / "moesif-browser-js" / "moesif.min.js").read_bytes(),
        ),
    }

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = files.get(
                urlsplit(self.path).path, ("application/json", b'{"no": "page"}')
            )
            self._answer(200 if "javascript" in kind or "html" in kind else 404, kind, body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(201, "application/json", b'{"order": 7, "to": "Zo\\u00eb"}')

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def browse(chromium: str, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Open an address in a browser that knows nothing of other tests."""
    opened: list[subprocess.Popen[bytes]] = []

    def go(url: str) -> None:
        profile = tmp_path / f"profile{len(opened)}"
        with (tmp_path / "chromium.log").open("ab") as log:
            command = [chromium, *QUIET, f"--user-data-dir={profile}", "--remote-debugging-port=0"]
            # A session of its own: it starts helpers, and all of them are to end with it.
            started = subprocess.Popen([*command, url], stderr=log, start_new_session=True)
        opened.append(started)

    yield go
    for one in opened:
        os.killpg(one.pid, signal.SIGKILL)
        one.wait()


@pytest.mark.parametrize("batch", ["no", "yes"])
def test_events_of_the_browser_script_are_stored(process: Process, site, browse, batch):
    process.start()
    gateway = urlsplit(process.url).netloc
    asked = {"application": APPLICATION_ID, "gateway": gateway, "batch": batch, "utm_source": "ad"}
    url = f"{site}?{urlencode(asked)}"
    browse(url)

    records = stored(process, 7)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_kind.setdefault(record["kind"], []).append(record["data"])
    assert {"user": 2, "company": 1, "action": 2, "api_call": 2} == {
        kind: len(data) for kind, data in by_kind.items()
    }
    _the_visitor_became_a_user(by_kind["user"])
    campaign = by_kind["user"][0]["campaign"]
    assert COMPANY | {"campaign": campaign} == by_kind["company"][0]
    _both_actions(by_kind["action"], url)
    _both_calls(by_kind["api_call"], site)
    sent = "/batch" if batch == "yes" else ""
    for kind in ("events", "actions"):
        assert requests(process, "POST", f"/v1/{kind}{sent}")
        assert {200, 204} & {
            line["status"] for line in requests(process, "OPTIONS", f"/v1/{kind}{sent}")
        }


def _the_visitor_became_a_user(users: list[dict[str, Any]]) -> None:
    anonymous, known = sorted(users, key=lambda user: "user_id" in user)
    assert "ad" == anonymous["campaign"]["utm_source"]
    assert {"anonymous_id", "campaign"} == anonymous.keys()
    campaign = {"anonymous_id": anonymous["anonymous_id"], "campaign": anonymous["campaign"]}
    assert USER | campaign == known


def _both_actions(actions: list[dict[str, Any]], url: str) -> None:
    by_name = {action["action_name"]: action for action in actions}
    opened, clicked = by_name["Opened the shop"], by_name["Clicked 'Buy' ✓"]
    assert {"page": 1} == opened["metadata"]
    assert "user_id" not in opened
    assert opened["anonymous_id"]
    expected = ACTOR | {
        "action_name": "Clicked 'Buy' ✓",
        "metadata": {"order": 7, "lines": ["a", "b"]},
    }
    assert expected == without(clicked, "transaction_id", "request")
    for action in actions:
        assert (url, "GET") == (action["request"]["uri"], action["request"]["verb"])
        assert "Chrome" in action["request"]["user_agent_string"]
        assert 36 == len(action["transaction_id"])


def _both_calls(calls: list[dict[str, Any]], site: str) -> None:
    by_verb = {call["request"]["verb"]: call for call in calls}
    order, missing = by_verb["POST"], by_verb["GET"]
    assert f"{site}orders?n=1" == order["request"]["uri"]
    assert {"lines": [{"sku": "a", "n": 2}], "to": "Zoë"} == order["request"]["body"]
    headers = {name.lower(): value for name, value in order["request"]["headers"].items()}
    assert ("c 1", "application/json") == (headers["x-customer"], headers["content-type"])
    assert (201, {"order": 7, "to": "Zoë"}) == (
        order["response"]["status"],
        order["response"]["body"],
    )
    assert (404, {"no": "page"}) == (
        missing["response"]["status"],
        missing["response"]["body"],
    )
    for call in calls:
        assert ACTOR.items() <= told(call).items()
        assert instant(call["request"]["time"]) <= instant(call["response"]["time"])
