"""Large arrays in untrusted bytes, split into the text of their elements, a part at a time.

A part takes a few milliseconds at most, whatever the bytes are, so that others have their
turn between two parts.
"""

import re
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import accumulate

import msgspec

from schemas.jsontext import Unreadable, loads

MAX_ELEMENTS = 100_000
"""Elements that one batch may have; 16 MiB of events that agents and SDKs send are fewer."""

PART = 1 << 20
"""Bytes that are looked at in one go: the decoder takes up to 12 ms for them."""

PAUSE = 0.004
"""Seconds after which a slow search gives others their turn."""

_USUAL_BYTES_A_COMMA = 8
_EXPLAINED = 1 << 16
_BLOCK = 1 << 14

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_ELEMENT = msgspec.json.Decoder(msgspec.Raw)
_NOT_DECODED = (msgspec.MsgspecError, RecursionError)
_SPACE = re.compile(rb"[ \t\n\r]*")
_BLANK = b" \t\n\r"
# How far each byte leads down into arrays and objects, as a signed byte.
_STEPS = bytes(
    {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", 255)}.get(n, 0) for n in range(256)
)
# What the decoder does not know: JSON allows the first, some dialects the others.
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_FINITE = re.compile(rb"(?<![\w.+-])(?:NaN|-?Infinity)(?![\w.+-])")


class TooMany(ValueError):
    """A batch has too many elements; the argument is a sentence for the client."""


def split_array(body: bytes) -> Iterator[list[bytes]]:
    """Split a JSON array in UTF-8 into the unchanged text of its elements, part by part.

    Lone surrogates in escapes, which JSON allows, and bare ``NaN`` or infinities, which
    it does not, are split as well. `loads` decides later whether an element may contain
    them. The syntax of an element larger than `PART` is left to its reader.

    Raises:
        Unreadable: the text is not JSON, or not an array.
        TooMany: the array has more than `MAX_ELEMENTS`.
    """
    found = 0
    for part in _parts(body):
        found += len(part)
        if found > MAX_ELEMENTS:
            raise TooMany(f"Limit: {MAX_ELEMENTS} elements.")
        yield part


def _parts(body: bytes) -> Iterator[list[bytes]]:
    if len(body) <= PART:
        elements = _split(body)
        if elements is not None:
            yield elements
            return
    try:
        yield from _slow_parts(body)
    except Unreadable:
        if len(body) <= _EXPLAINED:
            # The words of the standard library, which knows the line and the column.
            loads(body, constants=str, max_depth=None)
        raise


def _slow_parts(body: bytes) -> Iterator[list[bytes]]:
    at = _after_space(body, 0, len(body))
    if body[at : at + 1] != b"[":
        raise Unreadable("Expected a JSON array.")
    first = at = at + 1
    following: int | None = first
    while following is not None:
        at = following
        following, elements = _next_part(body, at)
        if elements:
            yield elements
        else:
            following = yield from _search(body, at, first)


def _split(text: bytes) -> list[bytes] | None:
    """The elements of an array; None if that would take long, or is not for the decoder."""
    # An element takes a hundred bytes of memory or more, but may have only one byte of text.
    if len(text) > 2 * MAX_ELEMENTS and text.count(b",") * _USUAL_BYTES_A_COMMA > len(text):
        return None
    try:
        return [bytes(raw) for raw in _ELEMENTS.decode(text)]
    except _NOT_DECODED:
        return None


def _next_part(body: bytes, at: int) -> tuple[int | None, list[bytes] | None]:
    """Where the part after the one at *at* starts, if there is one; and this one's elements."""
    if len(body) - at <= PART:
        return None, _split(b"[" + body[at:])
    # Elements mostly begin alike. Whether the last such place begins one, the decoder tells.
    start = _after_space(body, at, at + PART)
    for same in (12, 5):
        place = body.rfind(body[start : start + same], start + 1, at + PART)
        part = body[at : max(at, place)].rstrip(_BLANK)
        if part.endswith(b","):
            return place, _split(b"[" + part[:-1] + b"]")
    return at, None


def _search(body: bytes, at: int, first: int) -> Generator[list[bytes], None, int | None]:
    """Find elements from *at* on by counting brackets; return where the next part starts, if any.

    *first* is where the array's first element starts.
    """
    found: list[bytes] = []
    start, until = at, at + PART
    pause = time.perf_counter() + PAUSE
    for offset, commas, end in outline(body, at):
        for comma in commas:
            found.append(_element(body, start, offset + comma))
            start = offset + comma + 1
            if time.perf_counter() > pause:
                yield found
                found, pause = [], time.perf_counter() + PAUSE
        if end is not None:
            if _after_space(body, offset + end + 1, len(body)) != len(body):
                raise Unreadable(f"Not JSON: more text after byte {offset + end}.")
            if start > first or _after_space(body, start, len(body)) < offset + end:
                found.append(_element(body, start, offset + end))
            yield found
            return None
        if start > until or time.perf_counter() > pause:
            yield found
            found, pause = [], time.perf_counter() + PAUSE
            if start > until:
                return start
    raise Unreadable("Not JSON: an array, an object or a string is not closed.")


def outline(
    body: bytes, at: int, size: int = _BLOCK
) -> Iterator[tuple[int, Iterator[int], int | None]]:
    """Go through an array or object from *at* on, just after its start, in blocks.

    For each block: where it starts, and from there on the commas between the elements
    and the end of all, if it is in this block. The first block has *size* bytes.
    """
    depth, quoted = 0, False
    while at < len(body):
        stop = at + size
        size = min(2 * size, _BLOCK)
        block = body[at:stop]
        if (len(block) - len(block.rstrip(b"\\"))) % 2:
            # A backslash and what it escapes belong together.
            stop += 1
            block = body[at:stop]
        if b"\\" in block:
            block = block.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
        pieces = block.split(b'"')
        inside = slice(0 if quoted else 1, None, 2)
        pieces[inside] = map(bytes, map(len, pieces[inside]))
        quoted ^= len(pieces) % 2 == 0
        marks = b'"'.join(pieces)
        steps = memoryview(marks.translate(_STEPS)).cast("b")
        depths = list(accumulate(steps, initial=depth))
        depth = depths[-1]
        lowest = min(depths)
        end = depths.index(-1) - 1 if lowest < 0 else None
        yield at, _top_commas(marks, depths, end) if lowest <= 0 else iter(()), end
        at = stop


def _top_commas(marks: bytes, depths: list[int], end: int | None) -> Iterator[int]:
    at = 0
    with suppress(ValueError):
        while True:
            at = marks.index(b",", depths.index(0, at), end)
            if depths[at] == 0:
                yield at
                at += 1


def _element(body: bytes, start: int, end: int) -> bytes:
    text = body[start:end]
    if len(text) > PART:
        return text
    text = text.strip(_BLANK)
    try:
        _ELEMENT.decode(text)
    except RecursionError:
        return text
    except msgspec.MsgspecError:
        try:
            _ELEMENT.decode(_plain(text))
        except RecursionError:
            return text
        except msgspec.MsgspecError:
            raise Unreadable(f"Not JSON: the element at byte {start} is not.") from None
    return text


def _plain(text: bytes) -> bytes:
    """An element of the same form without what the decoder does not know; empty if it has none."""
    lone, not_finite = b"\\u" in text, b"NaN" in text or b"Infinity" in text
    if lone:
        text = _LONE.sub(rb"\\u00", text)
    if not_finite:
        text = _NOT_FINITE.sub(b"0", text)
    return text if lone or not_finite else b""


def _after_space(body: bytes, at: int, end: int) -> int:
    match = _SPACE.match(body, at, end)
    assert match is not None
    return match.end()
