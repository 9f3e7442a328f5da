"""Large bodies are read one after another, a tenant at a time.

Many of them at once would make the event loop's turns as long as all of them take together, for
everyone. And a tenant that sends many would leave few turns to one that sends few.
"""

import asyncio
from collections import deque

from gateway.web.budget import Who

LARGE = 1 << 14
"""Bytes of a body that is read in turn. Smaller ones take less than a millisecond."""


class Turns:
    """Gives turns to requests, to those of one tenant in the order in which they came."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: dict[Who, deque[asyncio.Future[None]]] = {}

    async def take(self, who: Who) -> None:
        """Wait for a turn of the tenant *who*. It is to be given back."""
        if not self._taken:
            self._taken = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Give a turn back: the next tenant that waits has one."""
        while self._waiting:
            who = next(iter(self._waiting))
            queue = self._waiting.pop(who)
            turn = queue.popleft()
            if queue:
                # Behind all others.
                self._waiting[who] = queue
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False

    async def pass_on(self, who: Who) -> None:
        """Let others have their turn within a long one."""
        if not self._waiting:
            await asyncio.sleep(0)
            return
        self.give()
        await self.take(who)
