"""Options that are paths, and whose values are made of what is there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas import Invalid, Problem, Schema, Unreadable
from schemas.options import FileOf, Folder, FolderOf, Parsed


def read_contents(known: Schema, document: dict[str, object], problems: list[Problem]) -> None:
    """Replace the path of each file or folder in *document* by what it holds, `Parsed`.

    A path that cannot be read is taken out, and added to *problems*. So is a `Folder`
    that is missing.
    """
    _read_table(known, document, "", problems)


def _read_table(known: Schema, table: object, path: str, problems: list[Problem]) -> None:
    if not isinstance(table, dict):
        return  # the schema says so
    for name, option in known.fields.items():
        value, where = table.get(name), f"{path}.{name}" if path else name
        nested = getattr(getattr(option, "inner", option), "schema", None)
        if nested is not None and isinstance(value, list):
            for at, one in enumerate(value):
                _read_table(nested, one, f"{where}[{at}]", problems)
        elif nested is not None:
            _read_table(nested, value, where, problems)
        elif isinstance(option, FileOf | FolderOf | Folder) and isinstance(value, str):
            try:
                table[name] = _parsed(option, Path(value))
            except (Invalid, Unreadable, OSError) as error:
                del table[name]
                problems.extend(problem.prefixed(where) for problem in _told(error, value))


def _parsed(option: FileOf[Any] | FolderOf[Any] | Folder, path: Path) -> Parsed[Any] | str:
    if isinstance(option, FileOf):
        return Parsed(option.parse(path.read_bytes()))
    if not path.is_dir():
        raise NotADirectoryError(0, "not a folder")
    if isinstance(option, Folder):
        return str(path)
    files = sorted(path.rglob(option.pattern))
    return Parsed(option.parse({file: file.read_bytes() for file in files}))


def _told(error: Invalid | Unreadable | OSError, path: str) -> Sequence[Problem]:
    if isinstance(error, Invalid):
        return error.problems
    reason = error.strerror if isinstance(error, OSError) else None
    return [Problem("", f"{path}: {reason or error}")]
