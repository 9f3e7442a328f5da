"""The public listener's HTTP server: a `Connection` for each client, and one handler for all.

A client that pipelines gives others their turn, and what was refused a moment ago is
refused again without the parser.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from aiohttp import web

from gateway.adapter import Reply
from gateway.web.again import Again, RefusedHeads
from gateway.web.answer import Answer, NoAnswer
from gateway.web.capacity import Capacity
from gateway.web.connection import Connection, Request
from gateway.web.forwarded import TrustedProxies

Handler = Callable[[web.BaseRequest], Awaitable[tuple[Reply, Mapping[str, str], Again | None]]]
"""Gives a request's reply, more headers for it, and whether it can be given again.

Raises ConnectionError for a lost client.
"""


class PublicServer(web.Server):
    """Makes a `Connection` for each client, and gives its requests to one handler."""

    def __init__(
        self,
        handler: Handler,
        *,
        keepalive_timeout: float,
        write_timeout: float,
        on_malformed: Callable[[], None],
        proxies: TrustedProxies,
        capacity: Capacity,
    ) -> None:
        """Serve *handler*.

        A connection is closed that is idle for *keepalive_timeout* seconds, or that does
        not take an answer within *write_timeout* seconds. *on_malformed* is called for
        each request that the parser refuses. *proxies* say for whom they ask. *capacity*
        says who may connect.
        """
        super().__init__(cast(Any, self.answer), request_factory=cast(Any, Request))
        self.loop = asyncio.get_running_loop()
        self.respond = handler
        self.keepalive_timeout = keepalive_timeout
        self.write_timeout = write_timeout
        self.on_malformed = on_malformed
        self.proxies = proxies
        self.connections_made = 0
        self.capacity = capacity
        self.closing = False
        self.refused = RefusedHeads()

    def __call__(self) -> asyncio.Protocol:  # type: ignore[override]
        """Make the protocol of a new connection."""
        self.connections_made += 1
        if self.capacity.full:
            return self.capacity.turn_away()
        # Not in connection_made: asyncio makes many protocols before it tells the first.
        self.capacity.opened()
        return Connection(self)

    async def answer(self, request: Request) -> Answer | NoAnswer:
        """Answer one request, after others had their turn where this client pipelines."""
        connection = request.connection
        if connection.had_its_turn:
            await asyncio.sleep(0)
        connection.had_its_turn = True
        if connection.transport is None:
            return NoAnswer()
        try:
            reply, headers, again = await self.respond(request)
        except ConnectionError:
            return NoAnswer()
        last = self.closing or connection.ends_after_answer
        answer = Answer(request, reply, headers, close=last)
        # Who expects to be asked for a body may not send it.
        if again is not None and answer.keep_alive and "Expect" not in request.headers:
            self.remember(request, again, answer)
        return answer

    def respond_by(self, handler: Handler) -> None:
        """Answer requests that begin from now on by *handler*, whatever was refused before."""
        self.respond = handler
        self.refused.known.clear()

    def remember(self, request: Request, again: Again, answer: Answer) -> None:
        """Remember how a request was refused, for those that have the same head."""
        boundaries, length = request.connection.boundaries, request.headers.get("Content-Length")
        if length is not None and request.connection.requests_started == boundaries.begun:
            head = boundaries.head(length)
            if head:
                self.refused.remember(head, answer.raw, again)

    @property
    def has_request_in_flight(self) -> bool:
        """Whether any client waits for an answer."""
        return any(cast(Connection, one).has_request_in_flight for one in self.connections)

    @property
    def has_silent_client(self) -> bool:
        """Whether any client is connected that has sent nothing yet."""
        return any(not cast(Connection, one).boundaries.begun for one in self.connections)
