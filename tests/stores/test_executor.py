"""One thread, one function after another."""

import asyncio
import threading

import pytest

from gateway.stores.executor import SerialExecutor


async def test_functions_run_one_after_another_in_order_on_one_thread():
    executor, seen = SerialExecutor("test"), []

    def work(n: int) -> int:
        seen.append((n, threading.get_ident()))
        return n * n

    assert [n * n for n in range(100)] == await asyncio.gather(
        *(executor.run(work, n) for n in range(100))
    )
    await executor.close(lambda: None)
    assert list(range(100)) == [n for n, _ in seen]
    assert 1 == len({thread for _, thread in seen} - {threading.get_ident()})


async def test_what_a_function_raises_reaches_its_caller_and_the_next_one_runs():
    executor = SerialExecutor("test")
    with pytest.raises(MemoryError, match="none left"):
        await executor.run(_raise, MemoryError("none left"))

    assert 3 == await executor.run(int, "3")
    await executor.close(lambda: None)


def _raise(error: BaseException) -> None:
    raise error


async def test_a_function_whose_caller_was_cancelled_runs_and_the_next_one_too():
    executor, ran = SerialExecutor("test"), threading.Event()
    may_go = threading.Event()
    first = asyncio.ensure_future(executor.run(may_go.wait, 10))
    second = asyncio.ensure_future(executor.run(ran.set))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    may_go.set()

    assert await executor.run(ran.is_set)
    await executor.close(lambda: None)


async def test_the_last_function_runs_once_after_all_others_and_nothing_after_it():
    executor, seen = SerialExecutor("test"), []
    early = asyncio.ensure_future(executor.run(seen.append, "early"))
    await asyncio.sleep(0)
    await asyncio.gather(*(executor.close(lambda: seen.append("last")) for _ in range(3)))
    await early

    assert ["early", "last"] == seen
    with pytest.raises(RuntimeError, match="closed"):
        await executor.run(seen.append, "late")
    assert "test" not in {thread.name for thread in threading.enumerate()}


def test_a_loop_that_is_gone_does_not_disturb_the_thread():
    executor, may_go = SerialExecutor("test"), threading.Event()

    async def start() -> None:
        asyncio.ensure_future(executor.run(may_go.wait, 10)).cancel()
        task = asyncio.ensure_future(executor.run(may_go.wait, 10))
        await asyncio.sleep(0)
        task.cancel()

    async def end() -> int:
        answer = await executor.run(int, "3")
        await executor.close(lambda: None)
        return answer

    asyncio.run(start())
    may_go.set()
    assert 3 == asyncio.run(end())
