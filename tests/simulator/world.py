"""One seed's history: lives of a gateway, its clients, and what befalls them."""

import asyncio
import gc
import random
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

from gateway.adapter import Head, Inbound, ParseResult, Tenant
from gateway.erasure import erase
from gateway.errors import Refusal, StoreError
from gateway.intake.assembly import SPOOL_DEADLINE, Assembly, Bounds, assemble
from gateway.intake.redact import Redactor, Rules
from gateway.ops.metrics import Metrics
from gateway.policy import RetentionPolicy, RetentionRule
from gateway.record import EventRecord, key_of
from gateway.store import Selection
from gateway.stores import keys
from gateway.stores.spool import Spool, open_spool
from gateway.stores.sqlite import SqliteStore, open_store
from tests.simulator.clock import SimulatedLoop, Stuck
from tests.simulator.engine import Crash, Faults, engine
from tests.simulator.model import MARK_END, Broken, Model, Permit, judge_keys

BOUNDS = Bounds(max_events=40, max_bytes=6_000, deadline=2)
LONGEST_TEXT = 3_000
CLIENT = "client"

PIECE = 4_000
"""Bytes that the spool may add to a transaction."""

PATIENCE = BOUNDS.deadline + SPOOL_DEADLINE + 0.5
"""Seconds after which every client has its answer: store, then spool, then a question's wait."""

_DAY = 86_400_000_000
_PEOPLE = "Ada", "Grace"


class World:
    """Runs the history of one seed in *folder*."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.model = Model()
        self._folder = folder / "life"
        self._folder.mkdir()
        self._faults = Faults(self.random, self._folder, self._set_left_behind, self._look)
        self._left_behind: Path | None = None
        self._broken: BaseException | None = None
        self._clock = 1_700_000_000_000_000
        self._names: list[str] = []
        self._next_id = 0
        self._policy: RetentionPolicy | None = None
        self._pause = 0.05
        self.crashes = 0
        self.prunes = 0

    def run(self) -> None:
        """Live a few lives, then one without faults; judge.

        Raises:
            Broken: a promise was broken.
        """
        # What a dead process leaves behind would end whenever there is enough of it.
        gc.disable()
        try:
            for _ in range(self.random.randrange(1, 5)):
                self._live(self._busy_life)
            self._faults.calm = True
            self._live(self._last_life)
        finally:
            gc.enable()
        self.model.judge(self._folder)
        self.model.judge_counts(self._folder, exact=not self.crashes and self._faults.none)
        judge_keys(self._folder, keys.RUN_KEYS)

    def _set_left_behind(self, copy: Path) -> None:
        self._left_behind = copy

    def _look(self) -> None:
        """Let the model see what is there before something may be deleted."""
        if not self.model.permits or self._broken is not None:
            return
        try:
            self.model.observe(self._folder)
        except Broken as error:
            self._break(error)

    def _break(self, error: Broken) -> None:
        self._broken = self._broken or error
        asyncio.get_running_loop().stop()

    def _live(self, life: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run *life* to its end, or until the process dies, and leave its files behind."""
        loop = SimulatedLoop()
        loop.set_exception_handler(lambda _, context: None)
        main = loop.create_task(life())
        main.add_done_callback(self._stop)
        try:
            loop.run_forever()
            if self._broken is not None:
                raise self._broken
            if self._left_behind is None:
                main.result()
        except Stuck as stuck:
            raise Broken(str(stuck)) from stuck
        finally:
            main.remove_done_callback(self._stop)
            self._bury(loop)
            loop.close()
        if self._left_behind is not None:
            self.crashes += 1
            shutil.rmtree(self._folder)
            self._left_behind.rename(self._folder)
            self._left_behind = None
        self.model.end_life(self._folder)

    def _stop(self, main: asyncio.Task[None]) -> None:
        main.get_loop().stop()

    def _bury(self, loop: SimulatedLoop) -> None:
        """End what still runs, as part of a process that is dead."""
        self._faults.dead = True
        for executor in self._faults.executors:
            executor.bury()
        turn = 0
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                # A client takes this for a request that was given up, and goes on; others may
                # wait for one that does.
                if task.get_name() == CLIENT or turn % 10 == 0:
                    task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=0.1))
            turn += 1
        # What a dead process has open is closed; the files as it left them were copied before.
        for connection in self._faults.connections:
            connection.close()
        self._faults.dead = False
        self._faults.connections.clear()
        self._faults.executors.clear()

    async def _open(self, stack: AsyncExitStack) -> tuple[Assembly, SqliteStore, Spool]:
        on = engine(self._faults)
        store = await open_store(f"sqlite:///{self._folder}/events.db", 20, engine=on)
        stack.push_async_callback(store.close)
        spool = await open_spool(self._folder / "spool.db", 500, engine=on)
        stack.push_async_callback(spool.close)
        redactor, metrics = Redactor(Rules.of([], []), {}), Metrics()
        assembly = await assemble(
            stack,
            store=store,
            spool=spool,
            bounds=BOUNDS,
            redactor=redactor,
            metrics=metrics,
            clock=lambda: self._clock,
        )
        return assembly, store, spool

    async def _busy_life(self) -> None:
        self._policy = self._choose_policy()
        self._pause = self.random.choice([0.02, 0.05, 0.3])
        async with AsyncExitStack() as stack:
            try:
                assembly, store, spool = await self._open(stack)
            except Exception:
                return  # it could not start, and says so; somebody starts it again
            clients = [
                asyncio.create_task(self._client(assembly), name=CLIENT)
                for _ in range(self.random.randrange(1, 12))
            ]
            clients += [
                asyncio.create_task(self._prune(store, spool), name=CLIENT)
                for _ in range(self.random.choice([0, 0, 1, 2]))
            ]
            retention = asyncio.create_task(self._expire(store))
            await asyncio.gather(*clients)
            retention.cancel()
            await asyncio.gather(retention, return_exceptions=True)

    async def _expire(self, store: SqliteStore) -> None:
        """Delete what is not kept, step by step, until cancelled."""
        if self._policy is not None and self._policy.max_bytes is not None:
            # Appends make room too, until the end of the life.
            self.model.permits.append(Permit(RetentionPolicy(max_bytes=self._policy.max_bytes)))
        while self._policy is not None:
            await asyncio.sleep(self.random.expovariate(1 / 0.01))
            with self._permitted(Permit(self._policy, self._clock)):
                await store.expire(self._policy, self._clock)

    async def _prune(self, store: SqliteStore, spool: Spool) -> None:
        """Erase, once, what a person or everyone has sent."""
        await asyncio.sleep(self.random.expovariate(1 / 0.2))
        subject = self.random.choice([*_PEOPLE, None])
        wanted = Selection(subject=subject, until=self._clock - self.random.choice([0, 0, _DAY]))
        before = len(self.model.sent)
        settled = BOUNDS.deadline + SPOOL_DEADLINE
        with self._permitted(Permit(now=self._clock, wanted=wanted)):
            await erase(store, spool, wanted, _ignored, settled, clock=lambda: self._clock)
            self.model.erased(before, wanted, self._folder)
            self.prunes += 1

    @contextmanager
    def _permitted(self, permit: Permit) -> Iterator[None]:
        """Let something delete; what is cancelled may go on until the end of the life."""
        self.model.permits.append(permit)
        try:
            with suppress(StoreError):
                yield
            self.model.observe(self._folder)
        except Broken as error:
            self._break(error)
        self.model.permits.remove(permit)

    def _choose_policy(self) -> RetentionPolicy | None:
        """What is kept in a life: all, or by age, by person's kind, by size."""
        ages = [None, 1_000_000, _DAY, 3 * _DAY]
        rules = (
            RetentionRule(kind="action", max_age=self.random.choice(ages)),
            RetentionRule(max_age=self.random.choice(ages)),
        )
        size = self.random.choice([None, None, 150_000, 250_000])
        return self.random.choice([None, RetentionPolicy(rules, size)])

    async def _last_life(self) -> None:
        async with AsyncExitStack() as stack:
            assembly, _, spool = await self._open(stack)
            await self._client(assembly)
            for _ in range(600):
                if spool.depth:
                    await asyncio.sleep(0.1)
            if spool.depth:
                raise Broken(f"{spool.depth} records stay in the spool")
            self._judge_memory()

    def _judge_memory(self) -> None:
        # A request passes the bounds when nothing else waits; then a piece of the spool joins it.
        most = BOUNDS.max_bytes + 8 * LONGEST_TEXT + PIECE + LONGEST_TEXT + 10_000
        if self._faults.largest > most:
            raise Broken(f"a transaction of {self._faults.largest} bytes of text")

    async def _client(self, assembly: Assembly) -> None:
        """Send requests one after another, as clients do: again what was not accepted."""
        try:
            for _ in range(self.random.randrange(1, 15)):
                await asyncio.sleep(self.random.expovariate(1 / self._pause))
                await self._request(assembly)
        except (Broken, Crash) as error:
            self._broken = self._broken or (error if isinstance(error, Broken) else None)
            if not self._faults.dead:
                asyncio.get_running_loop().stop()

    async def _request(self, assembly: Assembly) -> None:
        records = self._records()
        attempts = self.model.send(records)
        queue = self.random.random() < 0.3
        inbound = Inbound(_HEAD, Tenant("acme"), b"", self._clock, "192.0.2.1")
        loop = asyncio.get_running_loop()
        started = loop.time()
        accepting = asyncio.create_task(
            assembly.intake.accept(
                "moesif", inbound, ParseResult(records, []), on_invalid="refuse", queue=queue
            ),
            name=CLIENT,
        )
        if self.random.random() < 0.05:
            loop.call_later(self.random.expovariate(1 / 0.01), accepting.cancel)
        try:
            receipt = await accepting
        except Refusal as refusal:
            self.model.answers[refusal.reason.value] += 1
        except asyncio.CancelledError:
            self.model.answers["cancelled"] += 1
        else:
            self.model.answered(attempts, list(receipt.outcomes), self._folder)
        if loop.time() - started > PATIENCE:
            raise Broken(f"a client waited {loop.time() - started:.1f} s")
        if assembly.to_store.held_events > BOUNDS.max_events + len(records):
            raise Broken(f"{assembly.to_store.held_events} events wait for the disk")

    def _records(self) -> list[EventRecord]:
        self._clock += self.random.choice([1, 1000, 1_000_000, -_DAY, _DAY])
        return [self._record() for _ in range(self.random.choice([1, 1, 1, 3, 8]))]

    def _record(self) -> EventRecord:
        self._next_id += 1
        name = None
        if self.random.random() < 0.7:
            if not self._names or self.random.random() < 0.6:
                self._names.append(f"{len(self._names)}")
            # Also names whose keys are in runs by now, or have gone.
            known = self._names if self.random.random() < 0.3 else self._names[-20:]
            name = self.random.choice(known)
        size = self.random.choice([10, 10, 10, 300, LONGEST_TEXT])
        # The same name is the same event: its text too, its kind and its subject.
        mark = name or f"keyless {self._next_id}"
        number = int(name or self._next_id)
        text = f"<{mark}{MARK_END}".ljust(10, ".")
        data = '"' + (text if name else text * (size // 10)) + '"'
        return EventRecord(
            # Ids made at random would make the filters of keys answer at random.
            id=key_of("id", str(self._next_id)),
            dialect="moesif",
            tenant="acme",
            kind="action" if number % 2 else "api_call",
            type="GET",
            subject=_PEOPLE[number % 7] if number % 7 < len(_PEOPLE) else None,
            time=self._clock,
            received_at=self._clock,
            client_address="192.0.2.1",
            key=None if name is None else key_of(name),
            data=data,
        )


_HEAD = Head("POST", "/v1/events", {}, lambda name: None, lambda name: ())


def _ignored(*_: object) -> None:
    """No progress is shown."""
