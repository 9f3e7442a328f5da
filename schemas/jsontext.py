"""Bytes to JSON under stated rules.

Text is UTF-8. Nothing follows the document. ``NaN`` and infinities are not
JSON unless a dialect says so. Nesting ends at 64 levels. What cannot be read
raises `Unreadable`, never anything else.
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
# A string without an end counts as one token: else each quote in it would be tried anew.
_MARKS = r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]'
_TOKENS = re.compile(_MARKS.encode(), re.DOTALL)
_TOKENS_OF_TEXT = re.compile(_MARKS, re.DOTALL)
# An exponent of two digits or 300 digits in a row: no smaller number overflows a double.
_HUGE = re.compile(rb"[:,\[\s]-?(?:[0-9]{300}|[0-9]++(?:\.[0-9]++)?[eE]\+?[0-9]{2})")
_SPACE = re.compile(r"[ \t\n\r]*")
_BOM = b"\xef\xbb\xbf"


class TooMany(ValueError):
    """A batch has more elements than are taken; the argument is a sentence for the client."""


class Unreadable(ValueError):
    """The text is not JSON as we accept it; the argument is a sentence for the client."""


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
    """Cut a JSON array in UTF-8 into the text of its elements, each exactly as it came.

    Strict JSON takes a fast way. Lone surrogates in escapes, which the grammar
    allows, and bare ``NaN`` or infinities, which it does not, take a slower
    one: whether an element may hold them is for `loads` to say.

    Raises:
        Unreadable: not JSON, or not an array.
        TooMany: more than `MAX_ELEMENTS` of them.
    """
    # Each element costs a hundred bytes of memory or more, and may be of one byte. So where
    # there may be too many, and the text looks like nothing else, they are counted as they come.
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
    # Numbers are passed over, not made: one with very many digits is for `loads` to judge.
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
    """Where an element nested too deeply to be read ends: its brackets are only counted."""
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
    """Decode one JSON document; the last of a repeated member counts.

    Integers keep every digit, up to the 4300 that Python can read.

    Args:
        text: UTF-8 text of one document.
        constants: what to make of a bare ``NaN``, ``Infinity``, ``-Infinity``;
            None: they are not JSON.
        max_depth: levels allowed; None: as many as can be read.
        finite: refuse a number too large for a double, which else becomes an infinity.

    Raises:
        Unreadable: not JSON, nested too deeply, or a number that cannot be held.
    """
    if max_depth is not None and depth_exceeds(text, max_depth):
        raise Unreadable(f"Nested deeper than {max_depth} levels.")
    try:
        # Given bytes, json.loads would guess UTF-16 and take it.
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
        # Python makes no integer of more than 4300 digits; it is beyond a double as well.
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
    """The document with numbers that JSON has no word for as the strings that name them."""
    if isinstance(node, dict):
        return {name: quoted(value) for name, value in node.items()}
    if isinstance(node, list):
        return [quoted(value) for value in node]
    if isinstance(node, float) and not math.isfinite(node):
        return "NaN" if math.isnan(node) else "Infinity" if node > 0 else "-Infinity"
    return node


def dumps(document: object) -> str:
    """Write a decoded document as compact JSON text; infinities and NaN are quoted.

    Raises:
        Unreadable: nested more deeply than can be written.
    """
    try:
        return json.dumps(quoted(document), separators=(",", ":"))
    except RecursionError:
        raise Unreadable("Nested too deeply.") from None


def depth_exceeds(text: bytes, levels: int = MAX_DEPTH) -> bool:
    """Tell whether JSON text opens more than *levels* arrays and objects inside each other."""
    # Counting brackets costs next to nothing and settles nearly every event.
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
    """Tell whether JSON text may hold a number too large for a double; no is certain."""
    return _HUGE.search(text) is not None


def canonical(document: object, *, strict: bool = False) -> bytes:
    """Write a decoded document so that equal ones give equal bytes.

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
