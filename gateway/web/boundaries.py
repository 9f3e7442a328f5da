"""Where requests begin and end in the bytes of a connection, and what is renamed in their heads.

Two headers get another name of the same length before aiohttp's parser sees them,
so that no length and no boundary can change:

* the second ``User-Agent`` of a request. Moesif's Java SDK sends its own and that of
  the library beneath it, and the parser refuses a repeated one;
* ``Upgrade``. A server may ignore it, and the gateway has nothing to upgrade to. The
  parser would stop behind such a request, and not go on if that is answered early.

No other header is touched, and nothing of a body. The framing that counts is the
parser's: where a head is unusual enough that the two could disagree, `Boundaries`
gives up on the connection and passes all bytes as they are.
"""

import re
from collections.abc import Sequence

from gateway.web.chunks import MAX_STEPS, Chunks

_AGENT = b"\r\nuser-agent:"
_UPGRADE = b"\r\nupgrade:"
_RENAMED = {_AGENT: b"\r\nX-Repeated:", _UPGRADE: b"\r\nX-Offer:"}
_LENGTH = b"\r\ncontent-length:"
_CODING = b"\r\ntransfer-encoding:"
_END = b"\r\n\r\n"
_DIGITS = re.compile(rb"[0-9]+")

_MAX_DIGITS = 18
_MAX_HEAD = 1 << 14


class Boundaries:
    """Follows the requests of one connection.

    Attributes:
        begun: requests whose head has arrived.
        lost: nothing is known any more; bytes are passed as they are.
        broken: the last body's chunks are malformed; `lost` is set too.
    """

    __slots__ = (
        "_after_length",
        "_before_length",
        "_chunks",
        "_head",
        "_passed",
        "_plain",
        "_rest",
        "begun",
        "broken",
        "lost",
    )

    def __init__(self) -> None:
        self.begun = 0
        self.lost = False
        self.broken = False
        # The beginning of a head whose end is still to come, and how much of it was passed on.
        self._head = b""
        self._passed = 0
        # The last head that needed nothing, without the number of its Content-Length: a client
        # sends the same head again and again, and to compare is cheaper than to look into it.
        self._before_length = b"\0"  # no request begins with it
        self._after_length = b""
        # Whether that is the last head of all.
        self._plain = False
        # Bytes of a body that are still to come, or a chunked one that is.
        self._rest = 0
        self._chunks: Chunks | None = None

    @property
    def within_body(self) -> bool:
        """Whether a body has begun and not ended."""
        return self._rest > 0 or self._chunks is not None

    def feed(self, data: bytes) -> Sequence[bytes]:
        """Follow *data*; return what the parser is to be given, one piece after another.

        Each request that begins in *data* begins a piece: the parser forgets the
        good requests of a piece in which it finds a bad one. Bytes are held back only
        within a head, where they may be the beginning of a name to be renamed; the
        next call returns them.
        """
        if not (self._rest or self._head or self._chunks or self.lost) and self._is_usual(data):
            return (data,)
        if self.lost:
            return (data,)
        at = self._skip_body(data, 0)
        if at == len(data):
            return (data,)
        passed = 0
        if self._head:
            data, passed = self._head + data, self._passed
            self._head = b""
        return self._follow_heads(data, at, passed)

    def head(self, length: str) -> bytes:
        """The last head, of a request with *length* as its Content-Length; empty if it is unusual.

        Nothing else in it tells where the request ends, and nothing is renamed in it.
        """
        if not self._plain or not self._after_length:
            return b""
        return b"%s%s%s" % (self._before_length, length.encode(), self._after_length)

    def begin(self, rest: int) -> bool:
        """Follow a request without the parser, of which *rest* bytes are still to come.

        Return False, and change nothing, unless a request begins here.
        """
        if self._rest or self._head or self._chunks or self.lost:
            return False
        self.begun += 1
        self._rest = rest
        return True

    def skip(self, data: bytes) -> int:
        """Follow the rest of a body; return where it ends, at most the length of *data*."""
        return self._skip_body(data, 0)

    def _is_usual(self, data: bytes) -> bool:
        """Whether *data* is one request, or its beginning, whose head was seen before."""
        if not data.startswith(self._before_length):
            return False
        at = len(self._before_length)
        end = data.find(b"\r", at, at + _MAX_DIGITS + 1)
        length = data[at:end]
        if not (data.startswith(self._after_length, end) and length.isdigit()):
            return False
        rest = end + len(self._after_length) + int(length) - len(data)
        if rest < 0:
            return False
        self.begun += 1
        self._rest = rest
        self._plain = True
        return True

    def _follow_heads(self, data: bytes, at: int, passed: int) -> Sequence[bytes]:
        """Follow *data* from *at*, where a request begins; return what is behind *passed*."""
        pieces: list[bytes] = []
        for _ in range(MAX_STEPS):
            while data.startswith(b"\r\n", at):
                at += 2
            if at == len(data):
                break
            end = data.find(_END, at)
            head = (data[at : end + 2] if end >= 0 else data[at:]).lower()
            unusual = head.count(_AGENT) > 1 or _UPGRADE in head
            if unusual:
                data = _rename(data, at, head)
            if end < 0:
                pieces.append(data[passed : self._hold(data, at, head)])
                return pieces
            self.begun += 1
            self._find_body(head)
            self._plain = not (unusual or self.lost or self._chunks)
            if self._plain:
                self._remember(data[at : end + 4], head)
            at = end + 4
            if self.lost:
                break
            at = self._skip_body(data, at)
            if at == len(data):
                break
            pieces.append(data[passed:at])
            passed = at
        else:
            self.lost = True
        pieces.append(data[passed:] if passed else data)
        return pieces

    def _hold(self, data: bytes, at: int, head: bytes) -> int:
        """Keep a head that has not ended; return up to where *data* can be passed on now."""
        if len(head) > _MAX_HEAD:
            self.lost = True
            return len(data)
        end = len(data) - _overlap(head)
        self._head = data[at:]
        self._passed = end - at
        return end

    def _find_body(self, head: bytes) -> None:
        """Find out from a whole *head* in lower case what follows it."""
        coding = head.find(_CODING)
        length = head.find(_LENGTH)
        if coding < 0:
            if length < 0:
                self.lost = head.startswith(b"connect ")
                return
            length += len(_LENGTH)
            value = head[length : head.index(b"\r\n", length)].strip(b" \t")
            self.lost = (
                not value.isdigit()
                or len(value) > _MAX_DIGITS
                or head.find(_LENGTH, length) >= 0
                or head.startswith(b"connect ")
            )
            self._rest = 0 if self.lost else int(value)
            return
        coding += len(_CODING)
        end = head.index(b"\r\n", coding)
        first_line = head[: head.index(b"\r\n")]
        chunked = (
            head[coding:end].strip(b" \t") == b"chunked"
            and length < 0
            and head.find(_CODING, coding) < 0
            and first_line.endswith(b" http/1.1")
            and not head.startswith(b"connect ")
        )
        self.lost = not chunked
        self._chunks = Chunks() if chunked else None

    def _remember(self, whole: bytes, head: bytes) -> None:
        """Remember a *whole* head that needed nothing; *head* is the same in lower case."""
        at = head.find(_LENGTH)
        if at >= 0:
            digits = _DIGITS.search(head, at)
            assert digits is not None
            self._before_length = whole[: digits.start()]
            self._after_length = whole[digits.end() :]

    def _skip_body(self, data: bytes, at: int) -> int:
        """Follow the rest of a body from *at*; return where it ends, at most the data's length."""
        chunks = self._chunks
        if chunks is None:
            step = min(self._rest, len(data) - at)
            self._rest -= step
            return at + step
        at = chunks.skip(data, at)
        if chunks.ended:
            self._chunks = None
            self.lost, self.broken = chunks.lost, chunks.broken
        return at


def _rename(data: bytes, at: int, head: bytes) -> bytes:
    """Rename what is to be renamed in *head*, which is *data* from *at* in lower case."""
    made = bytearray(data)
    first_agent = head.find(_AGENT)
    for name, after in ((_AGENT, first_agent + 1), (_UPGRADE, 0)):
        found = head.find(name, after)
        while found >= 0:
            made[at + found : at + found + len(name)] = _RENAMED[name]
            found = head.find(name, found + 1)
    return bytes(made)


def _overlap(head: bytes) -> int:
    """How many bytes at the end of *head* may be the beginning of a name to be renamed."""
    tail = head[head.rfind(b"\r") :]
    if tail[:1] == b"\r" and (_UPGRADE.startswith(tail) or _AGENT.startswith(tail)):
        return len(tail)
    return 0
