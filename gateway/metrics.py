"""What is counted, declared once.

Labels are configured names and closed lists, nothing of clients.
"""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.errors import Reason
from gateway.record import Outcome, Receipt

_WHO = ("dialect", "tenant")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000)


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        new = self.registry
        self._accepted = Counter("gateway_accepted", "Events stored.", _WHO, registry=new)
        self._duplicate = Counter(
            "gateway_duplicate", "Events that were kept already.", _WHO, registry=new
        )
        self._queued = Counter("gateway_queued", "Events spooled.", _WHO, registry=new)
        self._rejected = Counter("gateway_rejected", "Events quarantined.", _WHO, registry=new)
        self._bytes = Counter(
            "gateway_bytes", "Bytes of accepted bodies, inflated.", _WHO, registry=new
        )
        self._refused = Counter(
            "gateway_refused", "Requests refused.", (*_WHO, "reason"), registry=new
        )
        self._drained = Counter(
            "gateway_spool_drained",
            "Spooled events, by what became of them.",
            ("outcome",),
            registry=new,
        )
        self._commit_seconds = Histogram(
            "gateway_commit_seconds", "Latency of a group commit.", buckets=_SECONDS, registry=new
        )
        self._commit_events = Histogram(
            "gateway_commit_events", "Events in a group commit.", buckets=_EVENTS, registry=new
        )
        # A counter's children cost a lock and a dict of labels to find: each is found once.
        self._children: dict[tuple[str, str], tuple[Counter, ...]] = {}

    def committed(self, events: int, seconds: float) -> None:
        """A group was committed."""
        self._commit_events.observe(events)
        self._commit_seconds.observe(seconds)

    def accepted(self, dialect: str, tenant: str, receipt: Receipt, size: int) -> None:
        """A request succeeded; *size* is its body's, inflated."""
        children = self._children.get((dialect, tenant))
        if children is None:
            counters = (self._accepted, self._duplicate, self._queued, self._rejected, self._bytes)
            children = tuple(counter.labels(dialect, tenant) for counter in counters)
            self._children[dialect, tenant] = children
        stored, duplicate, queued, rejected, size_of = children
        for counter, outcome in (
            (stored, Outcome.STORED),
            (duplicate, Outcome.DUPLICATE),
            (queued, Outcome.QUEUED),
        ):
            count = receipt.count(outcome)
            if count:
                counter.inc(count)
        if receipt.rejected:
            rejected.inc(receipt.rejected)
        size_of.inc(size)

    def quarantined(self, dialect: str, tenant: str, events: int) -> None:
        """A request was refused after its content was quarantined."""
        self._rejected.labels(dialect, tenant).inc(events)

    def refused(self, dialect: str, tenant: str, reason: Reason) -> None:
        """A request was refused; *tenant* is empty where it is not known."""
        self._refused.labels(dialect, tenant, reason.value).inc()

    def drained(self, outcomes: Sequence[Outcome]) -> None:
        """Spooled events reached the store."""
        for outcome in set(outcomes):
            self._drained.labels(outcome.value).inc(outcomes.count(outcome))

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Publish what *read* gives at each scrape as the gauge ``gateway_<name>``."""
        Gauge(f"gateway_{name}", meaning, registry=self.registry).set_function(read)
