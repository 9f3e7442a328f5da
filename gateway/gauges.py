"""Gauges: what the metrics read of the gateway's parts when they are asked."""

from collections.abc import Callable, Mapping

from gateway.intake.assembly import Assembly
from gateway.ops.metrics import Metrics
from gateway.retention import Retention
from gateway.store import Store
from gateway.stores.spool import Spool
from gateway.web.budget import Budget
from gateway.web.capacity import Capacity


def watch_events(
    metrics: Metrics, store: Store, spool: Spool, assembly: Assembly, retention: Retention
) -> None:
    """Publish where events are, and what was deleted."""
    watch, availability = metrics.watch, assembly.availability
    watch("spool_depth", "Events in the spool.", lambda: spool.depth)
    watch("store_unavailable", "1 while events go to the spool.", lambda: availability.unavailable)
    watch("waiting_events", "Events waiting for the disk.", lambda: assembly.to_store.held_events)
    metrics.watch_tenants(
        "quarantine_trimmed", "Quarantined records deleted.", lambda: dict(store.evicted)
    )
    watch("expired_by_age", "Events deleted because of their age.", lambda: retention.by_age)
    watch("expired_by_size", "Events deleted to make room.", lambda: retention.by_size)


def watch_requests(
    metrics: Metrics, budget: Budget, skewed: Callable[[], Mapping[tuple[str, str, str], int]]
) -> None:
    """Publish what requests hold and wait for, and how many events have *skewed* clocks."""
    backlog = budget.backlog
    metrics.watch_tenants("inflight_bytes", "Bytes that requests have reserved.", budget.by_tenant)
    metrics.watch_tenants(
        "inflight_requests", "Requests being answered.", budget.requests_by_tenant
    )
    metrics.watch_clocks(skewed)
    metrics.watch(
        "backlog_seconds", "How long what has arrived will take.", lambda: backlog.seconds
    )
    metrics.watch("overloaded", "1 while requests are refused.", lambda: backlog.overloaded)


def watch_connections(metrics: Metrics, capacity: Capacity) -> None:
    """Publish who is connected, and who was not let in."""
    metrics.watch("turned_away", "Connections closed at once.", lambda: capacity.turned_away)
    metrics.watch("connections", "Connections of clients.", lambda: capacity.open)
