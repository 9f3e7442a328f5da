"""The steps from a TOML file to settings: parse, interpolate, read files, check."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from gateway.config.contents import read_contents
from gateway.config.interpolation import interpolate
from gateway.errors import ConfigError
from schemas import Invalid, Problem, load
from schemas.settings import Settings, schema, settings, tables
from schemas.table import Table, schema_of

ExtraChecks = Callable[[str, Table], Sequence[Problem]]
"""Finds more problems of a table, given its name and itself."""

Overrides: TypeAlias = Mapping[str, Mapping[str, object]]
"""Options that count in place of what the file says, by the names of table and option."""


def read(
    path: Path,
    dialects: Mapping[str, type[Table]],
    extra_checks: ExtraChecks | None = None,
    overrides: Overrides = MappingProxyType({}),
) -> Settings:
    """Read the configuration at *path*; the rest as for `resolve`.

    Raises:
        ConfigError: with every problem of the file.
    """
    document = parse(path)
    for name, options in overrides.items():
        written = document.get(name, {})
        if isinstance(written, dict):
            document[name] = {**written, **options}
    return resolve(document, dialects, str(path), extra_checks)


def parse(path: Path) -> dict[str, Any]:  # Any: whatever TOML holds
    """The TOML file at *path* as it is written.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [Problem("", error.strerror or str(error))]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [Problem("", f"Not TOML: {error}")]) from None


def resolve(
    document: Mapping[str, object],
    dialects: Mapping[str, type[Table]],
    file: str = "configuration",
    extra_checks: ExtraChecks | None = None,
) -> Settings:
    """Check a decoded configuration and return it as typed settings, defaults filled in.

    *dialects* has the type of each dialect's table. *extra_checks* runs on each table
    that has no problem of its own, even where other tables have some.

    Raises:
        ConfigError: with every problem.
    """
    problems: list[Problem] = []
    complete: dict[str, object] = {name: {} for name in tables(dialects)}
    complete |= interpolate(document, problems)
    read_contents(schema(dialects), complete, problems)
    unread = {problem.path.partition(".")[0] for problem in problems}
    good = _load_tables(dialects, complete, problems)
    for name, table in good.items():
        if extra_checks is not None and name not in unread:
            problems.extend(problem.prefixed(name) for problem in extra_checks(name, table))
    if problems:
        raise ConfigError(file, problems)
    return settings(good)


def _load_tables(
    dialects: Mapping[str, type[Table]], document: Mapping[str, object], problems: list[Problem]
) -> Mapping[str, Table]:
    """The tables that are good by themselves, whatever is wrong with others."""
    try:
        loaded: Mapping[str, Table] = load(schema(dialects), document)
    except Invalid as error:
        problems.extend(error.problems)
    else:
        return loaded
    good: dict[str, Table] = {}
    for name, kind in tables(dialects).items():
        with suppress(Invalid):
            good[name] = load(schema_of(kind)(), document[name])
    return good
