"""What a configuration allows, and the operator should know: warnings of ``gateway check``."""

from collections.abc import Iterable, Iterator

from schemas import Problem
from schemas.addresses import is_loopback
from schemas.config import Settings
from schemas.options import FolderOf, Secret
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


def _weak_credentials(secrets: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    for path, secret in secrets:
        if secret in EXAMPLES:
            yield Problem(path, "A credential of the example; `gateway token` makes another one.")
        elif len(secret) < LEAST:
            yield Problem(path, f"A credential of fewer than {LEAST} characters can be guessed.")


def _tables(path: str, table: Table) -> Iterator[tuple[str, Table]]:
    """*table* and those within it, with their paths."""
    yield path, table
    for name, field, value in table.options():
        where = f"{path}.{name}"
        if isinstance(value, Table):
            yield from _tables(where, value)
        elif isinstance(value, tuple):
            for at, one in enumerate(value):
                if isinstance(one, Table):
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
