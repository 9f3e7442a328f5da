"""The shop that each web framework here serves, and what its owner tells Moesif about it."""

import json
import os

from lines import heard, say

SETTINGS = {
    "APPLICATION_ID": os.environ["APPLICATION_ID"],
    "BASE_URI": os.environ["GATEWAY_URL"],
    "API_VERSION": "1.2.3",
    "BATCH_SIZE": 5,
    "EVENT_BATCH_TIMEOUT": 1,
}
USER, COMPANY, SESSION, METADATA = "user-7", "company-3", "session-1", {"plan": {"name": "gold"}}
IGNORED = "/health"


def answer(method, path, body):
    """The status, the headers and the body for a request."""
    if (method, path) == ("POST", "/orders"):
        order = {"order": 7, "lines": json.loads(body)["lines"], "to": "Zoë"}
        return 201, {"Content-Type": "application/json", "X-Shop": "7"}, json.dumps(order).encode()
    if (method, path) == ("GET", "/receipt"):
        return 200, {"Content-Type": "text/plain; charset=utf-8"}, "Total: 5 €".encode()
    if path == IGNORED:
        return 200, {"Content-Type": "text/plain"}, b"well"
    return 404, {"Content-Type": "application/json"}, b'{"error": "no such page"}'


def listening(port):
    say(f"http://127.0.0.1:{port}")


def tell(middleware):
    """Call a method of the middleware for each line, `[method, argument]`."""
    for method, argument in heard():
        getattr(middleware, method)(argument)
        say(method)
