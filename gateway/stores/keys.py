"""Which keys a store has, at a cost that does not grow with their number.

A unique index over random keys changes one page for each row, and the more rows there
are, the less likely that page is cached. So keys are kept in a log-structured index:

* The newest keys are in memory. At start they are read from the events.
* When there are enough of them they become a *run*. A run is 256 rows, one for each first
  byte of a key, and a row is its keys concatenated. It is written once, in slices, one
  with each commit, and is *sealed* with the last one. Each run has a number of its own,
  so that one can be deleted without the others.
* Bloom filters in memory say which runs may contain a key. Once there are eight runs more
  they are written as a *lane*, so that the next start need not read the keys.

For nearly all new keys memory and filters suffice. All methods run on the thread of the
database's connection.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import structlog

from gateway.errors import StoreError
from gateway.stores import bloom, lanes, runs
from gateway.stores.bloom import BloomFilter
from gateway.stores.runs import BUCKETS, Piece
from gateway.stores.statements import in_transaction

log = structlog.get_logger()

RUN_KEYS = 1 << 18
"""Keys of a run, at most: about 25 MB in memory as Python objects."""

_PACE = 2
"""Runs that are written while new keys fill one, so that no backlog lasts."""

_PAGE = 10_000
_WARM_BUCKETS = 20
_CLEARED = 4
"""Parts of a filter that `clear` does at once."""

_CLEAR_AT = 16
"""Places of runs that are gone after which `clear` has work: it costs the same for one."""

_GONE = -1
"""In the place of a run that was dropped; no run has this number."""

# Of events, and of those that were deleted before a run had their keys.
_NEWEST = """
SELECT event.key, seq FROM event CROSS JOIN stream ON stream.id = event.stream
WHERE seq > :after AND event.key IS NOT NULL AND kind <> 'rejected'
UNION ALL SELECT key, seq FROM loose_key WHERE seq > :after ORDER BY seq LIMIT :limit
"""
_SEALED = "SELECT run, last_seq, lane * 8 + bit FROM sealed_run ORDER BY run"


class KeyIndex:
    """The keys of all events except quarantined ones.

    Call `write` in the transaction that inserts events, and `committed` after its commit.
    Only `held` may be called on another thread at the same time, with another connection:
    what it reads is replaced rather than changed, and a key is in its next place before it
    leaves the last one.
    """

    def __init__(self, db: sqlite3.Connection, previous: "KeyIndex | None" = None) -> None:
        """Read what *db* holds. Full pieces become runs at once; `warm` fills the filters.

        *previous* is an index of the same store that knows too little; its filters are used.
        """
        # The number of the run at each place; a place is a bit of a filter.
        self._places: list[int] = list(previous._places) if previous else []
        self._filters: list[BloomFilter] = previous._filters if previous else []
        # Places whose filter is not filled yet: their runs are read for each key.
        self._cold: list[int] = list(previous._cold) if previous else []
        self._warmed_to: int = previous._warmed_to if previous else 0
        # Places whose run is gone: with bits in their filter, and without.
        self._used: list[int] = list(previous._used) if previous else []
        # Those of one filter that are being cleared, and how far.
        self._clearing: list[int] = list(previous._clearing) if previous else []
        self._cleared_to: int = previous._cleared_to if previous else 0
        self._free: list[int] = list(previous._free) if previous else []
        # Lanes that are in the file and not in the filters yet; nothing else is placed there.
        self._unloaded: list[int] = list(previous._unloaded) if previous else []
        # Places whose bits are in a lane of the file.
        self._saved: set[int] = set()
        self._recent = Piece()
        # Full pieces, oldest first. The first one is being written, as the run at this place.
        self._full: list[Piece] = []
        self._writing: int | None = None
        self._next_bucket = self._written = self._unpaid = 0
        self.unsaved: int | None = None
        """The number of a lane that is to be saved."""
        self._last_seq = self._next_run = 0
        if previous is None:
            for run, last_seq, _ in db.execute(_SEALED).fetchall():
                runs.split_if_large(db, run, last_seq, RUN_KEYS)
        sealed = db.execute(_SEALED).fetchall()
        self._leave(set(self._places) - {run for run, _, _ in sealed})
        if previous is None:
            self._lay_out({place: run for run, _, place in sealed if place is not None})
        for run, last_seq, place in sealed:
            self._next_run = run + 1
            self._last_seq = max(self._last_seq, last_seq)
            if run not in self._places:
                self._cold.append(self.place(run))
            elif place is not None and self._places[place : place + 1] == [run]:
                self._saved.add(place)
        self.sealed_to = self._last_seq
        self._read_newest(db)
        if previous is not None:
            for piece in [*previous._full, previous._recent]:
                self.remember(piece.remembered)
        self._find_unsaved()

    def _lay_out(self, saved: Mapping[int, int]) -> None:
        """Give the runs of saved lanes the places that they have there."""
        self._unloaded = sorted({place // lanes.RUNS for place in saved})
        count = (self._unloaded[-1] + 1) * lanes.RUNS if saved else 0
        self._filters = [BloomFilter() for _ in range(-(-count // bloom.RUNS))]
        self._places = [saved.get(place, _GONE) for place in range(count)]
        self._cold = sorted(saved)
        for place in range(count):
            if place not in saved:
                # In a lane there may be bits of a run that is gone.
                stale = place // lanes.RUNS in self._unloaded
                (self._used if stale else self._free).append(place)

    def _read_newest(self, db: sqlite3.Connection) -> None:
        """Read the keys that are in no run. Full pieces become runs here, not during traffic."""
        disk_takes_more = True
        while True:
            room = RUN_KEYS - self._recent.count
            wanted = {"after": self._last_seq, "limit": min(room, _PAGE)}
            page = db.execute(_NEWEST, wanted).fetchall()
            if not page:
                return
            self._recent.add([key for key, _ in page])
            self._last_seq = page[-1][1]
            if len(page) == room:
                self._begin_piece()
                disk_takes_more = disk_takes_more and self._seal_now(db)

    def _begin_piece(self) -> None:
        following = Piece()
        self._recent.last_seq = self._last_seq
        self._full = [*self._full, self._recent]
        self._recent = following

    def _seal_now(self, db: sqlite3.Connection) -> bool:
        self._written = 0
        try:
            in_transaction(db, lambda: self._write(db, BUCKETS))
        except (sqlite3.Error, StoreError) as error:
            # The piece stays in memory and is written with later commits.
            log.warning("keys_not_sealed", keys=RUN_KEYS, error=str(error))
            return False
        self._advance()
        return True

    @property
    def cold(self) -> bool:
        """Whether `warm` has work left."""
        return bool(self._cold)

    def held(self, db: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of *keys* that the store has."""
        # A key moves from the recent piece to the full ones, and to a run: look in that order.
        cold = list(self._cold)
        found = self._recent.held(keys)
        for piece in self._full:
            found |= piece.held(keys)
        for at, one in enumerate(self._filters):
            for key, bits in zip(keys, one.candidate_runs(keys), strict=True):
                if bits and key not in found and self._in_places(db, key, bits, at * bloom.RUNS):
                    found.add(key)
        for place in cold:
            found.update(key for key in keys if runs.has(db, self._places[place], key))
        return found

    def _in_places(self, db: sqlite3.Connection, key: bytes, bits: int, first: int) -> bool:
        while bits:
            bit = bits & -bits
            run = self._places[first + bit.bit_length() - 1]
            if run != _GONE and runs.has(db, run, key):
                return True
            bits ^= bit
        return False

    def remember(self, identities: Sequence[bytes]) -> None:
        """Hold *identities* too, of records that have no key."""
        self._recent.add(identities)
        self._recent.remembered += identities

    def write(self, db: sqlite3.Connection, count: int) -> None:
        """Make room for *count* new keys, and write the slices that are due."""
        self._written = 0
        if self._recent.count and self._recent.count + count > RUN_KEYS:
            self._begin_piece()
        if self._full:
            self._write(db, self._unpaid // RUN_KEYS)

    def _write(self, db: sqlite3.Connection, slices: int) -> None:
        due = min(slices, BUCKETS - self._next_bucket)
        if not due:
            return
        if self._writing is None:
            self._writing = self.place(self.new_run())
        run = self._places[self._writing]
        # Before the commit: memory may run out here. A key too many in a filter does no harm.
        self.add_to_filter(
            self._writing, runs.write(db, run, self._full[0], self._next_bucket, due)
        )
        self._written = due

    def committed(self, keys: Sequence[bytes], last_seq: int) -> None:
        """Add *keys*, of events up to *last_seq*, whose transaction with `write` is durable.

        All that needs much memory was done by `write`. If this fails it can be called again.
        """
        self._recent.add(keys)
        self._last_seq = last_seq
        if self._full:
            self._unpaid += len(keys) * _PACE * BUCKETS - self._written * RUN_KEYS
            self._advance()
        else:
            self._unpaid = 0

    def _advance(self) -> None:
        if self._next_bucket + self._written < BUCKETS:
            self._next_bucket += self._written
        else:
            self.sealed_to = self._full[0].last_seq
            self._full = self._full[1:]
            self._next_bucket, self._writing = 0, None
            self._find_unsaved()
        self._written = 0

    def writes(self, run: int) -> bool:
        """Whether *run* is being written, from keys that are in memory."""
        return self._writing is not None and self._places[self._writing] == run

    def new_run(self) -> int:
        """A number for a run that is about to be written."""
        self._next_run += 1
        return self._next_run - 1

    def place(self, run: int) -> int:
        """Give *run* a place in a filter."""
        if self._free:
            place = self._free.pop()
            self._places[place] = run
            return place
        place = len(self._places)
        if place == len(self._filters) * bloom.RUNS:
            self._filters.append(BloomFilter())
        self._places.append(run)
        return place

    def add_to_filter(self, place: int, keys: Sequence[bytes]) -> None:
        """Add *keys*, which may be joined, to the filter of the run at *place*."""
        self._filters[place // bloom.RUNS].add(place % bloom.RUNS, keys)

    def dropped(self, gone: Collection[int]) -> None:
        """Forget runs that are no longer in the store; `clear` frees their places."""
        self._leave(set(self._places).intersection(gone))

    def _leave(self, gone: Collection[int]) -> None:
        left = [at for at, run in enumerate(self._places) if run in gone and run != _GONE]
        for place in left:
            self._places[place] = _GONE
            self._saved.discard(place)
        self._used += left
        if not self._cold or self._cold[0] in left:
            self._warmed_to = 0
        self._cold = [place for place in self._cold if place not in left]

    @property
    def dirty(self) -> bool:
        """Whether `clear` has work left."""
        # A lane that comes later would bring the bits back.
        work = bool(self._clearing) or len(self._used) >= _CLEAR_AT
        return work and not self._unloaded

    def clear(self) -> None:
        """Take some of the bits of runs that are gone out of their filter."""
        if not self._clearing:
            [(fullest, _)] = Counter(place // bloom.RUNS for place in self._used).most_common(1)
            self._clearing = [place for place in self._used if place // bloom.RUNS == fullest]
        one = self._filters[self._clearing[0] // bloom.RUNS]
        gone = [place % bloom.RUNS for place in self._clearing]
        for part in range(self._cleared_to, min(self._cleared_to + _CLEARED, bloom.PARTS)):
            one.remove(gone, part)
        self._cleared_to += _CLEARED
        if self._cleared_to >= bloom.PARTS:
            self._used = [place for place in self._used if place not in self._clearing]
            self._free += self._clearing
            self._clearing, self._cleared_to = [], 0

    def warm(self, db: sqlite3.Connection) -> None:
        """Fill the filters with some more of the keys that were sealed before the start."""
        if self._unloaded:
            self._load(db, self._unloaded[0])
            return
        if not self._cold:
            return
        place, first = self._cold[0], self._warmed_to
        for bucket in range(first, min(first + _WARM_BUCKETS, BUCKETS)):
            self.add_to_filter(place, [runs.keys_of(db, self._places[place], bucket)])
        self._warmed_to = first + _WARM_BUCKETS
        if self._warmed_to >= BUCKETS:
            self._cold = self._cold[1:]
            self._warmed_to = 0
            if not self._cold:
                self._find_unsaved()

    def _load(self, db: sqlite3.Connection, lane: int) -> None:
        """Fill the part of a filter that eight runs have in the file."""
        places = range(lane * lanes.RUNS, (lane + 1) * lanes.RUNS)
        slots = lanes.load(db, lane)
        if slots is None:
            # Their keys are read, and written as a lane again.
            self._saved.difference_update(places)
        else:
            one = self._filters[places[0] // bloom.RUNS]
            one.set_lane(places[0] % bloom.RUNS // lanes.RUNS, slots)
            self._cold = [place for place in self._cold if place not in places]
        self._unloaded = self._unloaded[1:]
        if not self._cold:
            self._find_unsaved()

    def _find_unsaved(self) -> None:
        """Look for a lane of whole runs that the file has not, or not all of."""
        self.unsaved = None
        for lane in range(len(self._places) // lanes.RUNS):
            places = range(lane * lanes.RUNS, (lane + 1) * lanes.RUNS)
            whole = all(self._places[place] != _GONE and place != self._writing for place in places)
            if whole and not self._saved.issuperset(places) and not self._cold:
                self.unsaved = lane
                return

    def save(self, db: sqlite3.Connection) -> None:
        """Write the lane that is `unsaved`, if there is one."""
        lane = self.unsaved
        if lane is None:
            return
        places = range(lane * lanes.RUNS, (lane + 1) * lanes.RUNS)
        one = self._filters[places[0] // bloom.RUNS]
        slots = one.lane(places[0] % bloom.RUNS // lanes.RUNS)
        numbers = {bit: self._places[place] for bit, place in enumerate(places)}
        in_transaction(db, lambda: lanes.save(db, lane, slots, numbers))
        self._saved.update(places)
        self._find_unsaved()
