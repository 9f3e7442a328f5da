"""The public listener's HTTP server: aiohttp's, with a shorter way out.

aiohttp parses requests, keeps connections alive and guards them. Its response
objects can stream, compress and set cookies; an answer here is a few headers
and a short body, written in one piece.
"""

import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from aiohttp.web import BaseRequest, RequestHandler, Server, StreamResponse

_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_BODILESS = (204, 304)

_date = (0, "")


def _now() -> str:
    """The time as a Date header has it, worked out once a second."""
    global _date  # noqa: PLW0603 - a cache of one value
    second = int(time.time())
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True))
    return _date[1]


class Answer:
    """A whole answer as bytes, and whether its connection stays open."""

    __slots__ = ("keep_alive", "raw")

    def __init__(
        self,
        request: BaseRequest,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        close: bool,
    ) -> None:
        """Write an answer to *request*; *headers* hold nothing that a client wrote."""
        self.keep_alive = request.keep_alive and not close
        lines = [_STATUS[status], "Date: ", _now(), "\r\n"]
        for name, value in headers.items():
            lines += (name, ": ", value, "\r\n")
        if status not in _BODILESS:
            lines.append(f"Content-Length: {len(body)}\r\n")
        if not self.keep_alive:
            lines.append("Connection: close\r\n")
        elif request.version.minor == 0:
            lines.append("Connection: keep-alive\r\n")
        lines.append("\r\n")
        head = "".join(lines).encode("latin-1")
        bodiless = not body or status in _BODILESS or request.method == "HEAD"
        self.raw = head if bodiless else head + body


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ()

    async def finish_response(
        self, request: BaseRequest, resp: Any, start_time: float | None
    ) -> tuple[StreamResponse, bool]:
        """Write an `Answer` as it is; what aiohttp itself answers goes its usual way."""
        if type(resp) is not Answer or self._upgraded:
            return await super().finish_response(request, _full(resp), start_time)
        if self.transport is None:
            return resp, True  # type: ignore[return-value]
        self.transport.write(resp.raw)
        return resp, False  # type: ignore[return-value]


def _full(resp: Any) -> Any:
    """An `Answer` as a response of aiohttp's."""
    if type(resp) is not Answer:
        return resp
    return _Verbatim(resp)


class _Verbatim(StreamResponse):
    """Writes an `Answer` where aiohttp wants a response: it also resumes a declined upgrade."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer
        self._keep_alive = answer.keep_alive

    async def prepare(self, request: BaseRequest) -> None:
        await request.writer.write(self._answer.raw)

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class PublicServer(Server):
    """Makes a `Connection` for each client."""

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)
