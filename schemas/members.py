"""Members of JSON text, found by their names without decoding the text.

The text must be JSON: only there does a quoted name before a colon name a member.
"""

import re
from collections.abc import Iterable, Sequence

from schemas.outline import outline

_SPACE = rb"[ \t\n\r]*"
_SCALAR = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s,\]}]+', re.DOTALL)
_KELVIN = "\u212a"
"""The only character beside the ASCII letters whose lower case is one of them."""

_FIRST_BLOCK = 256


class Names:
    """Names of members, which match in any case."""

    def __init__(self, names: Iterable[str]) -> None:
        lowered = sorted(set(map(str.lower, names)))
        written = b"|".join(re.escape(name.encode()) for name in lowered)
        self._pattern = re.compile(rb'"(%b)"%b:%b' % (written, _SPACE, _SPACE))
        self._ascii = all(map(str.isascii, lowered))
        letters = set("".join(lowered)) - {"/", '"', "\\"}
        self._escapable = any(not name.isprintable() or set(name) & set('/"\\') for name in lowered)
        codes = {f"{ord(one):04x}" for letter in letters for one in (letter, letter.upper()[:1])}
        codes.add(f"{ord(_KELVIN):04x}")
        self._escaped = re.compile(rb"\\u(?i:%b)" % "|".join(sorted(codes)).encode())

    def find(self, text: bytes, most: int) -> Sequence[tuple[str, int, int]] | None:
        """Each member with one of the names: the name in lower case, its start, its value's start.

        None if a name could be written in the text in a way that is not found so, or if
        there are more members than *most*.
        """
        if self._hides(text):
            return None
        found = []
        for match in self._pattern.finditer(text.lower()):
            found.append((match[1].decode(), match.start(), match.end()))
            if len(found) > most:
                return None
        return found

    def _hides(self, text: bytes) -> bool:
        if self._escapable:
            return True
        if not text.isascii() and (not self._ascii or _KELVIN.encode() in text):
            return True
        if b"\\u" not in text:
            return False
        return not self._ascii or self._escaped.search(text) is not None


def value_end(text: bytes, at: int) -> int:
    """Where the value ends that starts at *at*."""
    if text[at : at + 1] in (b"{", b"["):
        for offset, _, end in outline(text, at + 1, _FIRST_BLOCK):
            if end is not None:
                return offset + end + 1
        return len(text)
    match = _SCALAR.match(text, at)
    return at if match is None else match.end()
