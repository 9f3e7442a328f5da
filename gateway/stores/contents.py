"""Looks for the stored events of some keys: the newest first, a few milliseconds at a time.

No index leads from a key to its event, because none is needed to store one. A retry
comes soon after its event, so few rows have to be read.
"""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from gateway.store import Content
from gateway.stores import runs
from gateway.stores.statements import placeholders

_ROWS = 2_000
"""Rows that a step reads: some milliseconds."""

_BOUNDS = "SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM event"
_RUNS = "SELECT run, last_seq FROM sealed_run ORDER BY last_seq"
_FOUND = """
SELECT key, event.id, data FROM event CROSS JOIN stream ON stream.id = event.stream
WHERE seq BETWEEN ? AND ? AND key IN ({}) AND kind <> 'rejected'
"""


@dataclass(slots=True)
class _Part:
    """Sequences to read, and the run that has the keys of these events, if one has them.

    `held` are those of the keys that the run has, once they were looked up.
    """

    low: int
    high: int
    run: int | None
    held: set[bytes] | None = None


class ContentSearch:
    """A search for events with some *keys*. `found` grows with each `step`."""

    def __init__(self, keys: Collection[bytes], max_bytes: int) -> None:
        """The search ends once the texts that are found have more than *max_bytes* characters."""
        self.found: dict[bytes, Content] = {}
        self._left = set(keys)
        self._room = max_bytes
        # The newest last.
        self._parts: list[_Part] | None = None

    @property
    def ended(self) -> bool:
        """Whether another step would find nothing."""
        return not self._left or self._room < 0 or self._parts == []

    def step(self, db: sqlite3.Connection) -> None:
        """Read some more rows of *db*, which may be another connection each time."""
        if self._parts is None:
            self._parts = _parts(db)
            return
        part = self._parts[-1]
        run = part.run
        if run is not None and part.held is None:
            part.held = {key for key in self._left if runs.has(db, run, key)}
        keys = self._left if part.held is None else self._left & part.held
        if not keys or part.low > part.high:
            self._parts.pop()
            return
        start = max(part.low, part.high - _ROWS + 1)
        asked = list(keys)
        for key, record_id, data in db.execute(
            _FOUND.format(placeholders(asked)), (start, part.high, *asked)
        ):
            self._room -= len(data)
            if self._room < 0:
                return
            self.found[key] = Content(record_id, data)
            self._left.discard(key)
        part.high = start - 1


def _parts(db: sqlite3.Connection) -> list[_Part]:
    [(first, last)] = db.execute(_BOUNDS)
    sealed = [(None, first - 1), *db.execute(_RUNS)]
    # The newest keys are in no run yet.
    ends = [*sealed, (None, max(last, sealed[-1][1]))]
    return [_Part(max(before + 1, first), end, run) for (_, before), (run, end) in pairwise(ends)]
