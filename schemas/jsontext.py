"""JSON from untrusted bytes.

The rules: text is UTF-8, nothing follows the document, ``NaN`` and infinities are
errors unless a dialect allows them, and nesting has at most 64 levels. Whatever is
wrong raises `Unreadable` and nothing else.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import msgspec

MAX_DEPTH = 64
"""Levels of arrays and objects that one event may have."""

MAX_ELEMENTS = 250_000
"""Elements that one batch may have; 12 MiB of the smallest valid events are fewer."""

_USUAL_BYTES_A_COMMA = 8

_SLICES = msgspec.json.Decoder(list[msgspec.Raw])
# An unterminated string is one token. Otherwise each quote in it would start a new search.
_MARKS = r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]'
_TOKENS = re.compile(_MARKS.encode(), re.DOTALL)
_TOKENS_OF_TEXT = re.compile(_MARKS, re.DOTALL)
# An exponent of two digits or 300 digits in a row: no smaller number overflows a double.
_HUGE = re.compile(rb"[:,\[\s]-?(?:[0-9]{300}|[0-9]++(?:\.[0-9]++)?[eE]\+?[0-9]{2})")
_ONE_DIGIT = bytes.maketrans(b"123456789E", b"000000000e")
_LONG = b"0" * 300
_SPACE = re.compile(r"[ \t\n\r]*")
_BOM = b"\xef\xbb\xbf"


class TooMany(ValueError):
    """A batch has too many elements; the argument is a sentence for the client."""


class Unreadable(ValueError):
    """The text is not acceptable JSON; the argument is a sentence for the client."""


def require_utf8(body: bytes, *, bom: bool = False) -> bytes:
    """Check that *body* is UTF-8 and not blank, and return it.

    With *bom*, a byte order mark at the start is dropped.

    Raises:
        Unreadable: the bytes are not UTF-8, or there are none.
    """
    if bom and body.startswith(_BOM):
        body = body[len(_BOM) :]
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise Unreadable(f"Not UTF-8: byte {error.start} is invalid.") from None
    if not body or body.isspace():
        raise Unreadable("The body is empty.")
    return body


def split_array(body: bytes) -> list[bytes]:
    """Split a JSON array in UTF-8 into the unchanged text of its elements.

    Strict JSON has a fast path. Lone surrogates in escapes, which JSON allows, and bare
    ``NaN`` or infinities, which it does not, take a slower path. `loads` decides later
    whether an element may contain them.

    Raises:
        Unreadable: the text is not JSON, or not an array.
        TooMany: the array has more than `MAX_ELEMENTS`.
    """
    # An element takes a hundred bytes of memory or more, but may have only one byte of text.
    # So if commas are frequent, the scanner below counts elements and stops at the limit.
    if len(body) < 2 * MAX_ELEMENTS or body.count(b",") * _USUAL_BYTES_A_COMMA < len(body):
        try:
            found = [bytes(raw) for raw in _SLICES.decode(body)]
        except (msgspec.MsgspecError, RecursionError):
            found = _split_by_scanning(body)
    else:
        found = _split_by_scanning(body)
    if len(found) > MAX_ELEMENTS:
        raise TooMany(f"Limit: {MAX_ELEMENTS} elements.")
    return found


def _split_by_scanning(body: bytes) -> list[bytes]:
    text = body.decode()
    # Skip numbers without converting them: `loads` decides about very long ones.
    scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode

    def skip(at: int) -> int:
        match = _SPACE.match(text, at)
        assert match is not None
        return match.end()

    found: list[bytes] = []
    at = skip(0)
    if text[at : at + 1] != "[":
        raise Unreadable(_why_not_array(text))
    at = skip(at + 1)
    if text[at : at + 1] == "]":
        return _at_end(text, skip(at + 1), found)
    while len(found) <= MAX_ELEMENTS:
        end = _scan(scan, text, at)
        found.append(text[at:end].encode())
        at = skip(end)
        mark = text[at : at + 1]
        if mark == "]":
            return _at_end(text, skip(at + 1), found)
        if mark != ",":
            raise Unreadable(f"Not JSON: expected ',' or ']' at character {at}.")
        at = skip(at + 1)
    return found


def _at_end(text: str, at: int, found: list[bytes]) -> list[bytes]:
    if at != len(text):
        raise Unreadable(f"Not JSON: more text after the array, at character {at}.")
    return found


def _why_not_array(text: str) -> str:
    loads(text.encode(), constants=str, max_depth=None)
    return "Expected a JSON array."


def _scan(scan: Callable[[str, int], tuple[Any, int]], text: str, at: int) -> int:
    try:
        return scan(text, at)[1]
    except RecursionError:
        return _skip_element(text, at)
    except ValueError as error:
        raise Unreadable(_sentence(error)) from None


def _skip_element(text: str, at: int) -> int:
    """Find the end of an element that is nested too deeply to decode, by counting brackets."""
    depth = 0
    for token in _TOKENS_OF_TEXT.finditer(text, at):
        mark = token.group()
        if mark in ("{", "["):
            depth += 1
        elif mark in ("}", "]"):
            depth -= 1
            if depth == 0:
                return token.end()
    raise Unreadable("Not JSON: an array or object is not closed.")


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


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"The number {digits[:40]} is too large.")
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
        raise ValueError(f"The number {digits[:40]} is too large.")
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


def depth_exceeds(text: bytes, levels: int = MAX_DEPTH) -> bool:
    """Return whether JSON text has more than *levels* nested arrays and objects."""
    # Counting brackets is very cheap, and is enough for nearly all events.
    if text.count(b"{") + text.count(b"[") <= levels:
        return False
    depth = 0
    for token in _TOKENS.finditer(text):
        mark = token.group()
        if mark in (b"{", b"["):
            depth += 1
            if depth > levels:
                return True
        elif mark in (b"}", b"]"):
            depth -= 1
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
