"""Retention: the store deletes, in the background, what the operator does not want to keep."""

import asyncio

import structlog

from gateway.errors import StoreError
from gateway.policy import RetentionPolicy, RetentionRule
from gateway.record import clock
from gateway.store import Store
from schemas.config import Retention as Options

log = structlog.get_logger()

_SHARE = 10
"""For each second of work there are so many of rest, unless the store is too large."""

_IDLE = 0.2
"""Seconds between two looks whether there is something to do."""

_AFTER_FAILURE = 5.0


def policy_of(options: Options) -> RetentionPolicy:
    """What the operator's table says."""
    rules = [
        RetentionRule(rule.dialect, rule.tenant, rule.kind, _micros(rule.max_age), rule.max_bytes)
        for rule in options.rules
    ]
    rules.append(RetentionRule(max_age=_micros(options.max_age)))
    return RetentionPolicy(tuple(rules), options.max_bytes)


def _micros(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1_000_000


class Retention:
    """Lets *store* make its steps. `by_age` and `by_size` count the records deleted."""

    def __init__(self, store: Store, policy: RetentionPolicy) -> None:
        self._store = store
        self._policy = policy
        self._task: asyncio.Task[None] | None = None
        self.by_age = 0
        self.by_size = 0

    @property
    def needed(self) -> bool:
        """Whether there is anything that may ever be deleted."""
        limits = [(rule.max_age, rule.max_bytes) for rule in self._policy.rules]
        return self._policy.max_bytes is not None or any(
            value is not None for one in limits for value in one
        )

    def start(self) -> None:
        """Begin; needs a running loop."""
        if self.needed:
            self._task = asyncio.create_task(self._run(), name="retention")

    def follow(self, policy: RetentionPolicy) -> None:
        """Delete by *policy* from the next step on."""
        self._policy = policy
        if self._task is None:
            self.start()

    async def close(self) -> None:
        """Stop; the next start goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failed = ""
        while True:
            try:
                pause = await self._step()
                failed = ""
            except StoreError as error:
                # Once for each cause: a damaged page is met again and again.
                if str(error) != failed:
                    log.warning("retention_waits", error=str(error))
                failed, pause = str(error), _AFTER_FAILURE
            except Exception:
                log.exception("retention_failed")
                pause = _AFTER_FAILURE
            await asyncio.sleep(pause)

    async def _step(self) -> float:
        """Let the store make a step; return how many seconds to rest."""
        done = await self._store.expire(self._policy, clock())
        self.by_age += done.by_age
        self.by_size += done.by_size
        if done.pressing:
            return 0
        return done.seconds * _SHARE if done.more else _IDLE
