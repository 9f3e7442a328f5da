"""What happens to the gateway in a soak test."""

import asyncio
import random
import signal
import time
from collections import Counter
from pathlib import Path

from tests.conftest import Process
from tests.disk.recording import Control
from tests.system.wire import locked


class Trouble:
    """Does one harm after another to a process, and starts it again where it has ended."""

    def __init__(self, process: Process, control: Control | None, chance: random.Random) -> None:
        """*control* makes the disk fail, if there is a shim."""
        self.done: Counter[str] = Counter()
        self.peak = 0.0
        self._process = process
        self._control = control
        self._chance = chance
        self._stopped = 0.0
        self._harms = [self.kill, self.terminate, self.stop, self.lock]
        if control is not None:
            self._harms += [self.full, self.fail, self.slow, self.hang, self.kill_failing]

    def clock(self) -> float:
        """Seconds, without those for which the process was stopped."""
        return time.monotonic() - self._stopped

    async def go_on(self, seconds: float) -> None:
        """Do harm for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self._quiet()
            harm = self._chance.choice(self._harms)
            self.done[harm.__name__] += 1
            await harm()
        await self._quiet()

    async def _quiet(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.5, 3))
        self.measure()

    def measure(self) -> None:
        """Note the most memory that this life of the process has used."""
        status = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        [line] = [line for line in status if line.startswith("VmHWM:")]
        self.peak = max(self.peak, int(line.split()[1]) / 1024)

    @property
    def _pid(self) -> int:
        assert self._process.process is not None
        return self._process.process.pid

    async def _restart(self, number: int) -> None:
        assert self._process.process is not None
        self.measure()
        self._process.process.send_signal(number)
        await asyncio.to_thread(self._process.process.wait, 60)
        await asyncio.to_thread(self._process.start)

    async def kill(self) -> None:
        await self._restart(signal.SIGKILL)

    async def terminate(self) -> None:
        await self._restart(signal.SIGTERM)

    async def stop(self) -> None:
        assert self._process.process is not None
        began = time.monotonic()
        self._process.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self._chance.uniform(0.5, 5))
        self._process.process.send_signal(signal.SIGCONT)
        self._stopped += time.monotonic() - began

    async def lock(self) -> None:
        with locked(self._process.folder / "events.db"):
            await asyncio.sleep(self._chance.uniform(0.2, 4))

    async def full(self) -> None:
        assert self._control is not None
        with self._control.full():
            await asyncio.sleep(self._chance.uniform(0.2, 3))

    async def fail(self) -> None:
        assert self._control is not None
        with self._control.failing_fsync():
            await asyncio.sleep(self._chance.uniform(0.2, 3))

    async def slow(self) -> None:
        assert self._control is not None
        with self._control.slow(50):
            await asyncio.sleep(self._chance.uniform(0.5, 5))

    async def hang(self) -> None:
        assert self._control is not None
        with self._control.held_fsync():
            await asyncio.sleep(self._chance.uniform(0.2, 5))

    async def kill_failing(self) -> None:
        assert self._control is not None
        assert self._process.process is not None
        with self._control.failing_fsync():
            await asyncio.sleep(self._chance.uniform(0, 0.5))
            self._process.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(self._process.process.wait, 60)
        await asyncio.to_thread(self._process.start)
