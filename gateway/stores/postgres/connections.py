"""Connections to the primary: found by asking each host, checked, and cut when they hang.

No wait is ever cancelled. A cancelled wait for the standby is a commit: the server answers
with success and a warning. So a connection that takes too long is cut off, and what was
sent on it is unknown until it is sent again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import asyncpg

from gateway.errors import StoreError
from gateway.stores.postgres.url import Target

ResultT = TypeVar("ResultT")


class Connection(Protocol):
    """What is used of asyncpg's connection, which has no annotations."""

    async def execute(self, sql: str, *values: object) -> str:
        """Run a statement, or several without values; return the status of the last."""

    async def fetch(
        self, sql: str, *values: object
    ) -> Sequence[Any]:  # Any: columns of several types
        """The rows that a statement gives."""

    async def fetchrow(self, sql: str, *values: object) -> Any:  # Any: columns of several types
        """The first row, or None."""

    async def fetchval(self, sql: str, *values: object) -> Any:  # Any: a column of any type
        """The first value of the first row, or None."""

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """Commits what is done within, or undoes it after an exception."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction has begun and not ended."""

    def is_closed(self) -> bool:
        """Whether it can no longer be used."""

    def terminate(self) -> None:
        """Cut it off at once."""

    async def close(self) -> None:
        """Close it in an orderly way."""


CONNECT = 0.4
"""Seconds that a host has to accept a connection and to pass the checks."""

COMMAND = 0.7
"""Seconds that one command may take before its connection is cut off."""

BACKGROUND = 10.0
"""Seconds that a step may take for which no client waits."""

PATIENCE = 1.8
"""Seconds for which a command is tried again, on new connections."""

_PAUSE = 0.02
_BACKLOG = 4
"""Idle connections that are kept."""

_CHECK = """
SELECT pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'),
    current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
    CASE WHEN pg_is_in_recovery() THEN '' ELSE
        left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
    (SELECT count(*) FROM pg_stat_replication
     WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))
"""
_WAIT_CANCELLED = "01000"

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
    TimeoutError,
)
"""What ends a connection, or shows that its host is not the primary."""

REPEATABLE = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""What undoes a transaction that may succeed when it is tried again."""


class UnfitError(Exception):
    """A host does not accept connections, or it is not one that may be written to."""


class _LostError(Exception):
    """A connection ended, or a transaction was undone: what was sent may be sent again."""


class Connections:
    """Gives out connections to the primary among the hosts of a target."""

    def __init__(self, target: Target, *, check_writes: bool = True) -> None:
        """With *check_writes* false a host that loses writes is good enough: it is only read."""
        self._target = target
        self._check_writes = check_writes
        self._idle: list[Connection] = []
        self._last_good = 0
        # The highest timeline of a primary that was used: one with a lower timeline is a former
        # primary that has come back.
        self._timeline = ""
        self._closed = False
        self._doubtful: set[Connection] = set()

    async def run(
        self,
        work: Callable[[Connection], Awaitable[ResultT]],
        *,
        repeat: bool = True,
        command: float = COMMAND,
        patience: float = PATIENCE,
    ) -> ResultT:
        """Run *work* with a connection; after a loss again with another, for *patience* seconds.

        Without *repeat* only what was never sent is tried again. Each try has *command* seconds,
        and none goes on beyond *patience*, unless *command* is longer.

        Raises:
            StoreError: it failed; says that nothing was kept where no try got a connection.
        """
        until = time.monotonic() + patience
        long = command > patience
        sent = False
        while True:
            try:
                # A long wait must not begin on a connection to a host that hangs.
                connection = await self.take(asked=long)
                left = max(0.05, min(command, until - time.monotonic()))
                return await self._attempt(connection, work, command if long else left)
            except asyncpg.PostgresError as error:
                # What the server refuses it undoes, whole; but not an attempt before this one.
                raise self._failure(_words(error), nothing_kept=not sent) from error
            except (UnfitError, _LostError) as error:
                sent = sent or isinstance(error, _LostError)
                over = time.monotonic() > until or self._closed
                if over or (sent and not repeat):
                    raise self._failure(str(error), nothing_kept=not sent) from error
            await asyncio.sleep(_PAUSE)

    def _failure(self, message: str, *, nothing_kept: bool) -> StoreError:
        return StoreError(f"{self._target.shown}: {message}", nothing_kept=nothing_kept)

    async def _attempt(
        self,
        connection: Connection,
        work: Callable[[Connection], Awaitable[ResultT]],
        seconds: float,
    ) -> ResultT:
        try:
            async with self.cut_after(connection, seconds):
                return await _unbroken(connection, work(connection))
        except REPEATABLE as error:
            raise _LostError(_words(error)) from error
        except Exception as error:
            # In the middle of a statement asyncpg meets a cut with other errors as well.
            if isinstance(error, LOST) or connection.is_closed():
                connection.terminate()
                # A host that hangs would take its time again.
                self._last_good += 1
                raise _LostError(_words(error)) from error
            raise
        finally:
            self.give_back(connection)

    @asynccontextmanager
    async def cut_after(self, connection: Connection, seconds: float) -> AsyncIterator[None]:
        """Cut *connection* off if what is done within takes longer."""
        alarm = asyncio.get_running_loop().call_later(seconds, connection.terminate)
        try:
            yield
            if connection in self._doubtful:
                connection.terminate()
                raise asyncpg.ConnectionDoesNotExistError("the wait for the standby was cancelled")
        finally:
            alarm.cancel()
            self._doubtful.discard(connection)

    async def take(self, *, asked: bool = False) -> Connection:
        """An idle connection, or a new one to the primary.

        With *asked* an idle one has to answer a question first.

        Raises:
            UnfitError: there is none.
        """
        if self._closed:
            raise UnfitError("closed")
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed() and (not asked or await self._answers(connection)):
                return connection
        return await self._connect()

    async def _answers(self, connection: Connection) -> bool:
        try:
            async with self.cut_after(connection, CONNECT):
                return not await connection.fetchval("SELECT pg_is_in_recovery()")
        except (*LOST, asyncpg.PostgresError):
            connection.terminate()
            return False

    def give_back(self, connection: Connection) -> None:
        """Keep *connection* for others, unless it is closed or there are enough."""
        if connection.is_closed():
            return
        if self._closed or len(self._idle) >= _BACKLOG or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    async def close(self) -> None:
        """Close what is idle; nothing is given out from now on."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                async with self.cut_after(connection, CONNECT):
                    await connection.close()
            except LOST:
                connection.terminate()

    async def _connect(self) -> Connection:
        """The host that was good last first; none is waited for longer than `CONNECT`."""
        hosts = self._target.hosts
        reasons: list[str] = []
        for step in range(len(hosts)):
            at = (self._last_good + step) % len(hosts)
            try:
                connection = await self._connect_to(*hosts[at])
            except (*LOST, asyncpg.PostgresError, UnfitError, ValueError) as error:
                host, port = hosts[at]
                reasons.append(f"{host}:{port}: {_words(error)}")
            else:
                self._last_good = at
                return connection
        raise UnfitError("; ".join(reasons))

    async def _connect_to(self, host: str, port: int) -> Connection:
        target = self._target
        connection = await asyncpg.connect(
            host=host,
            port=port,
            user=target.user,
            password=target.password,
            database=target.database,
            timeout=CONNECT,
            # What is compiled for these short statements costs more than it saves.
            server_settings={"application_name": "event-gateway", "jit": "off"},
        )
        try:
            async with self.cut_after(connection, CONNECT):
                self._check(await connection.fetchrow(_CHECK))
                # 16 bytes as they are, in place of an object for each.
                await connection.set_type_codec(
                    "uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
                )
            connection.add_log_listener(self._note_warning)
        except BaseException:
            connection.terminate()
            raise
        made: Connection = connection
        return made

    def _check(self, row: Any) -> None:
        recovering, fsync, full_pages, commits, standbys, timeline, in_sync = row
        if recovering:
            raise UnfitError("a standby")
        if timeline < self._timeline:
            raise UnfitError(
                f"a former primary: it has timeline {int(timeline, 16)}, "
                f"and timeline {int(self._timeline, 16)} has begun"
            )
        if self._check_writes:
            if fsync != "on" or full_pages != "on":
                raise UnfitError("fsync and full_page_writes have to be on")
            standby = self._target.require_standby
            if commits == "off" or (standby and commits not in ("on", "remote_apply")):
                raise UnfitError(f"synchronous_commit is {commits}; it has to be on")
            if standby and not (standbys and in_sync):
                raise UnfitError("no synchronous standby is connected")
        self._timeline = timeline

    def _note_warning(self, connection: Any, message: Any) -> None:
        if message.sqlstate == _WAIT_CANCELLED and "synchronous replication" in message.message:
            self._doubtful.add(connection)


async def _unbroken(connection: Connection, work: Awaitable[ResultT]) -> ResultT:
    """Wait for *work*; if this wait is cancelled, cut *connection* off in place of cancelling."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        connection.terminate()
        await asyncio.wait([task])
        raise
    return task.result()


def _words(error: Exception) -> str:
    # Never the detail: it quotes values.
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT:g} s"
    return (getattr(error, "message", None) or str(error) or type(error).__name__).strip()


def changed(status: str) -> int:
    """How many rows a statement has changed, by its status, ``DELETE 3`` or ``INSERT 0 3``."""
    return int(status.rpartition(" ")[2])
