"""One client's connection and its requests: aiohttp's, with lighter requests.

aiohttp parses requests, keeps connections alive and guards them. What is added
here: a client that does not read is closed, and what the parser refuses is counted
and answered as JSON.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, cast

import structlog
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion, HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.adapter import Reply
from gateway.web.answer import Answer
from gateway.web.boundaries import Boundaries

if TYPE_CHECKING:
    from gateway.web.server import PublicServer

log = structlog.get_logger()

_NO_HEADERS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


class Request(web.BaseRequest):
    """A request that knows its connection.

    What is asked of every request is a plain attribute here; the base class
    computes it at the first access.
    """

    headers: CIMultiDictProxy[str] = _NO_HEADERS
    keep_alive: bool = False
    method: str = ""
    raw_path: str = ""
    remote: str | None = None
    version: HttpVersion = HttpVersion11

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> None:
        self.connection = connection = cast(Connection, protocol)
        super().__init__(message, payload, protocol, writer, task, connection.server.loop)
        self.headers = message.headers
        self.keep_alive = not message.should_close
        self.method = message.method
        self.raw_path = message.path
        self.remote = connection.address
        if connection.is_proxy:
            self.remote = connection.server.proxies.client(
                connection.address, lambda name: message.headers.getall(name, ())
            )
        self.version = message.version
        connection.started(payload)


class Connection(web.RequestHandler):
    """One client's connection.

    Attributes:
        address: the client's, or that of the proxy that asks for it.
        is_proxy: whether it is a trusted proxy's.
        requests_started: how many requests have reached the handler.
        requests_answered: how many of them were answered.
        had_its_turn: whether a request was handled since the client last sent something.
    """

    def __init__(self, server: "PublicServer") -> None:
        super().__init__(
            server,
            loop=server.loop,
            keepalive_timeout=server.keepalive_timeout,
            auto_decompress=False,
            access_log=cast(logging.Logger, None),
        )
        self.server = server
        self.boundaries = Boundaries()
        self.address = ""
        self.is_proxy = False
        self.is_tls = False
        self.has_entered = False
        self.requests_started = 0
        self.requests_answered = 0
        self.had_its_turn = False
        self.client_finished = False
        self.was_paused = False
        self.body: StreamReader | None = None
        self.line: asyncio.WriteTransport | None = None
        self.write_timer: asyncio.TimerHandle | None = None
        # Whether the rest of a body is still to come that nobody reads: it was refused again.
        self.skipping = False

    @property
    def has_request_in_flight(self) -> bool:
        """Whether a request has begun that is not answered yet."""
        begun = self.requests_started if self.boundaries.lost else self.boundaries.begun
        return begun > self.requests_answered

    @property
    def ends_after_answer(self) -> bool:
        """Whether the next answer is the last: the client sends no more, or nothing readable."""
        boundaries = self.boundaries
        over = self.client_finished or boundaries.broken
        return over and boundaries.begun <= self.requests_answered + 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask to be told as soon as the client does not take what is written."""
        self.line = cast(asyncio.WriteTransport, transport)
        self.line.set_write_buffer_limits(high=0)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        self.is_proxy = self.server.proxies.trust(self.address)
        super().connection_made(transport)
        # A proxy speaks for many clients.
        self.has_entered = not self.is_proxy and self.server.capacity.enter(self.address)
        if not (self.is_proxy or self.has_entered):
            self.line.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait for nothing any more."""
        self.line = None
        self.server.capacity.closed()
        if self.has_entered:
            self.server.capacity.leave(self.address)
        self.stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass *data* to the parser. aiohttp calls this itself to parse what it has put off."""
        if not data:
            super().data_received(data)
            return
        self.had_its_turn = False
        if self.skipping:
            data = data[self.boundaries.skip(data) :]
            self.skipping = self.boundaries.within_body
            if not data:
                return
        if self.server.refused.known and self.refuse_again(data):
            return
        for piece in self.boundaries.feed(data):
            super().data_received(piece)
        if self.boundaries.broken:
            self.break_body()

    def refuse_again(self, data: bytes) -> bool:
        """Refuse a request, or its beginning, if its head was refused a moment ago.

        The parser does not see such a request.
        """
        heads = self.server.refused
        found = heads.find(data)
        if found is None:
            return False
        refused, rest = found
        # One that has begun may not have reached the handler yet, and is to be answered first.
        busy = self.writing_paused or self.has_request_in_flight or self.server.closing
        if busy or rest < 0 or self.line is None or heads.lets_in(refused, len(data) + rest):
            return False
        if not self.boundaries.begin(rest):
            return False
        self.requests_started += 1
        self.requests_answered += 1
        self.skipping = rest > 0
        refused.again.count()
        self.line.write(refused.answer)
        return True

    def pause_reading(self) -> None:
        """Stop reading: a body comes faster than its handler takes it."""
        self.was_paused = True
        super().pause_reading()

    def resume_reading(self, *args: bool, **kw: bool) -> None:
        """Read on. aiohttp calls this twice for each body, even if nothing was ever paused."""
        if self.was_paused or self.boundaries.lost:
            super().resume_reading(*args, **kw)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Still answer a client that has sent all it wants and closed its end (``nc -N``)."""
        self.client_finished = True
        # TLS has no half of a connection that stays open.
        return not self.is_tls and self.has_request_in_flight and not self.boundaries.within_body

    def pause_writing(self) -> None:
        """Bound the time that the client may take to read."""
        super().pause_writing()
        server = self.server
        self.write_timer = server.loop.call_later(server.write_timeout, self.give_up)

    def resume_writing(self) -> None:
        """Go on: the client has taken all that was written."""
        self.stop_write_timer()
        super().resume_writing()

    def stop_write_timer(self) -> None:
        """Forget the bound that `pause_writing` has set."""
        if self.write_timer is not None:
            self.write_timer.cancel()
            self.write_timer = None

    def give_up(self) -> None:
        """End the connection of a client that does not read."""
        if self.line is not None:
            log.info("client_not_reading", client=self.address)
            self.line.abort()

    def started(self, body: StreamReader) -> None:
        """Remember the *body* of the request whose handler starts."""
        self.requests_started += 1
        self.body = body
        if self.boundaries.broken:
            self.break_body()

    def break_body(self) -> None:
        """Tell the handler that reads the last body, and waits, that its chunks are malformed.

        aiohttp puts the fault in the queue behind that request.
        """
        body, last = self.body, self.requests_started == self.boundaries.begun
        if last and body is not None and not body.is_eof():
            body.set_exception(web.RequestPayloadError("Malformed chunks."))
            body.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser has refused. *exc* and *message* quote the client: keep them."""
        if status == 400:
            self.server.on_malformed()
            log.info("request_malformed", client=self.address, error=type(exc).__name__)
            reply = _MALFORMED
        else:
            log.error("request_failed", client=self.address, exc_info=exc)
            reply = _FAILED
        return cast(web.StreamResponse, Answer(cast(Request, request), reply, {}, close=True))

    def log_exception(self, *args: object, **kw: object) -> None:
        """Log what went wrong, unless it is only that the client is gone."""
        if self.transport is not None:
            super().log_exception(*args, **kw)


_MALFORMED = Reply(
    400,
    b'{"type":"about:blank","title":"The request is not well-formed HTTP.","status":400}',
    content_type="application/problem+json",
)
_FAILED = Reply(
    500,
    b'{"type":"about:blank","title":"An unexpected error; it was logged.","status":500}',
    content_type="application/problem+json",
)
