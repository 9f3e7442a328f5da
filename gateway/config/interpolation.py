"""Values that are kept elsewhere.

``${env:NAME}``, ``${file:PATH}`` and ``${cred:NAME}`` (a systemd credential)
stand for them, anywhere in a string.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from schemas import Problem

_REFERENCE = re.compile(r"\$\{(env|file|cred):([^}]+)\}")
_ATTEMPT = re.compile(r"\$\{(?:([^}]*)\})?")


def interpolate(document: Mapping[str, object], problems: list[Problem]) -> dict[str, object]:
    """A copy of a decoded document with every reference replaced by its value.

    A reference that cannot be followed, or has a form that is not known, stays and is
    added to *problems*.
    """
    return {name: _interpolate(value, name, problems) for name, value in document.items()}


def references(value: object) -> dict[str, str]:
    """The references in a decoded document by what they stand for, as far as that is known."""
    if isinstance(value, Mapping):
        value = list(value.values())
    found: dict[str, str] = {}
    if isinstance(value, list):
        for one in value:
            found |= references(one)
    elif isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            with suppress(OSError, LookupError, UnicodeDecodeError):
                found[_fetch(match[1], match[2])] = match[0]
    return found


def _interpolate(value: object, path: str, problems: list[Problem]) -> object:
    if isinstance(value, Mapping):
        return {name: _interpolate(one, f"{path}.{name}", problems) for name, one in value.items()}
    if isinstance(value, list):
        return [_interpolate(one, f"{path}[{at}]", problems) for at, one in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fetch(attempt: re.Match[str]) -> str:
        match = _REFERENCE.fullmatch(attempt[0])
        if match is None:
            # What follows a "${" that nothing closes may be a secret.
            shown = "${" if attempt[1] is None else attempt[0]
            problems.append(
                Problem(path, f"{shown}: not ${{env:NAME}}, ${{file:PATH}} or ${{cred:NAME}}")
            )
            return attempt[0]
        try:
            return _fetch(match[1], match[2])
        except (OSError, LookupError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error).strip("'")
            problems.append(Problem(path, f"{match[0]}: {reason}"))
            return match[0]

    return _ATTEMPT.sub(fetch, value)


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
