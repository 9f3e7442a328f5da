"""Cuts a JSON array into the text of its elements while it is still arriving.

Usually the decoder finds the elements, of a part of the array at a time. Where it does
not, brackets are counted. Either way a step takes a few milliseconds at most.
"""

import re
import time
from collections.abc import Generator, Iterator

import msgspec

from schemas.jsontext import Unreadable
from schemas.outline import BLOCK, Outline, halves_escape

PART = 1 << 18
"""Bytes that are looked at in one go: the decoder takes up to 4 ms for them."""

PAUSE = 0.004
"""Seconds after which a slow search gives others their turn."""

_USUAL_BYTES_A_COMMA = 8
_MANY = 200_000
_LARGE = 1 << 16

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_ELEMENT = msgspec.json.Decoder(msgspec.Raw)
_NOT_DECODED = (msgspec.MsgspecError, RecursionError)
_SPACE = re.compile(rb"[ \t\n\r]*")
_BLANK = b" \t\n\r"
# What the decoder does not know: JSON allows the first, some dialects the others.
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_FINITE = re.compile(rb"(?<![\w.+-])(?:NaN|-?Infinity)(?![\w.+-])")


class Cutter:
    """Cuts one array, as far as it is fed.

    Lone surrogates in escapes, which JSON allows, and bare ``NaN`` or infinities, which
    it does not, are cut as well. The syntax of a large element that is not plainly JSON is
    left to its reader.
    """

    def __init__(self, part: int, keep: int | None = None) -> None:
        """Cut parts of *part* bytes; of an element of more than *keep*, keep the first ones."""
        self._part = part
        self._keep = keep
        # What is not cut yet, and where in the document it starts.
        self._text = b""
        self._base = 0
        self._begun = self._ended = self._after_comma = False
        # While brackets are counted: from where, how far, and where an element starts in the text.
        self._outline: Outline | None = None
        self._until = self._scanned = self._start = 0
        # What is kept of an element too large, and whether more than spaces is left out of it.
        self._head = b""
        self._beyond = False

    @property
    def held(self) -> int:
        """How many bytes wait for the rest of their element."""
        return len(self._text) + len(self._head)

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        """Take more of the array; yield elements, or nothing where others should have a turn.

        Raises:
            Unreadable: the text is not JSON, or not an array.
        """
        self._text += data
        if len(self._text) > self._part and self._begin():
            yield from self._cut(final=False)

    def close(self) -> Iterator[list[bytes]]:
        """Yield the last elements: nothing more comes. Raises as `feed`."""
        if not self._begin():
            raise Unreadable("The body is empty.")
        yield from self._cut(final=True)
        if not self._ended:
            raise Unreadable("Not JSON: an array, an object or a string is not closed.")

    def _begin(self) -> bool:
        """Read the opening bracket; False if there are only spaces so far."""
        if not self._begun:
            self._drop(_after_space(self._text, len(self._text)))
            if not self._text:
                return False
            if not self._text.startswith(b"["):
                raise Unreadable("Expected a JSON array.")
            self._drop(1)
            self._begun = True
        return True

    def _cut(self, final: bool) -> Iterator[list[bytes]]:
        while not self._ended and (final or self._outline or len(self._text) > self._part):
            if self._outline is None:
                elements = self._usual()
                if elements:
                    yield elements
                    continue
                self._outline = Outline()
                self._until = self._base + self._part
            if not (yield from self._search(final)):
                break
        if self._ended and self._text:
            if self._text.strip(_BLANK):
                raise Unreadable(f"Not JSON: more text after byte {self._base - 1}.")
            self._drop(len(self._text))

    def _usual(self) -> list[bytes] | None:
        """The elements of the next part, if the decoder finds them."""
        text, most = self._text, self._part
        if len(text) <= most:
            elements = split(b"[" + text)
            if elements:
                self._drop(len(text))
                self._ended = True
            return elements
        # Elements mostly begin alike. Whether the last such place begins one, the decoder tells.
        start = _after_space(text, most)
        for same in (12, 5):
            place = text.rfind(text[start : start + same], start + 1, most)
            part = text[: max(0, place)].rstrip(_BLANK)
            if part.endswith(b","):
                elements = split(b"[" + part[:-1] + b"]")
                if elements:
                    self._drop(place)
                    self._after_comma = True
                return elements
        return None

    def _search(self, final: bool) -> Generator[list[bytes], None, bool]:
        """Find elements by counting brackets; return whether the usual way can go on."""
        assert self._outline is not None
        found: list[bytes] = []
        pause = time.perf_counter() + PAUSE
        while (stop := self._block_end(final)) > self._scanned:
            offset, self._scanned = self._scanned, stop
            commas, end = self._outline.follow(self._text[offset:stop])
            for comma in commas:
                found.append(self._element(offset + comma))
                self._after_comma = True
                if time.perf_counter() > pause:
                    yield found
                    found, pause = [], time.perf_counter() + PAUSE
            if end is not None:
                yield found + self._last(offset + end)
                return False
            if self._base + self._start > self._until and not self._head:
                self._drop(self._start)
                self._start = self._scanned = 0
                self._outline = None
                yield found
                return True
            if time.perf_counter() > pause:
                yield found
                found, pause = [], time.perf_counter() + PAUSE
        self._shorten()
        yield found
        return False

    def _block_end(self, final: bool) -> int:
        """Where the block ends that is searched next, if what is there suffices for one."""
        stop = min(self._scanned + BLOCK, len(self._text))
        if halves_escape(self._text[self._scanned : stop]):
            if stop < len(self._text):
                return stop + 1
            return stop if final else stop - 1
        return stop

    def _last(self, end: int) -> list[bytes]:
        """What stands before the closing bracket, which is at *end*: an element, or nothing."""
        empty = not (self._after_comma or self._head or self._text[self._start : end].strip(_BLANK))
        elements = [] if empty else [self._element(end)]
        self._drop(end + 1)
        self._ended = True
        return elements

    def _element(self, end: int) -> bytes:
        """The text of the element that ends before *end*."""
        start, self._start = self._start, end + 1
        text, keep = self._text[start:end], self._keep
        if self._head:
            head, self._head = self._head, b""
            if self._beyond or text.strip(_BLANK):
                self._beyond = False
                return head
            text = head
        text = _checked(text, self._base + start)
        return text if keep is None else text[:keep]

    def _shorten(self) -> None:
        """Keep of the searched text only what an element may need."""
        self._drop(self._start)
        self._scanned -= self._start
        self._start = 0
        keep = self._keep
        if keep is None or self._scanned <= keep:
            return
        more = self._text[: self._scanned]
        if not self._head:
            more = more.lstrip(_BLANK)
            if len(more) <= keep:
                self._drop(self._scanned - len(more))
                self._scanned = len(more)
                return
            self._head, more = more[:keep], more[keep:]
        self._beyond = self._beyond or bool(more.strip(_BLANK))
        self._drop(self._scanned)
        self._scanned = 0

    def _drop(self, count: int) -> None:
        self._text = self._text[count:]
        self._base += count


def split(text: bytes) -> list[bytes] | None:
    """The elements of an array; None if that would take long, or is not for the decoder."""
    # An element takes a hundred bytes of memory or more, but may have only one byte of text.
    if len(text) > _MANY and text.count(b",") * _USUAL_BYTES_A_COMMA > len(text):
        return None
    try:
        return [bytes(raw) for raw in _ELEMENTS.decode(text)]
    except _NOT_DECODED:
        return None


def _checked(text: bytes, at: int) -> bytes:
    """The text of an element without spaces around it, checked if it is not large."""
    text = text.strip(_BLANK)
    if len(text) > PART:
        return text
    try:
        _ELEMENT.decode(text)
    except RecursionError:
        return text
    except msgspec.MsgspecError:
        if len(text) > _LARGE:
            return text
        try:
            _ELEMENT.decode(_plain(text))
        except RecursionError:
            return text
        except msgspec.MsgspecError:
            raise Unreadable(f"Not JSON: the element at byte {at} is not.") from None
    return text


def _plain(text: bytes) -> bytes:
    """An element of the same form without what the decoder does not know; empty if it has none."""
    lone, not_finite = b"\\u" in text, b"NaN" in text or b"Infinity" in text
    if lone:
        text = _LONE.sub(rb"\\u00", text)
    if not_finite:
        text = _NOT_FINITE.sub(b"0", text)
    return text if lone or not_finite else b""


def _after_space(text: bytes, end: int) -> int:
    match = _SPACE.match(text, 0, end)
    assert match is not None
    return match.end()
