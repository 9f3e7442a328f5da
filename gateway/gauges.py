"""Tells metrics where to read what nobody counts: sizes, depths, and how near limits are."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.config import Settings
from gateway.intake.assembly import Assembly
from gateway.measuring import Measurements
from gateway.ops.metrics import Metrics
from gateway.retention import Retention
from gateway.store import Measured, Store
from gateway.stores import files_of
from gateway.stores.spool import Spool
from gateway.web.budget import Budget
from gateway.web.capacity import UNLIMITED, Capacity

_LIMIT = ("limit",)
_FILE = ("file",)


def watch_events(
    metrics: Metrics, store: Store, spool: Spool, assembly: Assembly, retention: Retention
) -> None:
    """Publish where events are, and what was deleted."""
    watch = metrics.watch
    watch("spool_depth", "Events in the spool.", lambda: spool.depth)
    unavailable = "1 while events go to the spool."
    watch("store_unavailable", unavailable, lambda: assembly.availability.unavailable)
    waiting = "Events waiting for the disk."
    watch("waiting_events", waiting, lambda: assembly.to_store.held_events)
    trimmed = "Quarantined records deleted to make room."
    metrics.watch_counts(
        "quarantine_trimmed", trimmed, ("dialect", "tenant"), lambda: dict(store.evicted)
    )
    expired = "Events deleted by retention."
    metrics.watch_counts("expired", expired, ("cause",), lambda: _expired(retention))
    commits = {"spool": spool.sync_seconds}
    if isinstance(store, Measured):
        commits["store"] = store.sync_seconds
    synced = "Until a commit of events was fsynced, without what comes before."
    metrics.watch_histograms("sync_seconds", synced, commits, "file")


def _expired(retention: Retention) -> Mapping[tuple[str, ...], float]:
    return {("age",): retention.by_age, ("size",): retention.by_size}


def watch_requests(
    metrics: Metrics, budget: Budget, skewed: Callable[[], Mapping[tuple[str, str, str], int]]
) -> None:
    """Publish what requests hold and wait for, and how many events have *skewed* clocks."""
    reserved = "Bytes that requests have reserved."
    metrics.watch_tenants("inflight_bytes", reserved, budget.by_tenant)
    answered = "Requests being answered."
    metrics.watch_tenants("inflight_requests", answered, budget.requests_by_tenant)
    far_off = "Events whose time is far from that of their receipt, repeats included."
    labels = ("dialect", "tenant", "direction")
    metrics.watch_counts("clock_skew_events", far_off, labels, skewed)
    backlog = budget.backlog
    pending = "How long what has arrived will take."
    metrics.watch("backlog_seconds", pending, lambda: backlog.seconds)
    metrics.watch("overloaded", "1 while requests are refused.", lambda: backlog.overloaded)


def watch_files(
    metrics: Metrics, store: Store, spool: Spool, settings: Settings, spool_file: Path
) -> Measurements:
    """Publish what files and disks have; close what is returned at the end."""
    files = {"spool": spool_file}
    for path in files_of(settings.store.url)[:1]:
        files["store"] = path
    found = Measurements(store, spool, files)
    metrics.before_scrape(found.refresh)
    sizes = "Size of the store, the spool and their logs."
    metrics.watch_each("file_bytes", sizes, _FILE, lambda: _labelled(found.file_bytes))
    free = "Free on the disk of this file."
    metrics.watch_each("disk_free_bytes", free, _FILE, lambda: _labelled(found.free_bytes))
    age = "For how long the oldest event of the spool has waited; 0 without one."
    metrics.watch("spool_oldest_seconds", age, lambda: _age(found.oldest))

    def read(name: str) -> Callable[[], float]:
        return lambda: getattr(found.store, name) if found.store is not None else 0

    if isinstance(store, Measured):
        metrics.watch("keys_in_memory", "Keys of events in memory.", read("keys_in_memory"))
        metrics.watch("key_runs", "Runs of keys in the store.", read("key_runs"))
        metrics.watch("quarantine_records", "Quarantined records.", read("rejected"))
        metrics.watch("quarantine_bytes", "Bytes of their text.", read("rejected_bytes"))
    return found


def _labelled(values: Mapping[str, float]) -> Mapping[tuple[str, ...], float]:
    return {(name,): value for name, value in values.items()}


def _age(oldest: float | None) -> float:
    return 0.0 if oldest is None else max(0.0, time.time() - oldest)


def watch_limits(
    metrics: Metrics,
    assembly: Assembly,
    spool: Spool,
    budget: Budget,
    current: Callable[[], Settings],
    capacity: Callable[[], Capacity | None],
) -> None:
    """Publish what is bounded, and its bound; what a reload changes, as it is then."""

    def connections() -> Capacity | None:
        found = capacity()
        return found if found is not None and found.most < UNLIMITED else None

    def used() -> Mapping[tuple[str, ...], float]:
        clients = connections()
        return {
            **({("connections",): clients.open} if clients else {}),
            ("waiting_events",): assembly.to_store.held_events,
            ("waiting_bytes",): assembly.to_store.held_bytes,
            ("inflight_bytes",): budget.held,
            ("tenant_inflight_bytes",): max(budget.by_tenant().values(), default=0),
            ("spool_events",): spool.depth,
        }

    def bounds() -> Mapping[tuple[str, ...], float]:
        settings, clients = current(), connections()
        return {
            **({("connections",): clients.most} if clients else {}),
            ("waiting_events",): settings.ingest.max_waiting_events,
            ("waiting_bytes",): settings.ingest.max_waiting_bytes,
            ("inflight_bytes",): budget.in_all,
            ("tenant_inflight_bytes",): budget.per_tenant,
            ("spool_events",): spool.max_events,
        }

    metrics.watch_each(
        "limit_used", "How much of a limit is used; of tenants, the most.", _LIMIT, used
    )
    metrics.watch_each("limit", "The configured limit.", _LIMIT, bounds)


def watch_connections(metrics: Metrics, capacity: Capacity) -> None:
    """Publish who is connected."""
    away = "Connections closed at once."
    metrics.watch_counts("turned_away", away, (), lambda: {(): capacity.turned_away})
    metrics.watch("connections", "Connections of clients.", lambda: capacity.open)
