"""The public listener's HTTP server: aiohttp's, with a shorter way through.

aiohttp parses requests, keeps connections alive and guards them. Its request
and response objects can stream, compress and set cookies; a request here is a
head and a body, and an answer is a few headers and a short body, written in
one piece.
"""

import asyncio
import functools
import logging
import sys
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Union

import structlog
from aiohttp import StreamReader
from aiohttp.http import RawRequestMessage
from aiohttp.web import BaseRequest, RequestHandler, RequestPayloadError, Server

from gateway.adapter import Reply

AnyRequest = Union["Request", BaseRequest]
"""A request in either form; only what both have is used."""

log = structlog.get_logger()

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
        self, request: "AnyRequest", reply: Reply, headers: Mapping[str, str], *, close: bool
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


class Request:
    """What is asked of a request of aiohttp's here, at a tenth of its making."""

    __slots__ = (
        "_connection",
        "content",
        "headers",
        "keep_alive",
        "method",
        "output_size",
        "raw_path",
        "remote",
        "version",
    )

    def __init__(
        self, message: RawRequestMessage, payload: StreamReader, connection: "Connection"
    ) -> None:
        self.content = payload
        self.headers = message.headers
        self.keep_alive = not (message.should_close or message.method == "CONNECT")
        self.method = message.method
        self.output_size = 0
        self.raw_path = message.path
        self.remote = connection.remote
        self.version = message.version
        self._connection = connection

    @property
    def content_length(self) -> int | None:
        """The body's length as the header has it; the parser has found it to be a number."""
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)

    @property
    def writer(self) -> "Request":
        """Where something can be written before the answer."""
        return self

    async def write(self, data: bytes) -> None:
        """Write *data* before the answer."""
        if self._connection.transport is not None:
            self._connection.transport.write(data)

    def _cancel(self, error: BaseException) -> None:
        # aiohttp calls this when the connection is lost: whoever reads the body is told.
        self.content.set_exception(error)


class Connection(RequestHandler):
    """One client's connection: requests are answered one after another in its own task.

    aiohttp would start a task for each request, to give it a context of its own.
    """

    __slots__ = ("remote",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Know the client's address once for all its requests."""
        peer = transport.get_extra_info("peername")
        self.remote = str(peer[0]) if isinstance(peer, tuple) else ""
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Tell whoever reads a body that it is broken; aiohttp queues that behind the request."""
        super().data_received(data)
        request = self._current_request
        if request is None or not self._messages or request.content.is_eof():
            return
        if not isinstance(self._messages[-1][0], RawRequestMessage):
            request._cancel(RequestPayloadError("it breaks off in what is no HTTP"))

    def eof_received(self) -> bool:  # type: ignore[override]
        """Still answer a client that has sent all of its request and closed its end (``nc -N``)."""
        whole = self._request_in_progress and self._current_request is None
        if whole or (self._messages and self._messages[-1][1].is_eof()):
            self._close = True
            return True
        return False

    async def start(self) -> None:
        """Answer requests until the connection ends.

        A malformed request makes aiohttp take the connection over, to say so and
        to close it.
        """
        while not self._force_close:
            if not self._messages:
                await self._next_message()
            message, payload = self._messages[0]
            if not isinstance(message, RawRequestMessage):
                await super().start()
                return
            self._messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                self._resume_reading_if_drained()
            if not await self._exchange(Request(message, payload, self), payload):
                break
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _next_message(self) -> None:
        try:
            self._waiter = self._loop.create_future()
            await self._waiter
        finally:
            self._waiter = None

    async def _exchange(self, request: Request, payload: StreamReader) -> bool:
        """Answer one request; return whether the connection goes on."""
        handler, manager = self._request_handler, self._manager
        if handler is None or manager is None:
            return False
        manager.requests_count += 1
        self._request_in_progress = True
        if not payload.is_eof():
            self._current_request = request  # type: ignore[assignment]
        try:
            answer: Answer = await handler(request)  # type: ignore[arg-type, assignment]
        except ConnectionError:
            return False
        finally:
            self._current_request = None
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        if self.transport is None:
            return False
        self.transport.write(answer.raw)
        if self._paused:
            await self._drain_helper()
        if not payload.is_eof() and not await self._rest_arrives(payload):
            return False
        return self._goes_on(answer)

    def _goes_on(self, answer: Answer) -> bool:
        """Make ready for the next request; False where there is to be none."""
        self._keepalive = answer.keep_alive
        if not answer.keep_alive or self._close or self._force_close:
            return False
        if self._upgraded:
            self._decline_upgrade()
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        return True

    def _decline_upgrade(self) -> None:
        """Go on with HTTP: the parser stopped behind a request to upgrade to WebSocket."""
        self._upgraded = False
        if self._parser is not None:
            self._parser.set_upgraded(False)
        tail, self._message_tail = self._message_tail, b""
        if tail:
            self.data_received(tail)
        if self._buffer_paused:
            self._resume_reading_if_drained()

    async def _rest_arrives(self, payload: StreamReader) -> bool:
        """Read the rest of a refused body, for a while: only then does its sender read."""
        try:
            async with asyncio.timeout(self._lingering_time):
                while not payload.is_eof():
                    await payload.readany()
        except (TimeoutError, ConnectionError, RequestPayloadError):
            return False
        return True


class _Grumble(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp says of requests that are no HTTP: a line, where it would give a traceback.

    Anyone who can connect can send such; the operator is not to be woken by a port scan.
    """

    def exception(self, msg: object, *args: object, **keys: Any) -> None:
        """Log one line at level info."""
        error = sys.exc_info()[1] if keys.get("exc_info") in (None, True) else keys["exc_info"]
        log.info("request_malformed", error=str(error)[:200])

    error = exception


_GRUMBLE: Any = _Grumble(logging.getLogger(__name__))


class PublicServer(Server):
    """Makes a `Connection` for each client."""

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, logger=_GRUMBLE, **self._kwargs)
