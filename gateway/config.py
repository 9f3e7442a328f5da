"""TOML to frozen settings; the only reader of files and environment.

``${env:NAME}``, ``${file:PATH}`` and ``${cred:NAME}`` (a systemd credential)
stand for values that are kept elsewhere, anywhere in a string.
"""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from schemas import Invalid, Problem, Schema, Strict, Unreadable, dump, jsontext, load
from schemas.config import schema
from schemas.options import ContentOf, JsonFile, TokenFolder

_ELSEWHERE = re.compile(r"\$\{(env|file|cred):([^}]+)\}")


class Section:
    """A table of the configuration, frozen: options are attributes, and items; it iterates names.

    It is no Mapping, whose methods would hide options such as `keys`.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", {k: _frozen(v) for k, v in values.items()})

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name}: settings are frozen")

    def __repr__(self) -> str:
        # A section may hold secrets, and a repr ends in a log.
        return f"<settings: {', '.join(self._values)}>"


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Section(value)
    if isinstance(value, list):
        return tuple(_frozen(one) for one in value)
    return value


Also = Callable[[str, Section], Sequence[Problem]]
"""Finds what more is wrong with a table, given its name and itself."""


def read(path: Path, dialects: Mapping[str, type[Strict]], also: Also | None = None) -> Section:
    """Read the configuration at *path*; *also* as for `resolve`.

    Raises:
        ConfigError: with every fault of the file.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [Problem("", error.strerror or str(error))]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [Problem("", f"Not TOML: {error}")]) from None
    return resolve(document, dialects, str(path), also)


def resolve(
    document: Mapping[str, Any],
    dialects: Mapping[str, type[Strict]],
    file: str = "configuration",
    also: Also | None = None,
) -> Section:
    """Check a decoded configuration and freeze it, defaults filled in.

    *also* looks at each table that is good by itself, whatever is wrong with others.

    Raises:
        ConfigError: with every fault.
    """
    known = schema(dialects)
    problems: list[Problem] = []
    resolved = _resolve(document, "", problems)
    loaded: dict[str, Any] = {}
    try:
        loaded = load(known, resolved)
    except Invalid as error:
        problems.extend(error.problems)
        loaded = _good_tables(known, resolved)
    unread: list[Problem] = []
    _read_files(known, loaded, "", unread)
    problems.extend(unread)
    broken = {problem.path.partition(".")[0] for problem in unread}
    for name, table in loaded.items():
        if also is not None and name not in broken:
            problems.extend(problem.prefixed(name) for problem in also(name, Section(table)))
    if problems:
        raise ConfigError(file, problems)
    return Section(loaded)


def _good_tables(known: Schema, document: dict[str, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {}
    for name, option in known.fields.items():
        try:
            nested: Any = option
            good[name] = load(nested.schema, document.get(name, {}))
        except Invalid:
            continue
    return good


def _read_files(known: Schema, table: dict[str, Any], path: str, problems: list[Problem]) -> None:
    """Replace the paths of options that stand for files by what the files hold."""
    for name, option in known.fields.items():
        value, where = table.get(name), f"{path}.{name}" if path else name
        nested = getattr(getattr(option, "inner", option), "schema", None)
        if nested is not None and value is not None:
            many = isinstance(value, list)
            for at, one in enumerate(value if many else [value]):
                _read_files(nested, one, f"{where}[{at}]" if many else where, problems)
        elif isinstance(option, ContentOf) and value is not None:
            try:
                table[name] = _content(option, Path(value))
            except Invalid as error:
                problems.extend(problem.prefixed(where) for problem in error.problems)
            except Unreadable as error:
                problems.append(Problem(where, f"{value}: {error}"))
            except OSError as error:
                problems.append(Problem(where, f"{value}: {error.strerror}"))


def _content(option: ContentOf, path: Path) -> Any:
    if isinstance(option, JsonFile):
        document = jsontext.loads(jsontext.require_utf8(path.read_bytes(), bom=True))
        return dump(option.content, load(option.content, document))
    if isinstance(option, TokenFolder):
        if not path.is_dir():
            raise NotADirectoryError(0, "not a folder")
        return [_space(file) for file in sorted(path.rglob("*.space"))]
    raise NotImplementedError(option)


def _space(file: Path) -> dict[str, Any]:
    """A space as HQ keeps it: its name is the file's, and each line is a token or a comment."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(f"{file.name} is not UTF-8.") from None
    lines = map(str.strip, text.splitlines())
    return {"tenant": file.stem, "tokens": [line for line in lines if line[:1] not in ("", "#")]}


def _resolve(value: Any, path: str, problems: list[Problem]) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _resolve(one, f"{path}.{name}" if path else name, problems)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [_resolve(one, f"{path}[{at}]", problems) for at, one in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fetch(match: re.Match[str]) -> str:
        try:
            return _fetch(match[1], match[2])
        except (OSError, LookupError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error).strip("'")
            problems.append(Problem(path, f"{match[0]}: {reason}"))
            return match[0]

    return _ELSEWHERE.sub(fetch, value)


def _fetch(source: str, name: str) -> str:
    if source == "env":
        if name not in os.environ:
            raise LookupError("the variable is not set")
        return os.environ[name]
    if source == "cred":
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if folder is None:
            raise LookupError("systemd gave no credentials")
        return (Path(folder) / name).read_text(encoding="utf-8").rstrip("\n")
    return Path(name).read_text(encoding="utf-8").rstrip("\n")
