"""How a known client of each dialect speaks, from the golden files of the dialect.

``tests/golden/DIALECT/config.toml`` is the dialect's table of a configuration, and
``contract.toml`` a `Contract` for a gateway with it.
"""

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from gateway.adapter import AnyAdapter
from gateway.adapters import ADAPTERS
from tests.tiny import TinyAdapter

GOLDEN = Path(__file__).parent / "golden"

EVERY: tuple[type[AnyAdapter], ...] = (*ADAPTERS, TinyAdapter)
"""The registered adapters, and the one that shows what a new one takes."""


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a batch: its events with commas between them, after `head` and before `tail`.

    `answer` is the JSON text that accepts an empty batch; empty for no body.
    """

    head: str
    tail: str
    answer: str = ""

    def of(self, *events: str) -> bytes:
        return f"{self.head}{','.join(events)}{self.tail}".encode()


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client of one dialect: where it sends what, as whom, and the answers that it knows.

    Attributes:
        method, path, body: a request with one event, which is JSON text.
        credential: the one header with which the request is admitted.
        headers: further headers that every request of a client has.
        params: known values for the parameters of the dialect's addresses.
        success, unauthorized, slow: the statuses of its answers; the last one where a body does
            not arrive in time.
        error: members that the body of every refusal has.
        tenant, kind: what is stored of the event.
        batch: how it writes batches, if it does.
        batches: how it writes them at addresses that differ in this, by the address's end.
    """

    method: str
    path: str
    body: str
    credential: dict[str, str]
    success: int
    unauthorized: int
    error: set[str]
    tenant: str
    kind: str
    slow: int = 408
    headers: dict[str, str] = {}
    params: dict[str, str] = {}
    batch: Batch | None = None
    batches: dict[str, Batch] = {}

    def batch_at(self, path: str) -> Batch | None:
        """How batches are written at an address."""
        own = (batch for end, batch in self.batches.items() if path.endswith(end))
        return next(own, self.batch)

    @property
    def sent(self) -> dict[str, str]:
        """The headers of a request."""
        return {**self.headers, **self.credential}

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def filled(self, path: str) -> str:
        """An address with known values for its parameters."""
        for name, value in self.params.items():
            path = path.replace(f"{{{name}}}", value)
        assert "{" not in path, f"contract.toml has no value for a parameter of {path}."
        return path


def contract(dialect: str) -> Contract:
    text = (GOLDEN / dialect / "contract.toml").read_text()
    return msgspec.toml.decode(text, type=Contract)


def config_text(adapters: Iterable[type[AnyAdapter]] = ADAPTERS) -> str:
    """The tables of dialects, as an operator writes them."""
    return "\n".join((GOLDEN / one.dialect / "config.toml").read_text() for one in adapters)


def config_of(adapters: Iterable[type[AnyAdapter]] = ADAPTERS) -> dict[str, Any]:
    return tomllib.loads(config_text(adapters))


CONTRACTS = {adapter.dialect: contract(adapter.dialect) for adapter in EVERY}
"""Those of every dialect; the small test dialect is not served by default."""

REGISTERED = sorted(adapter.dialect for adapter in ADAPTERS)

[CALL] = CONTRACTS["moesif"].document
[READING] = CONTRACTS["logspace"].document
REPORT = CONTRACTS["device"].document
