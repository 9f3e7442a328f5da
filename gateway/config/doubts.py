"""What a configuration allows, and the operator should know: warnings of ``gateway check``."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import chain

from schemas import Problem
from schemas.addresses import is_loopback
from schemas.options import FolderOf, Secret, TenantTable
from schemas.settings import Settings
from schemas.table import Table

EXAMPLES = (
    "example-0123456789abcdef0123456789abcdef0123456789abcdef01234567",
    "development",
    "K1",
)
"""The credentials of config.example.toml, which everybody knows."""

LEAST = 16
"""Characters of a credential that nobody guesses."""

MOST = 20
"""Warnings of one sort that are told one by one."""


def find_doubts(settings: Settings) -> list[Problem]:
    """Everything in *settings* that is allowed, and that the operator should know."""
    found: list[Problem] = []
    weak: list[Problem] = []
    for name, table in settings.tables().items():
        for path, one in _tables(name, table):
            found.extend(problem.prefixed(path) for problem in one.find_doubts())
        weak.extend(_weak_credentials(_secrets(name, table)))
    found += _strangers(settings)
    found += weak[:MOST]
    if len(weak) > MOST:
        found.append(Problem("", f"{len(weak) - MOST} more credentials are as weak."))
    return found


def find_open_examples(settings: Settings) -> Iterator[Problem]:
    """Credentials of the example where other machines can reach the listener."""
    if is_loopback(settings.server.listen):
        return
    for name, table in settings.tables().items():
        for path, secret in _secrets(name, table):
            if secret in EXAMPLES:
                yield Problem(
                    path,
                    "This credential of the example is known to everybody, and [server] listen "
                    "is open to other machines. `gateway token` makes another one.",
                )


def _strangers(settings: Settings) -> Iterator[Problem]:
    """Rules of retention for a tenant that is not configured: what it has sent may be stored."""
    known = {
        name: [one.tenant for _, one in _tables(name, table) if isinstance(one, TenantTable)]
        for name, table in settings.dialects.items()
    }
    for at, rule in enumerate(settings.retention.rules):
        chosen = known.values() if rule.dialect is None else [known.get(rule.dialect, [])]
        tenants = set(chain.from_iterable(chosen))
        if rule.tenant is not None and rule.tenant not in tenants:
            similar = get_close_matches(rule.tenant, sorted(tenants), 1)
            meant = f"; did you mean '{similar[0]}'?" if similar else "."
            where = "anywhere" if rule.dialect is None else f"in [{rule.dialect}]"
            message = f"No tenant '{rule.tenant}' is configured {where}{meant}"
            yield Problem(f"retention.rules[{at}].tenant", message)


def _weak_credentials(secrets: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    for path, secret in secrets:
        if secret in EXAMPLES:
            yield Problem(path, "A credential of the example; `gateway token` makes another one.")
        elif len(secret) < LEAST:
            yield Problem(path, f"A credential of fewer than {LEAST} characters can be guessed.")


def _tables(path: str, table: Table) -> Iterator[tuple[str, Table]]:
    """*table* and those that are written within it, with their paths."""
    yield path, table
    for name, field, value in table.options():
        where = f"{path}.{name}"
        if isinstance(value, Table):
            yield from _tables(where, value)
        elif isinstance(value, tuple):
            for at, one in enumerate(value):
                if isinstance(one, Table) and one.written:
                    # What a folder holds has no place in the file of the configuration.
                    step = "" if isinstance(field, FolderOf) else f"[{at}]"
                    yield from _tables(f"{where}{step}", one)


def _secrets(path: str, table: Table) -> Iterator[tuple[str, str]]:
    """Every credential within *table*, with its path."""
    for where, one in _tables(path, table):
        for name, field, value in one.options():
            if isinstance(field, Secret):
                yield f"{where}.{name}", value
            elif isinstance(getattr(field, "inner", None), Secret):
                yield from ((f"{where}.{name}[{at}]", secret) for at, secret in enumerate(value))
