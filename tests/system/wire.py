"""A minimal HTTP client, to see exactly what a client receives, and the traffic that it sends."""

import asyncio
import contextlib
import itertools
import json
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

APPLICATION_ID = "acme-" + "0123456789" * 6
MOESIF = {"X-Moesif-Application-Id": APPLICATION_ID}
LOGSPACE = {"logspace.space-token": "development"}
DEVICE = {"X-Moki-TenantAPIToken": "K1"}


@dataclass(frozen=True)
class Answer:
    """A response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Request:
    """A request and the events in it, by name."""

    method: str
    path: str
    headers: Mapping[str, str]
    document: Any
    events: dict[str, Any] = field(default_factory=dict)
    repeatable: bool = True

    def written(self) -> bytes:
        body = self.document if isinstance(self.document, bytes) else json.dumps(self.document)
        body = body if isinstance(body, bytes) else body.encode()
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: gateway"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


class Client:
    """One client with one connection, opened when needed and kept as long as the server does.

    Attributes:
        connections: how many were opened so far, one after the other.
    """

    def __init__(self, url: str) -> None:
        self.connections = 0
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: Request) -> Answer | None:
        """The answer, or None where none came: refused, reset or closed."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._address)
                self.connections += 1
            reader, writer = self._streams
            writer.write(request.written())
            answer = await self.answer(reader)
            if answer.headers.get("connection", "").lower() == "close":
                self.close()
            return answer
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            return None

    @staticmethod
    async def answer(reader: asyncio.StreamReader) -> Answer:
        """Read one answer."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = [line.partition(":") for line in head[1:] if line]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(head[0].split(" ")[1]), headers, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def ask(url: str, request: Request) -> Answer | None:
    """Send one request on a connection of its own."""
    client = Client(url)
    try:
        return await client.send(request)
    finally:
        client.close()


async def accepted(url: str, request: Request) -> Answer | None:
    """Send *request* again for as long as it is answered 503, as clients do."""
    async with asyncio.timeout(30):
        # A server of another process has no event to wait for.
        while (answer := await ask(url, request)) is None or answer.status == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return answer


_names = (f"event-{n}" for n in itertools.count())


def call(name: str, *, transaction: bool) -> dict[str, Any]:
    """An API call as Moesif's SDKs log one."""
    event = {
        "request": {"time": "2026-01-02T03:04:05.678Z", "verb": "GET", "uri": "https://a/é"},
        "response": {"time": "2026-01-02T03:04:05.700Z", "status": 200},
        "metadata": {"name": name},
    }
    return {**event, "transaction_id": f"t-{name}"} if transaction else event


def agent_event(name: str) -> dict[str, Any]:
    """An event of a Logspace agent."""
    return {
        "id": f"id-{name}",
        "type": "os/cpu",
        "system": "web-1",
        "agent-id": "os-cpu",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "string-properties": {"name": [name]},
    }


def device_event(name: str) -> dict[str, Any]:
    """An event of a device."""
    return {
        "typeId": "0045",
        "description": "",
        "appId": "SDK Test",
        "severity": 3,
        "data": {"name": name},
        "timestamp": 1440014969567,
    }


def one_call(*, transaction: bool = True) -> Request:
    name = next(_names)
    event = call(name, transaction=transaction)
    return Request("POST", "/v1/events", MOESIF, event, {name: event}, transaction)


def some_calls(count: int = 5, *, transaction: bool = True) -> Request:
    names = [next(_names) for _ in range(count)]
    events = [call(name, transaction=transaction) for name in names]
    named = dict(zip(names, events, strict=True))
    return Request("POST", "/v1/events/batch", MOESIF, events, named, transaction)


def agent_events(count: int = 5) -> Request:
    names = [next(_names) for _ in range(count)]
    events = [agent_event(name) for name in names]
    return Request("PUT", "/events", LOGSPACE, events, dict(zip(names, events, strict=True)))


def one_device_event(tenant: str = "T1", **headers: str) -> Request:
    name = next(_names)
    event = device_event(name)
    path = f"/rest/v1/api/tenants/{tenant}/devices/D1/events"
    return Request("POST", path, {**DEVICE, **headers}, event, {name: event})


MIX: Sequence[Callable[[], Request]] = (
    one_call,
    lambda: one_call(transaction=False),
    some_calls,
    lambda: some_calls(transaction=False),
    agent_events,
    one_device_event,
    lambda: one_device_event("Q"),
)
"""What the clients of a busy gateway send: every dialect, with and without ids of the client."""


def name_of(exported: Mapping[str, Any]) -> str:
    """The name of an exported event."""
    data = exported["data"]
    match exported["dialect"]:
        case "moesif":
            return str(data["metadata"]["name"])
        case "logspace":
            return str(data["string-properties"]["name"][0])
    return str(data["data"]["name"])


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of a database, as another process would."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def metric(ops_url: str, sample: str) -> float:
    """The value of a line of /metrics, by its name and labels as written there."""
    with urllib.request.urlopen(f"{ops_url}/metrics", timeout=10) as response:
        for line in response.read().decode().splitlines():
            if line.startswith(sample + " "):
                return float(line.rsplit(" ", 1)[1])
    return 0.0


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until *condition* gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found
