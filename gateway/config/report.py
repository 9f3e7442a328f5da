"""Problems of a configuration, as the operator reads them."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

from gateway.config.interpolation import references
from gateway.config.positions import find, positions
from schemas import Problem


def report(file: str | Path, problems: Sequence[Problem]) -> list[str]:
    """A line for each of *problems* of *file*: ``file:line:column: option: message``.

    They are in the order of the file. A message may quote a value, and the value may be a
    secret that is kept elsewhere: it is shown as the reference that stands for it.
    """
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8")
        hidden = references(tomllib.loads(text))
        known = positions(text)
    except (OSError, ValueError):
        hidden, known = {}, {}
    placed = [(find(known, problem.path) or (0, 0), problem) for problem in problems]
    lines = []
    for position, problem in sorted(placed, key=lambda one: one[0]):
        place = ":".join(map(str, [path, *(position if any(position) else ())]))
        message = problem.message
        for value in sorted(filter(None, hidden), key=len, reverse=True):
            message = message.replace(value, hidden[value])
        lines.append(": ".join(part for part in (place, problem.path, message) if part))
    return lines
