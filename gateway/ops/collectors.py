"""Metrics that are counted in plain Python, and made when they are scraped.

A counter of the client library takes a lock for each increment. That is not needed
where only the event loop's thread counts. A scrape is made on another thread: what it
reads is copied by one call of C, or is one number.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from gateway.buckets import Buckets
from gateway.record import Outcome

Labels = tuple[str, ...]
Values = Mapping[Any, float]  # Any: tuples of as many texts as there are labels

WHO = ("dialect", "tenant")

_EVENTS_OF = {
    Outcome.STORED: ("gateway_accepted", "Events stored."),
    Outcome.DUPLICATE: ("gateway_duplicate", "Events that were stored before."),
    Outcome.QUEUED: ("gateway_queued", "Events spooled."),
}


class EventCounts(Collector):
    """Counts of events and of refused requests, by dialect and tenant."""

    def __init__(self) -> None:
        # Not Counter, which is written in Python and makes `+=` ten times as slow.
        self.events: dict[tuple[str, str], dict[Outcome, int]] = {}
        self.rejected: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.bytes: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.conflicts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.not_compared: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.drained: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.refused: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.last: dict[tuple[str, str], float] = {}
        self.configured: Collection[tuple[str, str]] = ()

    def expect(self, who: tuple[str, str]) -> dict[Outcome, int]:
        """Have all series of a dialect and a tenant, with 0 where nothing was counted."""
        for counts in (self.rejected, self.bytes, self.conflicts, self.not_compared):
            counts[who] += 0
        for outcome in (Outcome.STORED, Outcome.DUPLICATE):
            self.drained[*who, outcome.value] += 0
        return self.events.setdefault(who, dict.fromkeys(Outcome, 0))

    def collect(self) -> Iterable[Metric]:
        for outcome, (name, text) in _EVENTS_OF.items():
            counts = {who: counted.get(outcome, 0) for who, counted in list(self.events.items())}
            yield counter(name, text, WHO, counts)
        rejected = "Invalid events and unreadable bodies sent to quarantine, repeats included."
        yield counter("gateway_rejected", rejected, WHO, self.rejected)
        size = "Bytes of accepted bodies after decompression."
        yield counter("gateway_bytes", size, WHO, self.bytes)
        conflicts = "Duplicates with another content than what is stored."
        yield counter("gateway_conflicts", conflicts, WHO, self.conflicts)
        unknown = "Duplicates whose stored event is gone, or was not found in time."
        yield counter("gateway_duplicates_not_compared", unknown, WHO, self.not_compared)
        drained = "Events moved from the spool to the store, by outcome."
        yield counter("gateway_spool_drained", drained, (*WHO, "outcome"), self.drained)
        refused = "Requests refused."
        yield counter("gateway_refused", refused, (*WHO, "reason"), self.refused)
        last = "When an event was last accepted."
        # Of a tenant that a reload took away no alert is to say that it is silent.
        times = {who: seconds for who, seconds in list(self.last.items()) if who in self.configured}
        yield gauge("gateway_last_event_timestamp_seconds", last, WHO, times)


def counter(name: str, meaning: str, labels: Labels, values: Values) -> Metric:
    """A counter with a value for each of some *labels*; its *name* gains ``_total``."""
    family = CounterMetricFamily(name, meaning, labels=labels)
    for names, value in list(values.items()):
        family.add_metric(names, value)
    return family


def gauge(name: str, meaning: str, labels: Labels, values: Values) -> Metric:
    """A gauge with a value for each of some *labels*."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for names, value in list(values.items()):
        family.add_metric(names, value)
    return family


class Each(Collector):
    """A gauge or counter with a value for each of some labels, read at each scrape."""

    def __init__(
        self,
        make: Callable[[str, str, Labels, Values], Metric],
        name: str,
        meaning: str,
        labels: Labels,
        read: Callable[[], Values],
    ) -> None:
        self._make = make
        self._described = name, meaning, labels
        self._read = read

    def collect(self) -> Iterable[Metric]:
        yield self._make(*self._described, self._read())


class Histograms(Collector):
    """A histogram for each value of a label."""

    def __init__(
        self, name: str, meaning: str, label: str, read: Callable[[], Mapping[str, Buckets]]
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._label = label
        self._read = read

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._meaning, labels=[self._label])
        for value, buckets in list(self._read().items()):
            family.add_metric([value], buckets.cumulative(), buckets.total)
        yield family
