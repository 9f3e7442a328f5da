"""What databases run on in a simulation: no threads, and faults at every statement.

A function that a database gives to its thread runs here after a delay that the
seed chooses, on the loop, so that every run of a seed is the same.
"""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.stores.database import Engine
from gateway.stores.executor import SerialExecutor


class Crash(BaseException):
    """The process dies here. Nothing that runs in it may handle this."""


class Faults:
    """Decides by the seed what fails where. With `calm`, nothing does."""

    def __init__(
        self,
        seed: random.Random,
        folder: Path,
        crashed: Callable[[Path], None],
        beginning: Callable[[], None],
    ) -> None:
        """*crashed* is called with a copy of *folder* as a crash would leave it.

        *beginning* is called before each transaction.
        """
        self.random = seed
        self.calm = False
        self.dead = False
        self.executors: list[SimulatedExecutor] = []
        self.connections: list[sqlite3.Connection] = []
        self._folder = folder
        self._crashed = crashed
        self._beginning = beginning
        self._full_until: dict[str, int] = {}
        self._statements = 0
        self.rate = seed.choice([0.0, 0.002, 0.01, 0.05])
        self.crash_rate = seed.choice([0.0, 0.0005, 0.002])
        self.hang_rate = seed.choice([0.0, 0.005, 0.03])
        self.memory_rate = seed.choice([0.0, 0.005])
        self.none = not (self.rate or self.crash_rate or self.hang_rate or self.memory_rate)
        self.inserted: dict[str, int] = {}
        self.largest = 0

    def chance(self, rate: float) -> bool:
        return not self.calm and self.random.random() < rate

    def delay(self) -> float:
        """Seconds that the disk takes for one function; now and then far too many."""
        if self.chance(self.hang_rate):
            return self.random.uniform(0.5, 12)
        return self.random.expovariate(1 / 0.004)

    def before(self, file: str, sql: str) -> None:
        self._statements += 1
        if self.dead:
            raise sqlite3.OperationalError("the process is dead")
        if sql.startswith(("BEGIN", "VACUUM")):
            self._beginning()
        if self.chance(self.crash_rate):
            self.crash()
        if sql.startswith(("ROLLBACK", "PRAGMA")):
            return
        if self._statements < self._full_until.get(file, 0) and sql.startswith("INSERT"):
            raise sqlite3.OperationalError("database or disk is full")
        if self.chance(self.rate / 5):
            self._full_until[file] = self._statements + self.random.randrange(5, 200)
        if self.chance(self.rate):
            raise sqlite3.OperationalError(
                self.random.choice(["disk I/O error", "database is locked"])
            )

    def after(self, sql: str) -> None:
        """What fails here fails although the statement has done its work."""
        if sql.startswith("COMMIT"):
            if self.chance(self.crash_rate * 5):
                self.crash()
            if self.chance(self.rate):
                raise sqlite3.OperationalError("disk I/O error after the commit")
            if self.chance(self.memory_rate):
                raise MemoryError("after the commit")

    def crash(self) -> None:
        copy = self._folder.with_name(f"{self._folder.name}+")
        shutil.copytree(self._folder, copy, ignore=shutil.ignore_patterns("*-shm", "*-writer"))
        self._crashed(copy)
        self.dead = True
        raise Crash

    def measure(self, file: str, sql: str, values: Any) -> None:
        """Note how many bytes of text one transaction takes."""
        if sql.startswith("BEGIN"):
            self.inserted[file] = 0
        elif sql.startswith("INSERT INTO event "):
            self.inserted[file] += sum(len(one) for one in values if isinstance(one, str))
            self.largest = max(self.largest, self.inserted[file])


class SimulatedExecutor(SerialExecutor):
    """Runs functions one after another on the loop, each after a simulated delay."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        faults.executors.append(self)
        self._jobs_given: list[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self._shut = False
        self._working = False

    @property
    def closed(self) -> bool:
        return self._shut

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._shut:
            raise RuntimeError("The executor is closed.")
        return await self._give(function, args)

    async def close(self, last: Callable[[], None]) -> None:
        if not self._shut:
            self._shut = True
            self._last = self._give(last, ())
        await asyncio.shield(self._last)

    def bury(self) -> None:
        """Answer everyone who waits: the process is dead."""
        for done, _, _ in self._jobs_given:
            done.cancel()
        self._jobs_given.clear()

    def _give(self, function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._faults.dead:
            # Connections are closed all the same: this is a process that lives on.
            done.set_result(function(*args) if not args else None)
            return done
        self._jobs_given.append((done, function, args))
        if not self._working:
            self._begin()
        return done

    def _begin(self) -> None:
        self._working = True
        asyncio.get_running_loop().call_later(self._faults.delay(), self._work)

    def _work(self) -> None:
        if self._faults.dead:
            return
        done, function, args = self._jobs_given.pop(0)
        result, failure = None, None
        try:
            result = function(*args)
        except BaseException as error:
            failure = error
        # Whatever handled the crash: from here on nothing of this process happens.
        if self._faults.dead:
            done.cancel()
            asyncio.get_running_loop().stop()
            return
        if not done.done():
            if failure is None:
                done.set_result(result)
            else:
                done.set_exception(failure)
        self._working = False
        if self._jobs_given:
            self._begin()


class _Connection(sqlite3.Connection):
    """A connection whose statements may fail, before or after they have done their work."""

    faults: Faults
    file: str

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        statement = sql.strip()
        self.faults.before(self.file, statement)
        self.faults.measure(self.file, statement, *values or [()])
        cursor = super().execute(sql, *values)
        self.faults.after(statement)
        return cursor

    def executemany(self, sql: str, values: Any) -> sqlite3.Cursor:  # type: ignore[override]
        self.faults.before(self.file, sql.strip())
        return super().executemany(sql, values)


def engine(faults: Faults) -> Engine:
    """An engine with *faults*."""

    def connect(target: str, **settings: Any) -> sqlite3.Connection:
        made: _Connection = sqlite3.connect(target, factory=_Connection, **settings)
        made.faults, made.file = faults, target
        faults.connections.append(made)
        return made

    return Engine(executor=lambda _: SimulatedExecutor(faults), connect=connect)
