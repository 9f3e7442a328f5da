"""The rows: each load with its name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks import payload
from benchmarks.gateway import APPLICATION
from benchmarks.load import Load

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


def single(connections: int) -> Load:
    """Moesif events, one in a request."""
    return Load("/v1/events", _MOESIF, payload.moesif(), connections)


def _batch(connections: int = 8, batch: int = 100, **form: bool) -> Load:
    return Load("/v1/events/batch", _MOESIF, payload.moesif(**form), connections, batch)


def logspace(batch: int = 100) -> Load:
    """Batches of Logspace events."""
    return Load("/events", _LOGSPACE, payload.logspace(), 8, batch, method="PUT")


_EVENTS = "/rest/v1/api/tenants/T1/devices/D1/events"

ROWS: tuple[Row, ...] = (
    Row("single-1", "Moesif events, 1 connection", lambda: single(1)),
    Row("single-64", "Moesif events, 64 connections", lambda: single(64)),
    Row("single-256", "Moesif events, 256 connections", lambda: single(256)),
    Row("batch-8", "Moesif batches of 100, 8 connections", _batch),
    Row("batch-32", "Moesif batches of 100, 32 connections", lambda: _batch(32)),
    Row("large-1", "Moesif batches of 12,000, 11.7 MiB", lambda: _batch(1, 12_000)),
    # The same bytes each time: without ids, no event is a duplicate.
    Row(
        "gzip-8",
        "as batch-8, gzipped, without ids",
        lambda: replace(_batch(with_id=False), gzipped=True),
    ),
    Row("duplicates-8", "as batch-8, 10 % duplicates", lambda: replace(_batch(), repeats=True)),
    Row("camel-8", "as batch-8, camelCase", lambda: _batch(camel=True)),
    Row("numeric-8", "as batch-8, user_id is a number", lambda: _batch(numeric=True)),
    Row(
        "users-8",
        "Moesif user profiles, batches of 100",
        lambda: Load("/v1/users/batch", _MOESIF, payload.moesif_user(), 8, 100),
    ),
    Row("logspace-8", "Logspace batches of 100, 8 connections", logspace),
    Row(
        "device-64",
        "device events, 64 connections",
        lambda: Load(_EVENTS, _DEVICE, payload.device(), 64),
    ),
)


def row(name: str) -> Row:
    """The row of that name."""
    return next(one for one in ROWS if one.name == name)
