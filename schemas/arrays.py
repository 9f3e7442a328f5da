"""Large arrays in untrusted bytes, split into the text of their elements, a part at a time.

A part takes a few milliseconds at most, whatever the bytes are, so that others have their
turn between two parts.
"""

import codecs
from collections.abc import Iterable, Iterator

from schemas.cutting import PART, Cutter, split
from schemas.jsontext import BOM, Unreadable, loads, not_utf8

MAX_ELEMENTS = 100_000
"""Elements that one batch may have; agents and SDKs send a thousand at most."""

STREAM_PART = 1 << 19
"""Bytes of a stream that are looked at in one go, as soon as they are there."""

_EXPLAINED = 1 << 16


class TooMany(ValueError):
    """A batch has too many elements; the argument is a sentence for the client."""


def split_array(body: bytes) -> Iterator[list[bytes]]:
    """Split a JSON array in UTF-8 into the unchanged text of its elements, part by part.

    What is an element, `Cutter` says. `loads` decides later whether an element may contain
    what JSON does not know.

    Raises:
        Unreadable: the text is not JSON, or not an array.
        TooMany: the array has more than `MAX_ELEMENTS`.
    """
    found = 0
    for part in _parts(body):
        found += len(part)
        if found > MAX_ELEMENTS:
            raise _too_many()
        yield part


class ArrayStream:
    """A JSON array in UTF-8 that arrives bit by bit, as `split_array` splits a whole one.

    Attributes:
        found: how many elements were found so far.
    """

    def __init__(self, keep: int) -> None:
        """Of an element of more than *keep* bytes, only the first ones are kept."""
        self._cutter = Cutter(STREAM_PART, keep)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._checked = 0
        self._opening: bytes | None = b""
        self.found = 0

    @property
    def held(self) -> int:
        """How many bytes wait for the rest of their element."""
        return self._cutter.held

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """Take more of the array; yield elements, or nothing where others should have a turn.

        Raises:
            Unreadable: the text is not UTF-8, not JSON, or not an array.
            TooMany: the array has more than `MAX_ELEMENTS`.
        """
        if self._opening is not None:
            data = self._opening + data
            self._opening = data if len(data) < len(BOM) else None
            if self._opening is not None:
                return
            data = data.removeprefix(BOM)
        self._check(data, final=False)
        yield from self._counted(self._cutter.feed(data))

    def close(self) -> Iterator[list[bytes]]:
        """Yield the last elements: nothing more comes. Raises as `feed`."""
        data, self._opening = self._opening or b"", None
        self._check(data, final=True)
        yield from self._counted(self._cutter.feed(data))
        yield from self._counted(self._cutter.close())

    def _check(self, data: bytes, final: bool) -> None:
        # The bytes that the decoder has kept are not of ASCII, nor is what follows them.
        pending = len(self._decoder.getstate()[0])
        if pending or final or not data.isascii():
            try:
                self._decoder.decode(data, final)
            except UnicodeDecodeError as error:
                raise not_utf8(self._checked - pending + error.start) from None
        self._checked += len(data)

    def _counted(self, parts: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
        for part in parts:
            self.found += len(part)
            if self.found > MAX_ELEMENTS:
                raise _too_many()
            yield part


def _too_many() -> TooMany:
    return TooMany(f"Limit: {MAX_ELEMENTS} elements.")


def _parts(body: bytes) -> Iterator[list[bytes]]:
    if len(body) <= PART:
        elements = split(body)
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
    cutter = Cutter(PART)
    for at in range(0, len(body), PART):
        yield from cutter.feed(body[at : at + PART])
    yield from cutter.close()
