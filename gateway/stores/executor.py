"""One thread that runs functions one after another."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_Job = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class SerialExecutor:
    """Runs functions on one thread of its own, in the order in which they were given.

    A ThreadPoolExecutor of one thread does the same and costs twice the CPU, about
    30 microseconds more for each function: a future of its own, with a lock, to be
    linked with the loop's.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        # A daemon: a disk that hangs, or a missing close, does not keep the process from exiting.
        self._thread = Thread(target=_work, args=(self._jobs,), name=name, daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether `close` was called: nothing more can be run."""
        return self._closed

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *function* with *args* on the thread; return its result or raise its exception.

        If the caller is cancelled, the function runs all the same.
        """
        if self._closed:
            raise RuntimeError("The executor is closed.")
        return await self._submit(function, args)

    async def close(self, last: Callable[[], None]) -> None:
        """Run *last* after everything else, then end the thread. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._last = self._submit(last, ())
            self._jobs.put(None)
        await asyncio.shield(self._last)
        self._thread.join()

    def _submit(self, function: Callable[..., T], args: tuple[Any, ...]) -> "asyncio.Future[T]":
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((done, function, args))
        return done


def _work(jobs: "SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        done, function, args = job
        answer: Callable[..., None] = _set_result
        try:
            result = function(*args)
        except BaseException as error:
            answer, result = _set_exception, error
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            done.get_loop().call_soon_threadsafe(answer, done, result)
        # While the thread waits for the next job it holds nothing of this one.
        del job, done, function, args, result, answer


def _set_result(done: "asyncio.Future[Any]", result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _set_exception(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
