"""The metrics, declared once.

Labels are configured names and members of closed lists, never text of clients.
"""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from gateway import __version__
from gateway.buckets import Buckets, WaitingBuckets
from gateway.errors import Reason
from gateway.ops.collectors import WHO, Each, EventCounts, Histograms, Labels, Values
from gateway.ops.collectors import counter as counter_of
from gateway.ops.collectors import gauge as gauge_of
from gateway.record import EventRecord, Outcome

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000)
_REQUEST_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)
_BODY_BYTES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 24)

# Refusals that are shown from the start, with 0: an alert sees no growth of a series that begins.
_OF_TENANTS = (Reason.OVERLOADED, Reason.UNAVAILABLE, Reason.INTERNAL)
_OF_NOBODY = (Reason.CREDENTIAL_MISSING, Reason.CREDENTIAL_UNKNOWN)

_LAG_INTERVAL = 0.05

_Waiting = tuple[Callable[[float], None], Callable[[float], None]]
"""What takes the duration of a request, and the size of its body."""


class Metrics:
    """The gateway's metrics, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        new = self.registry
        # The time at which each series was created tells nothing, and doubles the page.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=new)
        Info("gateway_build", "What runs.", registry=new).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self._counts = EventCounts()
        new.register(self._counts)
        self._answered: dict[str, _Waiting] = {}
        self._answer_seconds: dict[str, WaitingBuckets] = {}
        self._body_bytes: dict[str, WaitingBuckets] = {}
        self.watch_histograms(
            "request_seconds",
            "From a request's head to its answer.",
            self._answer_seconds,
            "dialect",
        )
        self.watch_histograms(
            "request_body_bytes", "Bodies after decompression.", self._body_bytes, "dialect"
        )
        self._preparing: list[Callable[[], Awaitable[None]]] = []
        self._commit_seconds = Histogram(
            "gateway_commit_seconds", "Latency of a group commit.", buckets=_SECONDS, registry=new
        )
        self._commit_events = Histogram(
            "gateway_commit_events", "Events in a group commit.", buckets=_EVENTS, registry=new
        )

        self._loop_lag = Histogram(
            "gateway_loop_lag_seconds",
            "Delay of the event loop.",
            buckets=_SECONDS,
            registry=new,
        )

        self._reloads = Counter(
            "gateway_config_reloads",
            "Reloads of the configuration, by result.",
            ("result",),
            registry=new,
        )
        for result in ("success", "failure"):
            self._reloads.labels(result)
        self._reload_successful = Gauge(
            "gateway_config_last_reload_successful",
            "1 if the last reload of the configuration succeeded, or none was tried.",
            registry=new,
        )
        self._reload_successful.set(1)
        self._configured_at = Gauge(
            "gateway_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was read.",
            registry=new,
        )
        self._config_hash = Gauge(
            "gateway_config_hash", "48 bits of a hash of the configuration in use.", registry=new
        )

    def configured(self, fingerprint: int, tenants: Iterable[tuple[str, str]]) -> None:
        """A configuration with this *fingerprint* and these *tenants* is in use from now on.

        Tenants are a dialect and a name. Each has its series, with 0 if it sends nothing:
        else no alert could tell that.
        """
        self._counts.configured = known = dict.fromkeys(tenants)
        for who in known:
            self._counts.expect(who)
            self._expect_dialect(who[0])
            for reason in _OF_TENANTS:
                self._counts.refused[*who, reason.value] += 0
            for reason in _OF_NOBODY:
                self._counts.refused[who[0], "", reason.value] += 0
        self._configured_at.set_to_current_time()
        self._config_hash.set(fingerprint)

    def _expect_dialect(self, dialect: str) -> _Waiting:
        took, sizes = WaitingBuckets(_REQUEST_SECONDS), WaitingBuckets(_BODY_BYTES)
        took = self._answer_seconds.setdefault(dialect, took)
        sizes = self._body_bytes.setdefault(dialect, sizes)
        return self._answered.setdefault(dialect, (took.waiting.append, sizes.waiting.append))

    def answered(self, dialect: str, seconds: float, size: int) -> None:
        """Record how long a request took, and the *size* of its body in bytes.

        *dialect* is empty where the address is nobody's.
        """
        waiting = self._answered.get(dialect)
        took, sizes = self._expect_dialect(dialect) if waiting is None else waiting
        took(seconds)
        sizes(size)

    def _fold(self) -> None:
        for histograms in (self._answer_seconds, self._body_bytes):
            for buckets in histograms.values():
                buckets.fold()

    def reloaded(self, *, success: bool) -> None:
        """The configuration was read again; without *success* the former one stays in use."""
        self._reloads.labels("success" if success else "failure").inc()
        self._reload_successful.set(success)

    async def watch_loop(self) -> None:
        """Observe the event loop's lag, twenty times a second, until cancelled.

        Requests are counted by their duration and size then too.
        """
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL
            await asyncio.sleep(_LAG_INTERVAL)
            self._loop_lag.observe(max(0.0, loop.time() - due))
            self._fold()

    def committed(self, events: int, seconds: float) -> None:
        """Record the size and the duration of a committed group."""
        self._commit_events.observe(events)
        self._commit_seconds.observe(seconds)

    def accepted(
        self,
        dialect: str,
        tenant: str,
        tally: Sequence[tuple[Outcome, int]],
        rejected: int,
        size: int,
    ) -> None:
        """Count a successful request: its events by outcome, and its rejected ones.

        *size* is that of its body after decompression.
        """
        who = (dialect, tenant)
        counts = self._counts
        events = counts.events.get(who)
        if events is None:
            events = counts.expect(who)
        for outcome, count in tally:
            events[outcome] += count
        if rejected:
            counts.rejected[who] += rejected
        counts.bytes[who] += size
        counts.last[who] = time.time()

    def accepted_before(self, dialect: str, tenant: str, seconds: float) -> None:
        """An event of an earlier life of the gateway was accepted at that time, in Unix seconds."""
        self._counts.last.setdefault((dialect, tenant), seconds)

    def quarantined(self, dialect: str, tenant: str, events: int) -> None:
        """Count events of a request that was refused after they were quarantined."""
        self._counts.rejected[dialect, tenant] += events

    def compared(
        self, conflicts: Mapping[tuple[str, str], int], unknown: Mapping[tuple[str, str], int]
    ) -> None:
        """Count duplicates with another content, and those that were not compared."""
        for who, count in conflicts.items():
            self._counts.conflicts[who] += count
        for who, count in unknown.items():
            self._counts.not_compared[who] += count

    def refused(self, dialect: str, tenant: str, reason: Reason) -> None:
        """Count a refused request; *tenant* is empty if it is unknown."""
        self._counts.refused[dialect, tenant, reason.value] += 1

    def malformed(self) -> None:
        """The HTTP parser refused a request, before anyone could know whose it is."""
        self._counts.refused["", "", "malformed"] += 1

    def drained(self, records: Sequence[EventRecord], outcomes: Sequence[Outcome]) -> None:
        """Count events that moved from the spool to the store."""
        for record, outcome in zip(records, outcomes, strict=True):
            self._counts.drained[record.dialect, record.tenant, outcome.value] += 1

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Publish what *read* returns at each scrape as the gauge ``gateway_<name>``."""
        Gauge(f"gateway_{name}", meaning, registry=self.registry).set_function(read)

    def watch_each(
        self, name: str, meaning: str, labels: Labels, read: Callable[[], Values]
    ) -> None:
        """As `watch`, with a value for each of some *labels*."""
        self.registry.register(Each(gauge_of, f"gateway_{name}", meaning, labels, read))

    def watch_tenants(
        self, name: str, meaning: str, read: Callable[[], Mapping[tuple[str, str], float]]
    ) -> None:
        """As `watch`, with a value for each dialect and tenant."""
        self.watch_each(name, meaning, WHO, read)

    def watch_counts(
        self, name: str, meaning: str, labels: Labels, read: Callable[[], Values]
    ) -> None:
        """As `watch_each`, for the counter ``gateway_<name>_total``."""
        self.registry.register(Each(counter_of, f"gateway_{name}", meaning, labels, read))

    def watch_histograms(
        self, name: str, meaning: str, buckets: Mapping[str, Buckets], label: str
    ) -> None:
        """Publish *buckets* by the values of *label* as the histogram ``gateway_<name>``."""
        self.registry.register(Histograms(f"gateway_{name}", meaning, label, lambda: buckets))

    def before_scrape(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Await *prepare* before each scrape. It must not take long."""
        self._preparing.append(prepare)

    async def prepare(self) -> None:
        """Have what a scrape shows ready."""
        for prepare in self._preparing:
            await prepare()
        self._fold()
