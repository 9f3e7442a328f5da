"""What a soak test has sent and heard, in little memory: hours make millions of events."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.system.wire import Answer, Request, agent_event, call, device_event, name_of

SUCCESS = (201, 202, 409)
SENT, ACKNOWLEDGED, STORED = 1, 2, 4


def expected(exported: dict[str, Any]) -> Any:
    """The event that a client sent by the name of *exported*."""
    name, data = name_of(exported), exported["data"]
    match exported["dialect"]:
        case "moesif":
            return call(name, transaction="transaction_id" in data)
        case "logspace":
            return agent_event(name)
    return device_event(name)


@dataclass
class Ledger:
    """Counts requests and answers; `clock` gives seconds, those of a stopped process left out."""

    clock: Callable[[], float] = time.monotonic
    requests: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    longest: float = 0.0
    unexpected: list[str] = field(default_factory=list)
    again: list[Request] = field(default_factory=list)
    _events: bytearray = field(default_factory=bytearray)

    def _mark(self, names: Iterable[str], mark: int) -> None:
        for name in names:
            number = int(name.removeprefix("event-"))
            if number >= len(self._events):
                self._events.extend(bytes(number + 10_000 - len(self._events)))
            self._events[number] |= mark

    def sent(self, request: Request) -> None:
        """*request* leaves now."""
        self.requests += 1
        self._mark(request.events, SENT)

    def heard(self, request: Request, answer: Answer | None, seconds: float) -> None:
        """*answer* came to *request*, or None if the connection ended."""
        if answer is None:
            self.unanswered += 1
        else:
            self.longest = max(self.longest, seconds)
            self.answers[answer.status] += 1
            if answer.status in SUCCESS:
                self._mark(request.events, ACKNOWLEDGED)
                return
            if answer.status != 503:
                self.unexpected.append(f"{request.method} {request.path}: {answer}")
        if request.repeatable and len(self.again) < 1000:
            self.again.append(request)

    def judge(self, lines: Iterable[str]) -> "Verdict":
        """Compare with the *lines* of an export."""
        verdict = Verdict()
        for line in lines:
            exported = json.loads(line)
            name = name_of(exported)
            number = int(name.removeprefix("event-"))
            verdict.stored += 1
            known = self._events[number] if number < len(self._events) else 0
            if known & STORED:
                verdict.doubled.append(name)
            if not known or expected(exported) != exported["data"]:
                verdict.altered.append(name)
            self._mark([name], STORED)
        verdict.sent = sum(1 for marks in self._events if marks)
        verdict.acknowledged = sum(1 for marks in self._events if marks & ACKNOWLEDGED)
        verdict.lost = [
            f"event-{number}"
            for number, marks in enumerate(self._events)
            if marks & ACKNOWLEDGED and not marks & STORED
        ]
        return verdict


@dataclass
class Verdict:
    """What became of the events."""

    sent: int = 0
    acknowledged: int = 0
    stored: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
