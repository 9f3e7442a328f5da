"""Reading a request's body, with limits before and after decompression."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from aiohttp.web import BaseRequest, RequestPayloadError

from gateway.errors import Reason, Refusal
from gateway.web.budget import UNANNOUNCED, Share
from gateway.web.codings import inflater

PIECE = 1 << 19
"""Bytes of a large body that are given at once."""

_INLINE_INFLATE_LIMIT = 1 << 14
"""Compressed bytes that are decompressed on the event loop, as long as one piece comes out."""

_EXPECTED = 0.25
"""Seconds for a body to arrive after which its request is no work, but waits for its client."""

_INFLATING = 4
"""Bodies that are decompressed in threads at once. Each has a window of 16 MiB at most."""


def arrived(request: BaseRequest, limit: int) -> bytes | None:
    """The body as it was sent, if all of it is here: it usually comes with the head.

    Raises:
        Refusal: BODY_TOO_LARGE: it has, or announces, more than *limit* bytes.
    """
    content = request.content
    if content.is_eof():
        raw = content.read_nowait()
        if len(raw) > limit:
            raise _too_large(limit)
        return raw
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    return None


def announced(request: BaseRequest) -> int:
    """How many bytes to reserve for a body that is still to come."""
    length = request.content_length
    return UNANNOUNCED if length is None else length


class Pieces:
    """A body too large to be read whole, as it arrives and is decompressed.

    Attributes:
        size: bytes of the body that were given so far.
    """

    def __init__(
        self, begun: bytes, more: Callable[[int], Awaitable[bytes]], limit: int, held: int = 0
    ) -> None:
        """The body begins with *begun*; *more* gives what follows, and nothing at the end.

        It is told after how many bytes to stop.

        *held* bytes are kept besides: the body as it was sent, and a decompressor's window.
        """
        self._begun = begun
        self._more = more
        self._limit = limit
        self._held = held
        self.size = 0

    @property
    def held(self) -> int:
        """How many bytes are here that were not given yet, or not for the last time."""
        return self._held + len(self._begun)

    async def next(self) -> bytes:
        """The next bytes, not many more than `PIECE`; empty at the end of the body.

        Raises:
            Refusal: BODY_TOO_LARGE, BODY_TOO_SLOW, ENCODING_CORRUPT.
        """
        piece = self._begun[self.size : self.size + PIECE]
        if not piece:
            self._begun = b""
            piece = await self._more(min(PIECE, self._limit + 1 - self.size))
        self.size += len(piece)
        if self.size > self._limit:
            raise _too_large(self._limit)
        return piece


class BodyReader:
    """Reads and decompresses bodies, each within the share of memory that it was given."""

    def __init__(self, timeout: float) -> None:
        """A body, or a piece of a large one, may take *timeout* seconds to arrive."""
        self._timeout = timeout
        self._inflating = asyncio.Semaphore(_INFLATING)

    async def read(
        self, request: BaseRequest, limit: int, share: Share, raw: bytes | None
    ) -> bytes:
        """Read a body of at most *limit* bytes; what it takes is reserved in *share*.

        *raw* is what has `arrived`.

        Raises:
            Refusal: BODY_TOO_LARGE, BODY_TOO_SLOW, ENCODING_UNSUPPORTED,
                ENCODING_CORRUPT, EXPECTATION_UNSUPPORTED, OVERLOADED.
        """
        body = await self.begin(request, limit, share, raw, limit)
        assert isinstance(body, bytes)
        return body

    async def begin(
        self, request: BaseRequest, limit: int, share: Share, raw: bytes | None, whole: int
    ) -> bytes | Pieces:
        """As `read`, but of a body of more than *whole* bytes only the beginning is read."""
        coded = inflater(request)
        if raw is None:
            await _continue(request)
            arriving = partial(_arriving, request, self._timeout)
            if coded is None and (request.content_length or 0) > whole:
                # What comes piece by piece waits for its client most of the time.
                share.pause()
                return Pieces(b"", arriving, limit)
            most = whole if coded is None else limit
            waiting = asyncio.get_running_loop().call_later(_EXPECTED, share.pause)
            try:
                raw, whole_here = await _receive(request, limit, most, self._timeout, share)
            finally:
                waiting.cancel()
            if not whole_here:
                share.pause()
                return Pieces(raw, arriving, limit)
            if not share.work:
                share.begin()
        if coded is None:
            return raw
        inflate, window = coded
        if len(raw) <= _INLINE_INFLATE_LIMIT:
            pieces = inflate(raw)
            inflated = next(pieces, b"")
            if next(pieces, None) is None:
                if len(inflated) > limit:
                    raise _too_large(limit)
                share.grow(len(inflated))
                return inflated
            # It is larger than it looks. Begin again: what waits for its turn keeps no window.
            pieces.close()
        async with self._inflating:
            pieces = inflate(raw)
            inflated, whole_here = await _inflate(pieces, limit, whole, share)
            if whole_here:
                return inflated
        # Its turn is over, but it keeps its window: that counts as what it holds.
        more = partial(_inflated, pieces)
        return Pieces(inflated, more, limit, len(raw) + window)


async def _inflate(
    pieces: Iterator[bytes], limit: int, whole: int, share: Share
) -> tuple[bytes, bool]:
    """Join *pieces* up to *whole* bytes, and tell whether these are all.

    Each is made in a thread: decompression releases the GIL.
    """
    inflated = io.BytesIO()
    size = 0
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        share.grow(len(piece))
        inflated.write(piece)
        if size > whole:
            return inflated.getvalue(), False
    return inflated.getvalue(), True


async def _continue(request: BaseRequest) -> None:
    """Answer ``Expect: 100-continue``, now that the head has been checked."""
    expectation = request.headers.get("Expect")
    if expectation is None:
        return
    if expectation.lower() != "100-continue":
        raise Refusal(Reason.EXPECTATION_UNSUPPORTED, "Supported: 100-continue.")
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _receive(
    request: BaseRequest, limit: int, whole: int, timeout: float, share: Share
) -> tuple[bytes, bool]:
    """What arrives, up to *whole* bytes, and whether that is all."""
    # A list of what arrives could be many times as large: a client may send byte by byte.
    received = io.BytesIO()
    size = 0
    with _faults():
        async with asyncio.timeout(timeout):
            while chunk := await request.content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                share.cover(size)
                received.write(chunk)
                if size > whole:
                    return received.getvalue(), False
    return received.getvalue(), True


async def _arriving(request: BaseRequest, timeout: float, enough: int) -> bytes:
    """At least *enough* bytes of a body, or what is left of it."""
    received = io.BytesIO()
    with _faults():
        async with asyncio.timeout(timeout):
            while received.tell() < enough and (chunk := await request.content.readany()):
                received.write(chunk)
    return received.getvalue()


async def _inflated(pieces: Iterator[bytes], enough: int) -> bytes:
    """At least *enough* bytes of a body, or what is left of it; each piece is made in a thread."""
    inflated = io.BytesIO()
    while inflated.tell() < enough and (piece := await asyncio.to_thread(next, pieces, b"")):
        inflated.write(piece)
    return inflated.getvalue()


@contextmanager
def _faults() -> Iterator[None]:
    """Refuse a body that is late or malformed."""
    try:
        yield
    except TimeoutError:
        raise Refusal(Reason.BODY_TOO_SLOW) from None
    except RequestPayloadError as error:
        raise Refusal(Reason.ENCODING_CORRUPT, f"Malformed transfer coding: {error}") from None


def _too_large(limit: int) -> Refusal:
    said = f"Limit: {limit} bytes after decompression."
    return Refusal(Reason.BODY_TOO_LARGE, said, limit=limit)
