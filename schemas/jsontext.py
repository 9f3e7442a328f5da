"""JSON from untrusted bytes.

The rules: text is UTF-8, nothing follows the document, ``NaN`` and infinities are
errors unless a dialect allows them, and nesting has at most 64 levels. Whatever is
wrong raises `Unreadable` and nothing else.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import msgspec

MAX_DEPTH = 64
"""Levels of arrays and objects that one event may have."""

MAX_VALUES = 20_000
"""Values that one document may have where it takes more than the fast decoder to read it."""

BOM = b"\xef\xbb\xbf"
"""What some clients write before a text in UTF-8."""

TOO_MANY_VALUES = f"More than {MAX_VALUES} values, and not plainly valid."

_BRACKETS = bytes.maketrans(b"{}[]", b"\x01\xff\x01\xff")
_BLOCK = 1 << 14
_OTHERS = bytes(set(range(256)) - set(b"{}[]"))
# An exponent of two digits or 300 digits in a row: no smaller number overflows a double.
_HUGE = re.compile(rb"[:,\[\s]-?(?:[0-9]{300}|[0-9]++(?:\.[0-9]++)?[eE]\+?[0-9]{2})")
_ONE_DIGIT = bytes.maketrans(b"123456789E", b"000000000e")
_LONG = b"0" * 300


class Unreadable(ValueError):
    """The text is not acceptable JSON; the argument is a sentence for the client."""


def require_utf8(body: bytes) -> bytes:
    """Check that *body* is UTF-8 and not blank, and return it without its byte order mark.

    Raises:
        Unreadable: the bytes are not UTF-8, or there are none.
    """
    if body.startswith(BOM):
        body = body[len(BOM) :]
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(error.start) from None
    if not body or body.isspace():
        raise Unreadable("The body is empty.")
    return body


def not_utf8(at: int) -> Unreadable:
    """What to say of a text whose byte *at* is not UTF-8."""
    return Unreadable(f"Not UTF-8: byte {at} is invalid.")


def loads(
    text: bytes,
    *,
    constants: Callable[[str], object] | None = None,
    max_depth: int | None = MAX_DEPTH,
    finite: bool = False,
) -> Any:  # Any: JSON
    """Decode one JSON document. Of a repeated member the last counts.

    Integers keep all digits, up to the 4300 that Python supports.

    Args:
        text: UTF-8 text of one document.
        constants: converts a bare ``NaN``, ``Infinity`` or ``-Infinity``; with None
            they are errors.
        max_depth: how many levels are allowed; None means as many as Python supports.
        finite: refuse a number too large for a double, instead of making it infinite.

    Raises:
        Unreadable: the text is not JSON, is nested too deeply, or has a number that is
            too large.
    """
    if max_depth is not None and depth_exceeds(text, max_depth):
        raise Unreadable(f"Nested deeper than {max_depth} levels.")
    try:
        # From bytes, json.loads would also accept UTF-16.
        return json.loads(
            text.decode("utf-8", "surrogatepass"),
            parse_constant=constants or _no_constant,
            parse_int=_finite_integer if finite else _integer,
            parse_float=_finite if finite else None,
        )
    except RecursionError:
        raise Unreadable(f"Nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise Unreadable(_sentence(error)) from None


# A problem goes where the value itself may be masked: it does not repeat the value.
_TOO_LARGE = "A number is too large for a double."


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(_TOO_LARGE)
    return number


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        # Python refuses integers of more than 4300 digits, which are beyond a double as well.
        return float(digits)


def _finite_integer(digits: str) -> int:
    number = _integer(digits)
    if isinstance(number, float):
        raise ValueError(_TOO_LARGE)
    return number


def _sentence(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"Not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
    return f"Not JSON: {error}"


def quoted(node: object) -> object:
    """Return the document with NaN and infinities replaced by strings."""
    if isinstance(node, dict):
        return {name: quoted(value) for name, value in node.items()}
    if isinstance(node, list):
        return [quoted(value) for value in node]
    if isinstance(node, float) and not math.isfinite(node):
        return "NaN" if math.isnan(node) else "Infinity" if node > 0 else "-Infinity"
    return node


def dumps(document: object) -> str:
    """Write a decoded document as compact JSON text, with NaN and infinities as strings.

    Raises:
        Unreadable: the document is nested too deeply.
    """
    try:
        return json.dumps(quoted(document), separators=(",", ":"))
    except RecursionError:
        raise Unreadable("Nested too deeply.") from None


def values_exceed(text: bytes, limit: int) -> bool:
    """Return whether JSON text has *limit* commas and opening brackets, strings aside.

    A value follows each of them, except where an array or object is empty.
    """
    # Most events are shorter, or have fewer of them, those within strings included.
    if len(text) < limit or text.count(b",") + text.count(b"{") + text.count(b"[") < limit:
        return False
    text = _without_escapes(text)
    # A member of an object has two strings at most.
    if text.count(b'"') > 4 * limit:
        return True
    found = 0
    for part in _outside_strings(text):
        found += part.count(b",") + part.count(b"{") + part.count(b"[")
    return found >= limit


def _without_escapes(text: bytes) -> bytes:
    """The text without escapes of quotes, so that each quote begins or ends a string."""
    return text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text


def _outside_strings(text: bytes) -> Iterator[bytes]:
    """What is not within strings in a text without escapes, in blocks that fit into a cache."""
    quoted = 0
    for at in range(0, len(text), _BLOCK):
        pieces = text[at : at + _BLOCK].split(b'"')
        yield b"".join(pieces[quoted::2])
        quoted ^= (len(pieces) - 1) % 2


def depth_exceeds(text: bytes, levels: int = MAX_DEPTH) -> bool:
    """Return whether JSON text has more than *levels* nested arrays and objects."""
    # Counting brackets is very cheap, and is enough for nearly all events.
    if text.count(b"{") + text.count(b"[") <= levels:
        return False
    depth = 0
    for part in _outside_strings(_without_escapes(text)):
        steps = memoryview(part.translate(_BRACKETS, _OTHERS)).cast("b")
        depths = list(accumulate(steps, initial=depth))
        if max(depths) > levels:
            return True
        depth = depths[-1]
    return False


def may_overflow(text: bytes) -> bool:
    """Return whether JSON text may contain a number too large for a double; False is certain."""
    # The pattern is slow. Whatever it finds shows once all digits are the same one.
    digits = text.translate(_ONE_DIGIT)
    if b"0e00" in digits or b"0e+00" in digits or _LONG in digits:
        return _HUGE.search(text) is not None
    return False


def canonical(document: object, *, strict: bool = False) -> bytes:
    """Write a decoded document so that equal documents give equal bytes.

    Members are sorted, arrays are not; ``1``, ``1.0`` and ``true`` differ, and
    ``2.5`` equals ``2.50``. For hashing only. A lone surrogate stays an escape,
    or with *strict* raises UnicodeEncodeError.
    """
    try:
        return msgspec.json.encode(document, order="sorted")
    except UnicodeEncodeError:
        if strict:
            raise
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
