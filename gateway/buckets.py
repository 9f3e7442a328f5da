"""Histograms that one thread counts, and others read."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate


class Buckets:
    """Counts values by the smallest of *bounds* that is not below them; the last has no bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """*bounds* rise."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count *value*."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """How many values are at most each bound, as Prometheus has it."""
        names = [*map(str, self.bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


class WaitingBuckets(Buckets):
    """Takes values by ``waiting.append``, and counts them together in `fold`.

    For what is observed so often that to count each value would be felt: many are
    sorted and counted for a third of that.
    """

    __slots__ = ("waiting",)

    def __init__(self, bounds: Sequence[float]) -> None:
        """*bounds* rise."""
        super().__init__(bounds)
        self.waiting: list[float] = []

    def fold(self) -> None:
        """Count what waits. Call it on the thread that appends, often."""
        if not self.waiting:
            return
        values = sorted(self.waiting)
        self.waiting.clear()
        below = 0
        for at, bound in enumerate(self.bounds):
            reached = bisect_right(values, bound)
            self.counts[at] += reached - below
            below = reached
        self.counts[-1] += len(values) - below
        self.total += sum(values)
