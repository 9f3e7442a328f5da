"""An imitation of a Logspace agent: what the Java client of release 0.3.2 does, in Python.

It keeps a queue, sends up to 1,000 events of its head at a time, and takes
nothing but 202 for success: after any other answer, a lost connection or three
seconds of silence it sends the same batch again, for ever. It polls by telling
its capabilities when they changed and asking for orders after that; its parser
of orders wants exact members in an exact order.
"""

import http.client
import json
import socket
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 3.0
"""Seconds; the agent's client has it for connecting and for each wait for bytes."""

BATCH = 1000
COMMIT_SECONDS = 300.0
"""Between two uploads, until an order says otherwise."""


class Unparsable(Exception):
    """The agent's parser throws, and its old orders stay."""


def parse_order(text: bytes) -> tuple[dict[str, tuple[str | None, str | None]], float]:
    """The trigger of each agent, and ``commit-max-seconds``; raises Unparsable.

    Strict as the agent's streaming parser: these members, this order, no others.
    """
    document = json.loads(text, object_pairs_hook=tuple)
    members = [name for name, _ in document]
    if members not in (["agent-orders", "commit-max-seconds"], ["commit-max-seconds"]):
        raise Unparsable(f"The members are {members}.")
    values = dict(document)
    seconds = values["commit-max-seconds"]
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise Unparsable(f"commit-max-seconds is {seconds!r}.")
    return dict(map(_parse_trigger, values.get("agent-orders", ()))), seconds


def _parse_trigger(order: Sequence[tuple[str, Any]]) -> tuple[str, tuple[str | None, str | None]]:
    members = [name for name, _ in order]
    if members not in (["id", "trigger-type"], ["id", "trigger-type", "trigger-parameter"]):
        raise Unparsable(f"The members of an order are {members}.")
    values = dict(order)
    known = {"SCHEDULER", "APPLICATION", "OFF"}
    trigger = values["trigger-type"].upper()
    parameter = values.get("trigger-parameter")
    if trigger == "SCHEDULER" and len((parameter or "").split()) not in (6, 7):
        raise Unparsable(f"A scheduler cannot run by {parameter!r}.")
    return values["id"], (trigger if trigger in known else None, parameter)


class Agent:
    """One agent controller, with its queue; *capabilities* names each agent's trigger types."""

    def __init__(
        self,
        url: str,
        token: str,
        name: str = "monitor",
        capabilities: Mapping[str, Sequence[str]] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.url = urlsplit(url)
        self.token = token
        self.name = name
        self.capabilities = dict(capabilities or {})
        self.commit_seconds = COMMIT_SECONDS
        self.triggers: dict[str, tuple[str | None, str | None]] = {}
        self.orders_applied = 0
        self.answers: list[int | str] = []
        """What each upload met: a status, or the name of the exception."""
        self._timeout = timeout
        self._queue: deque[Mapping[str, Any]] = deque()
        self._told: dict[str, Sequence[str]] | None = None
        self._modified = ""
        self._connection: http.client.HTTPConnection | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def send(self, *events: Mapping[str, Any]) -> None:
        """Put *events* at the end of the queue."""
        self._queue.extend(events)

    def commit(self) -> bool:
        """Send a batch, and more while full ones remain; whether the queue is empty now."""
        while self._queue and self._upload() and len(self._queue) >= BATCH:
            pass
        return not self._queue

    def _upload(self) -> bool:
        batch = [self._queue[at] for at in range(min(BATCH, len(self._queue)))]
        body = json.dumps(batch, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            status, _, _ = self._request("PUT", "/events", body)
        except (OSError, http.client.HTTPException) as error:
            self.answers.append(type(error).__name__)
            return False
        self.answers.append(status)
        if status != 202:
            return False
        for _ in batch:
            self._queue.popleft()
        return True

    def poll(self) -> int:
        """Tell changed capabilities, ask for orders; the status of the latter."""
        if self._told != self.capabilities:
            # Whatever the answer, the agent does not tell them again.
            self._request("PUT", f"/capabilities/{self.name}", self._capabilities())
            self._told = dict(self.capabilities)
        headers = [("If-Modified-Since", self._modified)]
        status, answered, body = self._request("GET", f"/orders/{self.name}", None, headers)
        if status == 200:
            modified = answered["Last-Modified"]
            if modified is None:
                raise Unparsable("Without Last-Modified the agent ignores the order.")
            self.triggers, self.commit_seconds = parse_order(body)
            self._modified = modified
            self.orders_applied += 1
        return status

    def _capabilities(self) -> bytes:
        agents = [
            {"id": name, "type": name, "trigger-types": list(types), "property-descriptions": []}
            for name, types in self.capabilities.items()
        ]
        told = {"id": self.name, "system": "vm", "agent-capabilities": agents}
        return json.dumps(told).encode()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(
        self, method: str, path: str, body: bytes | None, more: Sequence[tuple[str, str]] = ()
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = self._connected()
        try:
            connection.putrequest(
                method, self.url.path + path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in [*more, *self._headers(body)]:
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            answer = response.read()
        except BaseException:
            self.close()
            raise
        return response.status, response.headers, answer

    def _headers(self, body: bytes | None) -> list[tuple[str, str]]:
        content = []
        if body is not None:
            content = [
                ("Content-Length", str(len(body))),
                ("Content-Type", "application/json; charset=UTF-8"),
            ]
        return [
            ("logspace.space-token", self.token),
            ("Accept", "application/json"),
            *content,
            ("Host", self.url.netloc),
            ("Connection", "Keep-Alive"),
            ("User-Agent", "Apache-HttpClient/4.5.14 (Java/17.0.15)"),
            ("Accept-Encoding", "gzip,deflate"),
        ]

    def _connected(self) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is not None and connection.sock is not None and _stale(connection.sock):
            # Java's pool looks before it uses a kept connection again.
            self.close()
        if self._connection is None:
            host, port = self.url.hostname or "", self.url.port
            self._connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        return self._connection


def _stale(kept: socket.socket) -> bool:
    kept.setblocking(False)
    try:
        return kept.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        kept.settimeout(TIMEOUT)


class Committing:
    """``with Committing(agent):`` it uploads again and again, as its own thread does."""

    def __init__(self, agent: Agent, every: float = 0.2) -> None:
        self._agent = agent
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._agent.commit()
        self._agent.close()

    def __enter__(self) -> "Committing":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
