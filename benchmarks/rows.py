"""The rows: each load with its name, measured with the gateway under it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import payload
from benchmarks.load import REPEATED, Figures, Load, drive
from benchmarks.server import APPLICATION, Checkout, Cost, Server, last_sequence, stored_after

_JSON = {"Content-Type": "application/json"}
_MOESIF = {**_JSON, "X-Moesif-Application-Id": APPLICATION}
_LOGSPACE = {**_JSON, "logspace.space-token": "development"}
_DEVICE = {**_JSON, "X-Moki-TenantAPIToken": "K1"}


@dataclass(frozen=True, slots=True)
class Row:
    """A load with a name; *load* is made anew each time, so that its timestamps are of now."""

    name: str
    title: str
    load: Callable[[], Load]


def _single(connections: int) -> Callable[[], Load]:
    return lambda: Load("/v1/events", _MOESIF, payload.moesif(), connections)


def _batch(
    connections: int,
    *,
    make: Callable[[], str] = payload.moesif,
    path: str = "/v1/events/batch",
    count: int = 100,
    repeats: bool = False,
) -> Callable[[], Load]:
    return lambda: Load(path, _MOESIF, make(), connections, batch=count, repeats=repeats)


def _gzipped() -> Load:
    # Compressed once and sent again and again; without ids no event is a duplicate.
    template = payload.moesif().replace(f'"transaction_id":"{payload.MARK}",', "")
    return Load("/v1/events/batch", _MOESIF, template, 8, batch=100, gzipped=True)


def logspace(connections: int, template: str, count: int) -> Load:
    """Batches of Logspace events."""
    return Load("/events", _LOGSPACE, template, connections, batch=count, method="PUT")


def _device(connections: int) -> Callable[[], Load]:
    path = "/rest/v1/api/tenants/T1/devices/D1/events"
    return lambda: Load(path, _DEVICE, payload.device(), connections)


ROWS: tuple[Row, ...] = (
    Row("single-1", "Moesif events, 1 connection", _single(1)),
    Row("single-64", "Moesif events, 64 connections", _single(64)),
    Row("single-256", "Moesif events, 256 connections", _single(256)),
    Row("batch-8", "Moesif batches of 100, 8 connections", _batch(8)),
    Row("batch-32", "Moesif batches of 100, 32 connections", _batch(32)),
    Row("large-1", "Moesif batches of 12,000 (11.7 MiB), 1 connection", _batch(1, count=12_000)),
    Row("gzip-8", "as batch-8, gzipped, without ids", _gzipped),
    Row("duplicates-8", "as batch-8, 10 % duplicates", _batch(8, repeats=True)),
    Row("camel-8", "as batch-8, camelCase", _batch(8, make=payload.moesif_camel)),
    Row("numeric-8", "as batch-8, user_id is a number", _batch(8, make=payload.moesif_numeric)),
    Row(
        "users-8",
        "user profiles in batches of 100, 8 connections",
        _batch(8, make=payload.moesif_user, path="/v1/users/batch"),
    ),
    Row(
        "logspace-8",
        "Logspace batches of 100, 8 connections",
        lambda: logspace(8, payload.logspace(), 100),
    ),
    Row("device-64", "device events, 64 connections", _device(64)),
)


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement of the gateway: what wrk saw, what it cost, and what disagreed."""

    events: int
    """Events acknowledged."""
    figures: Figures
    cost: Cost
    faults: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Events acknowledged a second."""
        return self.events / self.figures.seconds

    @property
    def cpu(self) -> float:
        """Microseconds of the gateway's CPU for each event."""
        return self.cost.cpu * 1e6 / max(self.events, 1)


def measure(load: Load, folder: Path, seconds: float, checkout: Checkout) -> Result:
    """Start a gateway on the store in *folder*, drive it, stop it, count what it stored."""
    store = folder / "events.db"
    before = last_sequence(store)
    with Server(folder, checkout) as server:
        server.await_rest()
        idle = server.cost()
        figures = drive(load, server.url, seconds, folder)
        cost = server.cost().since(idle)
    faults = (*figures.faults, *_disagreements(load, figures, cost, stored_after(store, before)))
    return Result(figures.requests * load.events, figures, cost, faults)


def _disagreements(load: Load, figures: Figures, cost: Cost, stored: int) -> list[str]:
    """Where the store disagrees with wrk; requests in flight at the end may count or not."""
    faults = []
    repeated = REPEATED if load.repeats else 0
    least, in_flight = figures.requests * (load.events - repeated), load.connections * load.events
    if not least <= stored <= least + in_flight + repeated:
        faults.append(f"{stored:,} stored of {least:,}")
    duplicates = figures.requests * repeated
    if abs(cost.duplicates - duplicates) > (in_flight if load.repeats else 0):
        faults.append(f"{cost.duplicates:,} duplicates instead of {duplicates:,}")
    if not figures.requests:
        faults.append("no answer")
    return faults
