"""The public listener's HTTP server: aiohttp's, with a shorter way out.

aiohttp parses requests, keeps connections alive and guards them. Its response
objects can stream, compress and set cookies; an answer here is a few headers
and a short body, written in one piece.
"""

import functools
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from aiohttp.web import BaseRequest, RequestHandler, Server, StreamResponse

from gateway.adapter import Reply

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


@functools.lru_cache(maxsize=256)
def _lasting(reply: Reply) -> str:
    """What is the same each time a reply is given: all but the date, the request and its events."""
    lines = [_STATUS[reply.status], "Server: gateway\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in reply.headers.items()]
    if reply.body:
        lines.append(f"Content-Type: {reply.content_type}\r\n")
    if reply.status not in _BODILESS:
        lines.append(f"Content-Length: {len(reply.body)}\r\n")
    return "".join(lines)


class Answer:
    """A whole answer as bytes, and whether its connection stays open."""

    __slots__ = ("keep_alive", "raw")

    def __init__(
        self, request: BaseRequest, reply: Reply, headers: Mapping[str, str], *, close: bool
    ) -> None:
        """Write *reply* to *request* with more *headers*, which hold nothing that a client wrote.

        With *close*, the connection ends after it.
        """
        self.keep_alive = request.keep_alive and not close
        head = f"{_lasting(reply)}Date: {_now()}\r\n"
        for name, value in headers.items():
            head += f"{name}: {value}\r\n"
        if not self.keep_alive:
            head += "Connection: close\r\n"
        elif request.version.minor == 0:
            head += "Connection: keep-alive\r\n"
        bodiless = not reply.body or reply.status in _BODILESS or request.method == "HEAD"
        raw = f"{head}\r\n".encode("latin-1")
        self.raw = raw if bodiless else raw + reply.body


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
