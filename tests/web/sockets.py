"""HTTP on plain sockets, for what client libraries cannot do."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tests.dialects import CONTRACTS


class Heard(msgspec.Struct):
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Line:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))
        await self._writer.drain()

    async def hear(self, *, bodiless: bool = False) -> Heard:
        """Read one answer; *bodiless* where it is to have no body whatever its head says."""
        async with asyncio.timeout(20):
            head = await self._reader.readuntil(b"\r\n\r\n")
            line, *pairs = head.decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value for name, value in (p.split(": ", 1) for p in pairs)}
            length = 0 if bodiless else int(headers.get("content-length", "0"))
            body = await self._reader.readexactly(length)
        return Heard(int(line.split(" ")[1]), headers, body)

    async def ended(self) -> bool:
        """Whether the gateway ends the connection, and says nothing more before."""
        async with asyncio.timeout(20):
            return await self._reader.read() == b""


@asynccontextmanager
async def connected(gateway: Any, source: str = "127.0.0.1") -> AsyncIterator[Line]:
    """A connection from the address *source*."""
    reader, writer = await asyncio.open_connection(*gateway.gateway.address, local_addr=(source, 0))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def dial(url: str) -> socket.socket:
    """A connection without an event loop."""
    host, port = url.removeprefix("http://").rsplit(":", 1)
    line = socket.create_connection((host, int(port)), timeout=20)
    # Small buffers fill sooner, and a client that does not read is noticed sooner.
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return line


def head(method: str, target: str, *headers: str, version: str = "1.1") -> bytes:
    """The head of a request."""
    lines = [f"{method} {target} HTTP/{version}", "Host: gateway", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def upload(body: bytes, *headers: str, dialect: str = "logspace", version: str = "1.1") -> bytes:
    """A whole request of a known client, with its length."""
    return start(f"Content-Length: {len(body)}", *headers, dialect=dialect, version=version) + body


def start(*headers: str, dialect: str = "logspace", version: str = "1.1") -> bytes:
    """The head of a request of a known client, without a length."""
    client = CONTRACTS[dialect]
    known = [f"{name}: {value}" for name, value in client.credential.items()]
    return head(client.method, client.path, *known, *headers, version=version)


def chunked(*pieces: bytes) -> bytes:
    """Pieces in the chunked coding, its end included."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
