"""The operator's configuration as a whole: the tables that every gateway has, and the dialects'.

The table of a dialect is declared beside the dialect's documents. `schema` joins them.
"""

import dataclasses
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from marshmallow import fields

from schemas.base import Strict
from schemas.config import Ingest, Limits, Log, Ops, Quarantine, Retention, Server, Spool, Store
from schemas.options import Redaction
from schemas.table import Table, schema_of

TableT = TypeVar("TableT", bound=Table)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration, checked. `dialects` has the table of each dialect."""

    server: Server
    ops: Ops
    store: Store
    spool: Spool
    ingest: Ingest
    limits: Limits
    quarantine: Quarantine
    retention: Retention
    redact: Redaction
    log: Log
    dialects: Mapping[str, Table]

    def dialect(self, name: str, kind: type[TableT]) -> TableT:
        """The table of the dialect *name*, which is a *kind*.

        Raises:
            KeyError: there is no such dialect.
            TypeError: its table is not a *kind*.
        """
        found = self.dialects[name]
        if not isinstance(found, kind):
            raise TypeError(f"[{name}] is a {type(found).__qualname__}, not a {kind.__qualname__}.")
        return found

    def tables(self) -> dict[str, Table]:
        """Every table by its name."""
        return {name: getattr(self, name) for name in _TABLES} | dict(self.dialects)


_TABLES: dict[str, type[Table]] = {
    field.name: field.type
    for field in dataclasses.fields(Settings)
    if isinstance(field.type, type) and issubclass(field.type, Table)
}


def tables(dialects: Mapping[str, type[Table]]) -> dict[str, type[Table]]:
    """Every table of a whole file by its name, those of *dialects* included.

    Raises:
        ValueError: a dialect has the name of another table.
    """
    if taken := _TABLES.keys() & dialects.keys():
        raise ValueError(f"No dialect can be called {', '.join(sorted(taken))}.")
    return _TABLES | dict(dialects)


def schema(dialects: Mapping[str, type[Table]]) -> Strict:
    """The schema of a whole file; as for `tables`."""
    return _schema(tuple(tables(dialects).items()))


@cache
def _schema(kinds: tuple[tuple[str, type[Table]], ...]) -> Strict:
    nested: dict[str, Any] = {
        name: fields.Nested(schema_of(kind), required=True) for name, kind in kinds
    }
    made = Strict.from_dict(nested, name="Configuration")
    assert issubclass(made, Strict)
    return made()


def settings(loaded: Mapping[str, Table]) -> Settings:
    """The settings whose tables *loaded* has by name; what some take from others is added."""
    common: dict[str, Any] = {name: loaded[name] for name in _TABLES}
    dialects = {
        name: table.completed(loaded) for name, table in loaded.items() if name not in _TABLES
    }
    return Settings(**common, dialects=MappingProxyType(dialects))
