"""A client that does what a recorded one did: the same bytes, order, connections and pauses.

The recordings are traffic of the real Java agents and SDKs, which no registry has.
"""

import base64
import gzip
import http.client
import json
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

TIMEOUT = 10.0
"""Seconds; no recorded client waits longer for an answer that comes."""


class Request(msgspec.Struct, frozen=True):
    """One recorded request.

    Attributes:
        at: seconds since the first request of the recording.
        connection: the number of the client's connection.
        status: of the answer; ``None`` if the client stopped waiting for it, at `given_up`.
        body, body_gzip_base64: the text of the body; a long one is compressed.
    """

    at: float
    connection: int
    method: str
    path: str
    headers: list[tuple[str, str]]
    status: int | None
    given_up: float | None = None
    body: str = ""
    body_gzip_base64: str = ""

    @property
    def carries_events(self) -> bool:
        return self.path.startswith(("/events", "/v1/")) and self.method != "GET"

    @property
    def content(self) -> bytes:
        if self.body_gzip_base64:
            return gzip.decompress(base64.b64decode(self.body_gzip_base64))
        return self.body.encode()

    @property
    def events(self) -> list[dict[str, Any]]:
        document = json.loads(self.content)
        return document if isinstance(document, list) else [document]

    def sent(self, modified: str) -> bytes:
        """The bytes of the request; If-Modified-Since has what this gateway answered before."""
        lines = [f"{self.method} {self.path} HTTP/1.1"]
        for name, value in self.headers:
            repeated = modified if name == "If-Modified-Since" and value else value
            lines.append(f"{name}: {repeated}")
        return "\r\n".join([*lines, "", ""]).encode() + self.content


class _Recording(msgspec.Struct):
    requests: list[Request]


def recorded(path: Path) -> list[Request]:
    """The requests of a recording in the order in which they were sent."""
    return msgspec.json.decode(path.read_bytes(), type=_Recording).requests


class Scripted:
    """Plays recordings to one gateway.

    Args:
        pace: factor of the recorded pauses and of the patience with answers; 0 for none.
        retry_after: seconds after which a request that met a broken connection is sent
            again, as agents do; ``None`` to drop it, as SDKs do.
    """

    def __init__(self, url: str, pace: float = 0.0, retry_after: float | None = None) -> None:
        self._address = urlsplit(url)
        self._pace = pace
        self._retry_after = retry_after
        self._connections: dict[int, socket.socket] = {}
        self._modified = ""

    def play(
        self, requests: Sequence[Request], on_sent: Callable[[Request], None] | None = None
    ) -> list[int | None]:
        """Send *requests*; return the statuses, ``None`` for one that was given up or dropped.

        *on_sent* is called when a request was sent and before its answer is read.
        """
        if not requests:
            return []
        began = time.monotonic() - requests[0].at * self._pace
        statuses = []
        for request in requests:
            time.sleep(max(0.0, began + request.at * self._pace - time.monotonic()))
            statuses.append(self._deliver(request, on_sent))
        return statuses

    def close(self) -> None:
        for number in list(self._connections):
            self._drop(number)

    def _deliver(self, request: Request, on_sent: Callable[[Request], None] | None) -> int | None:
        while True:
            try:
                return self._exchange(request, on_sent)
            except (OSError, http.client.HTTPException):
                self._drop(request.connection)
            if self._retry_after is None:
                return None
            on_sent = None
            time.sleep(self._retry_after)

    def _exchange(self, request: Request, on_sent: Callable[[Request], None] | None) -> int | None:
        connection = self._connected(request.connection)
        connection.sendall(request.sent(self._modified))
        if on_sent is not None:
            on_sent(request)
        if request.given_up is not None:
            time.sleep((request.given_up - request.at) * self._pace)
            self._drop(request.connection)
            return None
        response = http.client.HTTPResponse(connection, method=request.method)
        response.begin()
        response.read()
        self._modified = response.headers.get("Last-Modified", self._modified)
        return response.status

    def _connected(self, number: int) -> socket.socket:
        if number not in self._connections:
            address = self._address.hostname or "", self._address.port or 80
            self._connections[number] = socket.create_connection(address, TIMEOUT)
        return self._connections[number]

    def _drop(self, number: int) -> None:
        if number in self._connections:
            self._connections.pop(number).close()
