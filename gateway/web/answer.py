"""An answer as aiohttp's server writes it: a few headers and a short body, in one piece.

aiohttp's own responses can stream, compress and set cookies, at twice the cost
of everything else that it does for a request.
"""

import functools
import time
from collections.abc import Awaitable, Generator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp.web import BaseRequest

from gateway.adapter import Reply

if TYPE_CHECKING:
    from gateway.web.connection import Request

_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_BODILESS = (204, 304)

_date = (0, "")


def _now() -> str:
    """The time in the form of a Date header, formatted once a second."""
    global _date  # noqa: PLW0603 - a cache of one value
    second = int(time.time())
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True))
    return _date[1]


@functools.lru_cache(maxsize=256)
def _static_head(reply: Reply) -> str:
    """The part of the head that depends on *reply* alone: all but the date and the counts."""
    lines = [_STATUS[reply.status], "Server: gateway\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in reply.headers.items()]
    if reply.body:
        lines.append(f"Content-Type: {reply.content_type}\r\n")
    if reply.status not in _BODILESS:
        lines.append(f"Content-Length: {len(reply.body)}\r\n")
    return "".join(lines)


class Answer:
    """A whole answer as bytes. It has what aiohttp's server asks of a ``StreamResponse``.

    Attributes:
        keep_alive: whether the connection stays open after it.
        raw: what is written.
    """

    __slots__ = ("_request", "keep_alive", "raw")

    def __init__(
        self, request: "Request", reply: Reply, headers: Mapping[str, str], *, close: bool
    ) -> None:
        """Write *reply* to *request* with more *headers*, which hold nothing that a client wrote.

        With *close*, the connection ends after it.
        """
        self._request = request
        self.keep_alive = request.keep_alive and not close
        head = f"{_static_head(reply)}Date: {_now()}\r\n"
        for name, value in headers.items():
            head += f"{name}: {value}\r\n"
        if not self.keep_alive:
            head += "Connection: close\r\n"
        elif request.version.minor == 0:
            head += "Connection: keep-alive\r\n"
        bodiless = not reply.body or reply.status in _BODILESS or request.method == "HEAD"
        raw = f"{head}\r\n".encode("latin-1")
        self.raw = raw if bodiless else raw + reply.body

    def prepare(self, request: BaseRequest) -> Awaitable[None]:
        """Do nothing: head and body are written together."""
        return _DONE

    def write_eof(self) -> Awaitable[None]:
        """Write all of it; wait until the client's end takes more.

        Raises:
            ConnectionError: the client is gone.
        """
        request = self._request
        connection = request.connection
        connection.requests_answered += 1
        transport = connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The client is gone.")
        transport.write(self.raw)
        return request.writer.drain() if connection.writing_paused else _DONE


class _Done:
    """What nobody has to wait for. A coroutine would cost more than all it does."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_DONE = _Done()


class NoAnswer:
    """What is returned for a client that is gone."""

    keep_alive = False

    async def prepare(self, request: BaseRequest) -> None:
        """Tell aiohttp's server that nothing can be written."""
        raise ConnectionResetError("The client is gone.")

    write_eof = prepare
