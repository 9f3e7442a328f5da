"""The metrics, declared once.

Labels are configured names and members of closed lists, never text of clients.
"""

import asyncio
import collections
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.errors import Reason
from gateway.record import Outcome

_WHO = ("dialect", "tenant")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000)


_LAG_INTERVAL = 0.05

_EVENTS_OF = {
    Outcome.STORED: ("gateway_accepted", "Events stored."),
    Outcome.DUPLICATE: ("gateway_duplicate", "Events that were stored before."),
    Outcome.QUEUED: ("gateway_queued", "Events spooled."),
}


class _EventCounts(Collector):
    """Counts of events by dialect and tenant, turned into metrics when they are scraped.

    A counter of the client library takes a lock for each increment. That is not needed
    here, because only the event loop's thread counts.
    """

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], dict[Outcome, int]] = {}
        self.rejected: dict[tuple[str, str], int] = {}
        self.bytes: dict[tuple[str, str], int] = {}
        self.conflicts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.not_compared: collections.Counter[tuple[str, str]] = collections.Counter()
        self.last: dict[tuple[str, str], float] = {}

    def expect(self, who: tuple[str, str]) -> dict[Outcome, int]:
        """Have all series of a dialect and a tenant, with 0 where nothing was counted."""
        self.rejected.setdefault(who, 0)
        self.bytes.setdefault(who, 0)
        self.conflicts[who] += 0
        self.not_compared[who] += 0
        return self.events.setdefault(who, dict.fromkeys(Outcome, 0))

    def collect(self) -> Iterable[Metric]:
        for outcome, (name, text) in _EVENTS_OF.items():
            counts = {who: by_outcome.get(outcome, 0) for who, by_outcome in self.events.items()}
            yield _family(name, text, counts)
        yield _family(
            "gateway_rejected",
            "Invalid events and unreadable bodies sent to quarantine, repeats included.",
            self.rejected,
        )
        yield _family("gateway_bytes", "Bytes of accepted bodies after decompression.", self.bytes)
        yield _family(
            "gateway_conflicts",
            "Duplicates with another content than what is stored.",
            self.conflicts,
        )
        yield _family(
            "gateway_duplicates_not_compared",
            "Duplicates whose stored event is gone, or was not found in time.",
            self.not_compared,
        )
        last = GaugeMetricFamily(
            "gateway_last_event_timestamp_seconds", "When an event was last accepted.", labels=_WHO
        )
        for who, seconds in self.last.items():
            last.add_metric(who, seconds)
        yield last


def _family(name: str, text: str, counts: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=_WHO)
    for who, count in counts.items():
        family.add_metric(who, count)
    return family


class _ByTenant(Collector):
    """A gauge of each tenant, read at each scrape."""

    def __init__(
        self, name: str, meaning: str, read: Callable[[], Mapping[tuple[str, str], float]]
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._read = read

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._meaning, labels=_WHO)
        for who, value in self._read().items():
            family.add_metric(who, value)
        yield family


class _ClockSkew(Collector):
    """Events with a clock far off, read at each scrape."""

    def __init__(self, read: Callable[[], Mapping[tuple[str, str, str], int]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "gateway_clock_skew_events",
            "Events whose time is far from that of their receipt, repeats included.",
            labels=(*_WHO, "direction"),
        )
        for labels, count in self._read().items():
            family.add_metric(labels, count)
        yield family


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
        self._counts = _EventCounts()
        new.register(self._counts)
        self._refused = Counter(
            "gateway_refused", "Requests refused.", (*_WHO, "reason"), registry=new
        )
        self._drained = Counter(
            "gateway_spool_drained",
            "Events moved from the spool to the store, by outcome.",
            ("outcome",),
            registry=new,
        )
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
        for who in tenants:
            self._counts.expect(who)
        self._configured_at.set_to_current_time()
        self._config_hash.set(fingerprint)

    def reloaded(self, *, success: bool) -> None:
        """The configuration was read again; without *success* the former one stays in use."""
        self._reloads.labels("success" if success else "failure").inc()

    async def watch_loop(self) -> None:
        """Observe the event loop's lag, twenty times a second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL
            await asyncio.sleep(_LAG_INTERVAL)
            self._loop_lag.observe(max(0.0, loop.time() - due))

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
        rejected = self._counts.rejected
        rejected[dialect, tenant] = rejected.get((dialect, tenant), 0) + events

    def compared(
        self, conflicts: Mapping[tuple[str, str], int], unknown: Mapping[tuple[str, str], int]
    ) -> None:
        """Count duplicates with another content, and those that were not compared."""
        for counts, more in (
            (self._counts.conflicts, conflicts),
            (self._counts.not_compared, unknown),
        ):
            for who, count in more.items():
                counts[who] += count

    def refused(self, dialect: str, tenant: str, reason: Reason) -> None:
        """Count a refused request; *tenant* is empty if it is unknown."""
        self._refused.labels(dialect, tenant, reason.value).inc()

    def malformed(self) -> None:
        """The HTTP parser refused a request, before anyone could know whose it is."""
        self._refused.labels("", "", "malformed").inc()

    def drained(self, outcomes: Sequence[Outcome]) -> None:
        """Count events that moved from the spool to the store."""
        for outcome in set(outcomes):
            self._drained.labels(outcome.value).inc(outcomes.count(outcome))

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Publish what *read* returns at each scrape as the gauge ``gateway_<name>``."""
        Gauge(f"gateway_{name}", meaning, registry=self.registry).set_function(read)

    def watch_clocks(self, read: Callable[[], Mapping[tuple[str, str, str], int]]) -> None:
        """Publish events with a clock far off: *read* has them by dialect, tenant, direction."""
        self.registry.register(_ClockSkew(read))

    def watch_tenants(
        self, name: str, meaning: str, read: Callable[[], Mapping[tuple[str, str], float]]
    ) -> None:
        """As `watch`, for a gauge of each dialect and tenant that *read* returns."""
        self.registry.register(_ByTenant(f"gateway_{name}", meaning, read))
