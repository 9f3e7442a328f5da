"""Which runs may contain a key: a place in a Bloom filter for each run, and filters in the file.

Filters are in memory. Once there are eight runs more they are written as a *lane*, so that
the next start need not read the keys.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from gateway.stores import bloom, lanes, runs
from gateway.stores.bloom import BloomFilter
from gateway.stores.runs import BUCKETS
from gateway.stores.statements import in_transaction

_WARM_BUCKETS = 20
_CLEARED = 4
"""Parts of a filter that `clear` does at once."""

_CLEAR_AT = 16
"""Places of runs that are gone after which `clear` has work: it costs the same for one."""

_GONE = -1
"""In the place of a run that was dropped; no run has this number."""


class RunFilters:
    """Gives each run a place, which is a bit of a filter, and fills the filters.

    Only `cold_places`, `candidates`, `has` and `run_at` may be called on another thread: what
    they read is replaced rather than changed.

    Attributes:
        writing: the place of the run that is being written, if one is.
        unsaved: the number of a lane that is to be saved.
    """

    def __init__(
        self, sealed: Sequence[tuple[int, int, int | None]], previous: "RunFilters | None" = None
    ) -> None:
        """Give *sealed* runs their places; `warm` fills the filters.

        Each has its number, its last sequence and its place in a lane of the file. *previous*
        are filters of the same store; what they have is used.
        """
        # The number of the run at each place.
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
        self.writing: int | None = None
        self.unsaved: int | None = None
        self._leave(set(self._places) - {run for run, _, _ in sealed})
        if previous is None:
            self._lay_out({place: run for run, _, place in sealed if place is not None})
        for run, _, place in sealed:
            if run not in self._places:
                self._cold.append(self.place(run))
            elif place is not None and self._places[place : place + 1] == [run]:
                self._saved.add(place)

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

    @property
    def count(self) -> int:
        """How many filters there are."""
        return len(self._filters)

    @property
    def cold(self) -> bool:
        """Whether `warm` has work left."""
        return bool(self._cold)

    @property
    def run_count(self) -> int:
        """How many runs there are in the file."""
        return len(self._places) - self._places.count(_GONE)

    def cold_places(self) -> list[int]:
        """Places of runs that have to be read for each key."""
        return list(self._cold)

    def candidates(self, keys: Sequence[bytes]) -> Iterator[tuple[int, list[int]]]:
        """For each filter its first place, and for each key the places there, as a set of bits."""
        for at, one in enumerate(self._filters):
            yield at * bloom.RUNS, one.candidate_runs(keys)

    def has(self, db: sqlite3.Connection, key: bytes, first: int, bits: int) -> bool:
        """Whether a run has *key*, of those at the places that *bits* name from *first* on."""
        while bits:
            bit = bits & -bits
            run = self._places[first + bit.bit_length() - 1]
            if run != _GONE and runs.has(db, run, key):
                return True
            bits ^= bit
        return False

    def run_at(self, place: int) -> int:
        """The number of the run at *place*."""
        return self._places[place]

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

    def add(self, place: int, keys: Sequence[bytes]) -> None:
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
            self.add(place, [runs.keys_of(db, self._places[place], bucket)])
        self._warmed_to = first + _WARM_BUCKETS
        if self._warmed_to >= BUCKETS:
            self._cold = self._cold[1:]
            self._warmed_to = 0
            if not self._cold:
                self.find_unsaved()

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
            self.find_unsaved()

    def find_unsaved(self) -> None:
        """Look for a lane of whole runs that the file has not, or not all of."""
        self.unsaved = None
        for lane in range(len(self._places) // lanes.RUNS):
            places = range(lane * lanes.RUNS, (lane + 1) * lanes.RUNS)
            whole = all(self._places[place] != _GONE and place != self.writing for place in places)
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
        self.find_unsaved()
