"""A refusal that is given again: to who sends on while too much waits, at next to no cost.

To refuse a request costs almost as much as to take a small one: its head is parsed, its client
found, its answer composed. Who sends a head that was refused a moment ago, on this connection or
another one, is told the same in the same bytes, for as long as that would be the answer. Heads
that differ in the length of their bodies alone count as the same.
"""

import asyncio
import re
from collections.abc import Callable

import msgspec

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,18})\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"
_FAR = 4096
"""Bytes in which the length of a body is looked for, and the end of its head behind it."""

_MOST = 10_000
"""Heads that are remembered."""


class Again(msgspec.Struct, frozen=True):
    """Says of a refused request whether one with the same head is refused in the same way now.

    `holds` tells that of a request behind some others, of which it is told the number and the
    bytes: they were let in, and nobody has counted them yet. `count` counts such a refusal. After
    `seconds` one request with this head is refused at full length, for the sake of its answer.
    """

    holds: Callable[[int, int], bool]
    count: Callable[[], None]
    seconds: float


class Refused(msgspec.Struct):
    """How requests with a certain head are refused."""

    answer: bytes
    again: Again
    renewed_at: float
    # Requests that were let in since the event loop has last read from clients, and their bytes.
    # Their handlers run when it has read from all of them.
    requests: int = 0
    size: int = 0


class RefusedHeads:
    """The heads that were refused lately.

    Attributes:
        known: how they are refused, by the head without the length of its body.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.known: dict[bytes, Refused] = {}
        self._let_in: list[Refused] = []

    def remember(self, head: bytes, answer: bytes, again: Again) -> None:
        """Give *answer* to requests that have the whole *head* while *again* says so."""
        length = _LENGTH.search(head)
        if length is None:
            return
        key, now = head[: length.start(1)] + head[length.end(1) :], self._loop.time()
        refused = self.known.get(key)
        if refused is not None:
            refused.answer, refused.again, refused.renewed_at = answer, again, now
        elif len(self.known) < _MOST:
            self.known[key] = made = Refused(answer, again, now)
            self._loop.call_later(2 * again.seconds, self._forget, key, made)

    def _forget(self, key: bytes, refused: Refused) -> None:
        if self.known.get(key) is not refused:
            return
        seconds = refused.again.seconds
        if self._loop.time() - refused.renewed_at < seconds:
            self._loop.call_later(2 * seconds, self._forget, key, refused)
        else:
            del self.known[key]

    def find(self, data: bytes) -> tuple[Refused, int] | None:
        """How the request is refused that *data* begins with, and the bytes that follow *data*.

        Less than none follow it where *data* holds another request.
        """
        length = _LENGTH.search(data, 0, _FAR)
        if length is None:
            return None
        end = data.find(_END, length.end() - 2, length.end() + _FAR) + 4
        refused = self.known.get(data[: length.start(1)] + data[length.end(1) : end])
        return None if refused is None else (refused, end + int(length[1]) - len(data))

    def lets_in(self, refused: Refused, size: int) -> bool:
        """Whether a request of *size* bytes is not refused now, or is to be refused at length.

        It is expected to be counted by its handler.
        """
        again, now = refused.again, self._loop.time()
        if now - refused.renewed_at > again.seconds:
            refused.renewed_at = now
            return True
        if again.holds(refused.requests, refused.size):
            return False
        if not self._let_in:
            self._loop.call_soon(self._begin)
        if not refused.requests:
            self._let_in.append(refused)
        refused.requests += 1
        refused.size += size
        return True

    def _begin(self) -> None:
        """The handlers of those that were let in run from now on."""
        for refused in self._let_in:
            refused.requests = refused.size = 0
        self._let_in.clear()
