"""The rows: each load once more with the gateway under it, beside its floor."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import payload
from benchmarks.load import REPEATED, Figures, Load, drive
from benchmarks.server import APPLICATION, POOL, Cost, Server, last_sequence, stored_after

_JSON = {"Content-Type": "application/json"}
_MOESIF = {**_JSON, "X-Moesif-Application-Id": APPLICATION}
_LOGSPACE = {**_JSON, "logspace.space-token": "development"}
_DEVICE = {**_JSON, "X-Moki-TenantAPIToken": "K1"}


@dataclass(frozen=True, slots=True)
class Row:
    """A load with a name; `floor` is the connections of the bare handler it is compared with."""

    name: str
    title: str
    load: Callable[[], Load]
    floor: int = 64
    lasts: int = 1
    """How many times as long as the others."""


def _singles(connections: int) -> Callable[[], Load]:
    return lambda: Load("/v1/events", _MOESIF, payload.moesif(), connections)


def _batches(connections: int, *, repeats: bool = False) -> Callable[[], Load]:
    def make() -> Load:
        template = payload.moesif()
        path = "/v1/events/batch"
        return Load(path, _MOESIF, template, connections, batch=100, repeats=repeats)

    return make


def _gzipped(connections: int) -> Callable[[], Load]:
    def make() -> Load:
        headers = {**_JSON, "Content-Encoding": "gzip"}
        path = "/v1/events/batch"
        return Load(path, headers, payload.moesif(), connections, batch=100, pool=POOL)

    return make


def _logspace(connections: int) -> Callable[[], Load]:
    def make() -> Load:
        template = payload.logspace()
        return Load("/events", _LOGSPACE, template, connections, batch=100, method="PUT")

    return make


def _device(connections: int) -> Callable[[], Load]:
    path = "/rest/v1/api/tenants/T1/devices/D1/events"
    return lambda: Load(path, _DEVICE, payload.device(), connections)


ROWS: tuple[Row, ...] = (
    Row("single-1", "Moesif events, 1 connection", _singles(1), floor=1),
    Row("single-64", "Moesif events, 64 connections", _singles(64)),
    Row("single-256", "Moesif events, 256 connections", _singles(256), floor=256),
    Row("batch-8", "Moesif batches of 100, 8 connections", _batches(8)),
    Row("batch-32", "Moesif batches of 100, 32 connections", _batches(32)),
    Row("gzip-8", "the same gzipped, 8 connections", _gzipped(8)),
    Row("duplicates-8", "the same with 10 % duplicates, 8 connections", _batches(8, repeats=True)),
    Row("logspace-8", "Logspace batches of 100, 8 connections", _logspace(8)),
    Row("device-64", "device events, 64 connections", _device(64)),
)

LONG: tuple[Row, ...] = (
    Row(
        "sustained-8", "batches of 100 for five times as long, 8 connections", _batches(8), lasts=5
    ),
)
"""Long enough for what a store does only now and then."""

FULL: tuple[Row, ...] = (
    Row("full-moesif", "Moesif batches of 100, 8 connections", _batches(8), lasts=4),
    Row("full-logspace", "Logspace batches of 100, 8 connections", _logspace(8), lasts=4),
    Row("full-device", "device events, 64 connections", _device(64), lasts=4),
)
"""Measured in turn on an empty store and on one that already holds ten million events.

They last longer, so that what a store does once in some hundred thousand events
is in the figures of both.
"""


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement of the gateway: what wrk saw, what it cost, and whether all of it is true."""

    events: float
    """Events acknowledged a second."""
    figures: Figures
    cost: Cost
    acknowledged: int
    rest: float
    """Seconds after its start until the gateway had nothing to do, and the load began."""
    before: int
    """The sequence of the newest event before: how many the store had ever taken."""
    faults: tuple[str, ...]

    def per_event(self, amount: float) -> float | None:
        """*amount* an event acknowledged, or None where there was none."""
        return amount / self.acknowledged if self.acknowledged else None


def measure(load: Load, folder: Path, seconds: float) -> Result:
    """Start a gateway on the store in *folder*, drive it at rest, stop it, count what it kept."""
    before = last_sequence(folder / "events.db")
    with Server(folder) as server:
        rest = server.await_rest()
        idle = server.cost()
        figures = drive(load, server.url, seconds, folder)
        cost = server.cost().since(idle)
    kept = stored_after(folder / "events.db", before)
    acknowledged = figures.requests * load.events
    return Result(
        events=figures.rate * load.events,
        figures=figures,
        cost=cost,
        acknowledged=acknowledged,
        rest=rest,
        before=before,
        faults=(*figures.faults, *_disproved(load, figures, cost, kept)),
    )


def _disproved(load: Load, figures: Figures, cost: Cost, kept: int) -> list[str]:
    """What the store says otherwise than wrk; requests in flight at the end may be either way."""
    faults = []
    new = load.events - (REPEATED if load.repeats else 0)
    least, in_flight = figures.requests * new, load.connections * load.events
    if not least <= kept <= least + in_flight + REPEATED:
        faults.append(f"{kept:,} kept of {least:,}")
    repeated = figures.requests * REPEATED if load.repeats else 0
    if abs(cost.duplicates - repeated) > (in_flight if load.repeats else 0):
        faults.append(f"{cost.duplicates:,} duplicates instead of {repeated:,}")
    if not figures.requests:
        faults.append("no answer")
    return faults
