"""Where the chunks of a body end in the bytes of a connection."""

import re

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t;][^\n]*)?\r\n")
_MAX_LINE = 1 << 10
MAX_STEPS = 256
"""Heads, or chunks, that one piece of data may hold: nobody else has a turn meanwhile."""

_SIZE, _DATA, _AFTER_DATA, _TRAILER = range(4)


class Chunks:
    """Follows one chunked body.

    Attributes:
        ended: nothing more is to be followed.
        lost: it has ended, and nobody knows where.
        broken: the chunks are malformed; `lost` is set too.
    """

    __slots__ = ("_line", "_rest", "_state", "broken", "ended", "lost")

    def __init__(self) -> None:
        self.ended = False
        self.lost = False
        self.broken = False
        self._state = _SIZE
        # The beginning of a line, and bytes of a chunk that are still to come.
        self._line = b""
        self._rest = 0

    def skip(self, data: bytes, at: int) -> int:
        """Follow chunks from *at*; return where they end, at most the length of *data*."""
        for _ in range(MAX_STEPS):
            if self._state == _DATA:
                step = min(self._rest, len(data) - at)
                self._rest -= step
                at += step
                if self._rest:
                    return at
                self._state = _AFTER_DATA
            end = data.find(b"\n", at) + 1
            line = self._line + (data[at:end] if end else data[at:])
            if not end:
                self._line = line
                self._check_begun(line)
                return len(data)
            self._line = b""
            at = end
            self._follow(line)
            if self.lost:
                return len(data)
            if self.ended:
                return at
        self.ended = self.lost = True
        return len(data)

    def _follow(self, line: bytes) -> None:
        """Follow one whole *line* between chunks."""
        if self._state == _SIZE:
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                self._break()
                return
            self._rest = int(size[1], 16)
            self._state = _DATA if self._rest else _TRAILER
        elif self._state == _AFTER_DATA:
            if line != b"\r\n":
                self._break()
                return
            self._state = _SIZE
        elif line == b"\r\n":
            self.ended = True

    def _check_begun(self, line: bytes) -> None:
        """Notice early that a *line* that has not ended cannot become a good one."""
        if self._state == _AFTER_DATA:
            good = b"\r\n".startswith(line)
        elif self._state == _SIZE and line:
            good = line[:1] in b"0123456789abcdefABCDEF" and len(line) <= _MAX_LINE
        else:
            good = True
        if not good:
            self._break()
        elif len(line) > _MAX_LINE:
            self.ended = self.lost = True

    def _break(self) -> None:
        self.broken = self.lost = self.ended = True
