"""A connection that only asks: the one that writes may be waiting for a lock."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from gateway.errors import StoreError
from gateway.stores.database import Engine, uri_of

T = TypeVar("T")


class Lookup:
    """A read-only connection to a store's file, on a thread of its own, opened when it is used."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._connect = engine.connect
        self._executor = engine.executor(f"sqlite {path.name} lookup")
        self._connection: sqlite3.Connection | None = None
        self._pause: asyncio.Event | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run *work* on the connection's thread.

        Raises:
            StoreError: the file cannot be read, or this is closed.
        """
        if self._executor.closed:
            raise StoreError(f"{self._path}: closed")
        if self._pause is not None:
            await self._pause.wait()
        try:
            return await self._executor.run(self._run, work)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = self._connect(uri_of(self._path, "ro"), uri=True, timeout=0)
        return work(self._connection)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Keep the file closed; whoever asks meanwhile waits."""
        self._pause = pause = asyncio.Event()
        try:
            await self._executor.run(self._release)
            yield
        finally:
            self._pause = None
            pause.set()

    async def close(self) -> None:
        """Close the connection and end its thread. Safe to call twice."""
        await self._executor.close(self._release)

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
