"""The rows: each load with its name, measured with the gateway under it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import payload
from benchmarks.load import REPEATED, Figures, Load, drive
from benchmarks.server import APPLICATION, Checkout, running_gateway, stored

_JSON = {"Content-Type": "application/json"}
_MOESIF = {**_JSON, "X-Moesif-Application-Id": APPLICATION}
_LOGSPACE = {**_JSON, "logspace.space-token": "development"}
_DEVICE = {**_JSON, "X-Moki-TenantAPIToken": "K1"}


@dataclass(frozen=True, slots=True)
class Row:
    """A load with a name; *load* makes it when it is needed."""

    name: str
    title: str
    load: Callable[[], Load]


def _single(connections: int) -> Load:
    return Load("/v1/events", _MOESIF, payload.moesif(), connections)


def _batch(
    connections: int, count: int = 100, *, camel: bool = False, numeric: bool = False
) -> Load:
    template = payload.moesif(camel=camel, numeric=numeric)
    return Load("/v1/events/batch", _MOESIF, template, connections, count)


def _gzipped() -> Load:
    # The same bytes each time: without ids, no event is a duplicate.
    template = payload.moesif(with_id=False)
    return Load("/v1/events/batch", _MOESIF, template, 8, 100, gzipped=True)


def _repeating() -> Load:
    return Load("/v1/events/batch", _MOESIF, payload.moesif(), 8, 100, repeats=True)


def _users() -> Load:
    return Load("/v1/users/batch", _MOESIF, payload.moesif_user(), 8, 100)


def logspace(count: int = 100) -> Load:
    """Batches of Logspace events."""
    return Load("/events", _LOGSPACE, payload.logspace(), 8, count, method="PUT")


def _device() -> Load:
    path = "/rest/v1/api/tenants/T1/devices/D1/events"
    return Load(path, _DEVICE, payload.device(), 64)


ROWS: tuple[Row, ...] = (
    Row("single-1", "Moesif events, 1 connection", partial(_single, 1)),
    Row("single-64", "Moesif events, 64 connections", partial(_single, 64)),
    Row("single-256", "Moesif events, 256 connections", partial(_single, 256)),
    Row("batch-8", "Moesif batches of 100, 8 connections", partial(_batch, 8)),
    Row("batch-32", "Moesif batches of 100, 32 connections", partial(_batch, 32)),
    Row("large-1", "Moesif batches of 12,000, 11.7 MiB", partial(_batch, 1, 12_000)),
    Row("gzip-8", "as batch-8, gzipped, without ids", _gzipped),
    Row("duplicates-8", "as batch-8, 10 % duplicates", _repeating),
    Row("camel-8", "as batch-8, camelCase", partial(_batch, 8, camel=True)),
    Row("numeric-8", "as batch-8, user_id is a number", partial(_batch, 8, numeric=True)),
    Row("users-8", "Moesif user profiles, batches of 100", _users),
    Row("logspace-8", "Logspace batches of 100, 8 connections", logspace),
    Row("device-64", "device events, 64 connections", _device),
)


def measure(load: Load, folder: Path, seconds: float, checkout: Checkout) -> Figures:
    """Start a gateway on the store in *folder*, drive it, stop it, count what it stored."""
    before = stored(folder)
    with running_gateway(folder, checkout) as server:
        server.await_rest()
        figures = drive(load, server.url, server.pid, seconds, folder)
    kept = stored(folder) - before
    # Requests in flight at the end may be stored or not.
    repeated = REPEATED if load.repeats else 0
    least, in_flight = figures.requests * (load.events - repeated), load.connections * load.events
    if least <= kept <= least + in_flight + repeated:
        return figures
    return replace(figures, faults=(*figures.faults, f"{kept:,} stored of {least:,}"))
