"""A Bloom filter over the keys of many runs at once."""

import sys
from array import array
from collections.abc import Iterable, Sequence
from struct import iter_unpack

RUNS = 64
"""Runs that one filter tells apart: the bits of a slot."""

SLOTS = 1 << 22
_MASK = SLOTS - 1
_SHIFT = 22
"""A key uses four slots; one key in 400 is a false positive in a run of the designed size."""

PARTS = 64
"""How many parts of a filter there are to remove a run from, one by one."""


class BloomFilter:
    """Says which of up to 64 runs may contain a key; takes 32 MB.

    Each slot is a word with one bit for each run, so that one lookup covers them all.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * SLOTS))

    def add(self, run: int, keys: Iterable[bytes]) -> None:
        """Add *keys* of *run*, a number from 0 to 63; keys may be concatenated."""
        slots, bit = self._slots, 1 << run
        for a, b in iter_unpack("<QQ", b"".join(keys)):
            slots[a & _MASK] |= bit
            slots[a >> _SHIFT & _MASK] |= bit
            slots[b & _MASK] |= bit
            slots[b >> _SHIFT & _MASK] |= bit

    def candidate_runs(self, keys: Sequence[bytes]) -> list[int]:
        """Return for each key the runs that may contain it, as a set of bits."""
        slots = self._slots
        return [
            slots[a & _MASK]
            & slots[a >> _SHIFT & _MASK]
            & slots[b & _MASK]
            & slots[b >> _SHIFT & _MASK]
            for a, b in iter_unpack("<QQ", b"".join(keys))
        ]

    def lane(self, at: int) -> bytes:
        """A byte for each slot, with the bits of runs ``8 * at`` to ``8 * at + 7``."""
        return bytes(self._bytes(at))

    def set_lane(self, at: int, slots: bytes) -> None:
        """Replace the bits of eight runs by those that `lane` returned."""
        self._bytes(at)[:] = memoryview(slots)

    def _bytes(self, at: int) -> memoryview:
        first = at if sys.byteorder == "little" else 7 - at
        return memoryview(self._slots).cast("B")[first::8]

    def remove(self, runs: Iterable[int], part: int) -> None:
        """Take *runs* out of one of the `PARTS` of the filter; one takes as long as all."""
        size = SLOTS // PARTS
        slots = self._slots[part * size : (part + 1) * size]
        others = (1 << 64) - 1 - sum(1 << run for run in set(runs))
        # As one large number: a loop over the slots would take a hundred times as long.
        mask = int.from_bytes(others.to_bytes(8, sys.byteorder) * size, sys.byteorder)
        kept = int.from_bytes(slots.tobytes(), sys.byteorder) & mask
        self._slots[part * size : (part + 1) * size] = array(
            "Q", kept.to_bytes(8 * size, sys.byteorder)
        )


def lacking(slots: bytes, bit: int, keys: bytes) -> int:
    """How many of *keys*, which are joined, the lane *slots* has not with *bit*."""
    mask = 1 << bit
    return sum(
        not (
            slots[a & _MASK]
            & slots[a >> _SHIFT & _MASK]
            & slots[b & _MASK]
            & slots[b >> _SHIFT & _MASK]
            & mask
        )
        for a, b in iter_unpack("<QQ", keys)
    )
