"""Lets go of keys whose events are gone, so that their number is bounded by that of the events.

When retention has passed the last event of a run, the keys of its events that are still
stored are collected. If they are none, the run goes. If they are at most half of the run,
they become a smaller run in its place, together with a small run before it. So there are
at most twice as many keys as events, and a few runs more.
"""

import sqlite3

from gateway.stores import keys, runs
from gateway.stores.keys import KeyIndex
from gateway.stores.runs import BUCKETS, Piece
from gateway.stores.statements import in_transaction

_PAGE = 2000
_SLICES = 16

_PASSED = """
SELECT DISTINCT last_seq FROM sealed_run WHERE last_seq > ? AND last_seq <= ? ORDER BY last_seq
"""
_RUNS = "SELECT run FROM sealed_run WHERE last_seq = ?"
_BEFORE = "SELECT coalesce(max(last_seq), 0) FROM sealed_run WHERE last_seq < ?"
_STILL_STORED = """
SELECT event.key, seq FROM event CROSS JOIN stream ON stream.id = event.stream
WHERE seq > ? AND seq <= ? AND event.key IS NOT NULL AND kind <> 'rejected' ORDER BY seq LIMIT ?
"""
_UNSEALED = "SELECT DISTINCT run FROM key_run EXCEPT SELECT run FROM sealed_run"
_SETTLED = """
DELETE FROM loose_key
WHERE seq <= (SELECT max(seq) FROM (SELECT seq FROM loose_key WHERE seq <= ? ORDER BY seq LIMIT ?))
"""


class _Rewriting:
    """Runs of the events after `seq`, up to `last_seq`, and the keys that are still needed."""

    def __init__(self, sources: list[int], size: int, seq: int, last_seq: int) -> None:
        self.sources = sources
        self.size = size
        self.seq = seq
        self.piece = Piece()
        self.piece.last_seq = last_seq
        self.place: int | None = None
        self.run = 0
        self.next_bucket = 0

    @property
    def worthwhile(self) -> bool:
        return self.piece.count <= min(self.size // 2, keys.RUN_KEYS)


class KeyExpiry:
    """Works on the runs of a `KeyIndex`, on the thread of the database's connection."""

    def __init__(self, index: KeyIndex) -> None:
        self._index = index
        self._filters = index.filters
        # The last sequences of runs to look at, oldest first.
        self._waiting: list[int] = []
        self._rewriting: _Rewriting | None = None
        self._gone: list[int] | None = None
        self._settled_to = -1

    def passed(self, db: sqlite3.Connection, after: int, to: int) -> None:
        """Look at the runs of events above *after*, up to *to*: some of them were deleted."""
        found = {last for (last,) in db.execute(_PASSED, (after, to))}
        self._waiting = sorted(found.union(self._waiting))

    def step(self, db: sqlite3.Connection) -> bool:
        """Do one of the things that are to be done; return whether there was one.

        Raises:
            StoreError, sqlite3.Error: it may not have been done; another step tries again.
        """
        if self._gone is None:
            # What a crash left of a run that was never sealed.
            self._gone = [run for (run,) in db.execute(_UNSEALED) if not self._index.writes(run)]
        if self._gone:
            self._drop(db, self._gone)
        elif self._filters.dirty:
            self._filters.clear()
        elif self._settled_to < self._index.sealed_to:
            self._settle(db)
        elif self._rewriting is not None:
            self._rewrite(db, self._rewriting)
        elif self._waiting:
            self._rewriting = self._begin(db, self._waiting.pop(0))
        else:
            return False
        return True

    def _drop(self, db: sqlite3.Connection, gone: list[int]) -> None:
        in_transaction(db, lambda: runs.drop(db, gone[-1]))
        self._filters.dropped([gone.pop()])

    def _settle(self, db: sqlite3.Connection) -> None:
        """Delete loose keys that a run has now."""
        sealed = self._index.sealed_to
        if in_transaction(db, lambda: db.execute(_SETTLED, (sealed, _PAGE)).rowcount) < _PAGE:
            self._settled_to = sealed

    def _begin(self, db: sqlite3.Connection, last_seq: int) -> _Rewriting | None:
        def runs_of(last: int) -> list[int]:
            return [run for (run,) in db.execute(_RUNS, (last,))]

        def size(sources: list[int]) -> int:
            return sum(runs.size_of(db, run) for run in sources)

        sources = runs_of(last_seq)
        [(before,)] = db.execute(_BEFORE, (last_seq,))
        earlier = runs_of(before)
        if earlier and size(earlier) <= keys.RUN_KEYS // 2:
            sources += earlier
            [(before,)] = db.execute(_BEFORE, (before,))
        return _Rewriting(sources, size(sources), before, last_seq) if sources else None

    def _rewrite(self, db: sqlite3.Connection, work: _Rewriting) -> None:
        piece = work.piece
        if work.seq < piece.last_seq:
            page = db.execute(_STILL_STORED, (work.seq, piece.last_seq, _PAGE)).fetchall()
            piece.add([key for key, _ in page])
            work.seq = page[-1][1] if len(page) == _PAGE else piece.last_seq
            if not work.worthwhile:
                self._rewriting = None
        elif piece.count and work.next_bucket < BUCKETS:
            self._write(db, work, piece)
        else:
            # After the commit of the new run: whoever looks a key up finds it in one of them.
            self._gone, self._rewriting = work.sources, None

    def _write(self, db: sqlite3.Connection, work: _Rewriting, piece: Piece) -> None:
        if work.place is None:
            work.run = self._index.new_run()
            work.place = self._filters.place(work.run)
        place = work.place

        def write() -> None:
            written = runs.write(db, work.run, piece, work.next_bucket, _SLICES)
            self._filters.add(place, written)

        in_transaction(db, write)
        work.next_bucket += _SLICES
