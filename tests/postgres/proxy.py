"""A proxy before a PostgreSQL server that cuts connections at a moment of the test's choice."""

import asyncio
from typing import Literal

from tests.postgres.servers import Server

Moment = Literal["before", "after"]
_BIND = b"B"
"""The first byte of what asyncpg sends to run a prepared statement."""


class Proxy:
    """``async with Proxy(server) as proxy``: the server is at `host` too."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.host = ""
        self.cut: Moment | None = None
        """When the next connection that runs a statement is cut: before it, or after its end."""
        self.cuts = 0
        self.open = asyncio.Event()
        """While it is clear, nothing is passed on."""

    def url(self, database_url: str) -> str:
        """*database_url* by way of this proxy."""
        return database_url.replace(self._server.host, self.host)

    async def __aenter__(self) -> "Proxy":
        self.open.set()
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there = here = None
        upstream_writer = None
        try:
            upstream, upstream_writer = await asyncio.open_connection(
                "127.0.0.1", self._server.port
            )
            cutting = asyncio.Event()
            there = asyncio.create_task(self._requests(reader, upstream_writer, cutting))
            here = asyncio.create_task(self._answers(upstream, writer, cutting))
            await asyncio.wait([there, here], return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        finally:
            for one in (there, here):
                if one is not None:
                    one.cancel()
            for end in (writer, upstream_writer):
                if end is not None:
                    end.transport.abort()
            self._tasks.discard(task)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cutting: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            await self.open.wait()
            if self.cut is not None and data[:1] == _BIND:
                moment, self.cut = self.cut, None
                self.cuts += 1
                if moment == "before":
                    return
                cutting.set()
            writer.write(data)
            await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cutting: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            if cutting.is_set():
                return
            await self.open.wait()
            writer.write(data)
            await writer.drain()
