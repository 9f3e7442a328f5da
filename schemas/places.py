"""Where in a JSON text the value is that a problem is about."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from schemas.members import value_end

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_INDEX = re.compile(r"\[(\d+)\]")


class Place(NamedTuple):
    """From which byte of a text to which other one, and whether what is meant is missing there.

    It is then the place of the object or the array that lacks it.
    """

    start: int
    end: int
    missing: bool


def place_of(text: bytes, path: str) -> Place | None:
    """The place of the value at *path* (as in `schemas.Problem`); None if *text* is no JSON."""
    at = _past_space(text, 0)
    while path and at < len(text):
        index = _INDEX.match(path)
        if index is not None:
            found = next(_elements(text, at, int(index[1])), None)
            rest = path[index.end() :]
        else:
            found, rest = _member(text, at, path)
        if found is None:
            return _place(text, at, missing=True)
        at, path = found, rest.removeprefix(".")
    return _place(text, at, missing=False)


def _place(text: bytes, at: int, *, missing: bool) -> Place | None:
    end = value_end(text, at)
    return Place(at, end, missing) if end > at else None


def _past_space(text: bytes, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _values(text: bytes, at: int) -> Iterator[int]:
    """Where the members of an object, or the elements of an array, begin, the names included."""
    at = _past_space(text, at + 1)
    while at < len(text) and text[at : at + 1] not in (b"}", b"]"):
        yield at
        name = _STRING.match(text, at)
        colon = _past_space(text, name.end()) if name is not None else at
        if text[colon : colon + 1] == b":":
            at = _past_space(text, colon + 1)
        end = value_end(text, at)
        if end <= at:
            return
        at = _past_space(text, end)
        if text[at : at + 1] != b",":
            return
        at = _past_space(text, at + 1)


def _elements(text: bytes, at: int, number: int) -> Iterator[int]:
    """The element with that number, if the value is an array that has it."""
    if text[at : at + 1] == b"[":
        for position, element in enumerate(_values(text, at)):
            if position == number:
                yield element
                return


def _member(text: bytes, at: int, path: str) -> tuple[int | None, str]:
    """Where the value of the member is with which *path* begins, and the rest of the path.

    A name may itself contain dots: the longest one that fits counts.
    """
    best: tuple[int | None, str] = (None, "")
    longest = -1
    if text[at : at + 1] != b"{":
        return best
    for begin in _values(text, at):
        match = _STRING.match(text, begin)
        if match is None:
            return best
        try:
            name = json.loads(match[0])
        except ValueError:
            continue
        rest = path[len(name) :]
        if path.startswith(name) and len(name) > longest and rest[:1] in ("", ".", "["):
            longest = len(name)
            colon = _past_space(text, match.end())
            best = _past_space(text, colon + 1), rest
    return best
