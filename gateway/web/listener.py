"""The public listener: opened, and closed without losing a request that has begun."""

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence

from aiohttp import web

from gateway.web.server import PublicServer
from schemas.addresses import split_address

_BACKLOG = 1024
_ACCEPT_TURNS = 8
"""Turns of the event loop from a connection in the kernel's queue to its first bytes: five are
needed."""
_ACCEPT_SECONDS = 1.0
_FIRST_REQUEST_SECONDS = 0.5


async def listen_on(
    runner: web.BaseRunner,
    listen: str,
    tls: ssl.SSLContext | None = None,
    sockets: Sequence[socket.socket] = (),
) -> tuple[str, int]:
    """Let *runner* accept connections at ``host:port``; return the address that it has then.

    With *tls*, clients must speak TLS. *sockets*, which listen already, are used instead
    of an address.

    Raises:
        OSError: the address cannot be listened on.
    """
    host, port = split_address(listen)
    if not sockets:
        await web.TCPSite(runner, host or None, port, backlog=_BACKLOG, ssl_context=tls).start()
    for one in sockets:
        await web.SockSite(runner, one, backlog=_BACKLOG, ssl_context=tls).start()
    bound: tuple[str, int] = runner.addresses[0][:2]
    return bound


class PublicListener:
    """Accepts connections for a `PublicServer`, from `open` to `close`.

    Attributes:
        address: host and port, once it is open.
    """

    def __init__(self, server: PublicServer) -> None:
        self._server = server
        # Everyone who could be answered has been by then: see `close`.
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        self.address: tuple[str, int] = ("", 0)

    async def open(
        self,
        listen: str,
        tls: ssl.SSLContext | None = None,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        """Accept connections, as `listen_on`.

        Raises:
            OSError: the address cannot be listened on.
        """
        await self._runner.setup()
        self.address = await listen_on(self._runner, listen, tls, sockets)

    async def close(self, timeout: float) -> None:
        """Stop accepting, answer every request that has begun, within *timeout* seconds."""
        self._server.closing = True
        await self._accept_waiting()
        for site in list(self._runner.sites):
            await site.stop()
        begun = time.monotonic()
        # Nothing tells when the last answer has left, and it happens once.
        while self._is_expected(time.monotonic() - begun, timeout):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await self._runner.cleanup()

    def _is_expected(self, seconds: float, timeout: float) -> bool:
        """Whether somebody waits for an answer *seconds* after the last client was accepted.

        Who has just connected may send a moment later: closing then would lose a request.
        """
        server = self._server
        if seconds < min(_FIRST_REQUEST_SECONDS, timeout) and server.has_silent_client:
            return True
        return seconds < timeout and server.has_request_in_flight

    async def _accept_waiting(self) -> None:
        """Accept the clients that the kernel has connected already, and read what they sent."""
        deadline = time.monotonic() + _ACCEPT_SECONDS
        known = -1
        while known != self._server.connections_made and time.monotonic() < deadline:
            known = self._server.connections_made
            for _ in range(_ACCEPT_TURNS):
                await asyncio.sleep(0)
