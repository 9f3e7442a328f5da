"""Problems of a configuration, as the operator reads them."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.config.interpolation import references
from gateway.config.positions import find, positions
from schemas import Problem


class Placed(NamedTuple):
    """A problem, and where it is in its file: line and column begin at 1, and may be unknown."""

    file: str
    line: int | None
    column: int | None
    path: str
    message: str

    def __str__(self) -> str:
        """``file:line:column: option: message``."""
        place = ":".join(str(part) for part in self[:3] if part is not None)
        return ": ".join(part for part in (place, self.path, self.message) if part)


def report(file: str | Path, problems: Sequence[Problem]) -> list[str]:
    """A line for each of *problems* of *file*, as `place` finds them."""
    return [str(one) for one in place(file, problems)]


def place(file: str | Path, problems: Sequence[Problem]) -> list[Placed]:
    """*problems* of *file* with their places, in the order of the file.

    A message may quote a value, and the value may be a secret that is kept elsewhere: it
    is shown as the reference that stands for it.
    """
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8")
        hidden = references(tomllib.loads(text))
        known = positions(text)
    except (OSError, ValueError):
        hidden, known = {}, {}
    found = [(find(known, problem.path) or (0, 0), problem) for problem in problems]
    placed = []
    for (line, column), problem in sorted(found, key=lambda one: one[0]):
        message = problem.message
        for value in sorted(filter(None, hidden), key=len, reverse=True):
            message = message.replace(value, hidden[value])
        placed.append(Placed(str(path), line or None, column or None, problem.path, message))
    return placed
