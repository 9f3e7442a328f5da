"""Reading a request's body, with limits before and after decompression.

aiohttp's own decompression is off: it accepts a truncated gzip stream, lets unknown
codings through, and has no limit.
"""

import asyncio
import importlib
import io
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

from aiohttp.web import BaseRequest, RequestPayloadError

from gateway.errors import Reason, Refusal
from gateway.web.budget import UNANNOUNCED, Share

_CHUNK = 1 << 16
"""Compressed bytes that are given to a decompressor at once."""

_PIECE = 1 << 18
"""Bytes that a decompressor gives at once, in a millisecond or two."""

_INLINE_INFLATE_LIMIT = 1 << 14
"""Compressed bytes that are decompressed on the event loop, as long as one piece comes out."""

_INFLATING = 4
"""Bodies that are decompressed in threads at once. Each has a window of 16 MiB at most."""

Inflate = Callable[[bytes], Generator[bytes]]
"""Decompresses in pieces of at most `_PIECE` bytes; raises ENCODING_CORRUPT."""


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


class BodyReader:
    """Reads and decompresses bodies, each within the share of memory that it was given."""

    def __init__(self, timeout: float) -> None:
        """A body may take *timeout* seconds to arrive."""
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
        inflate = _inflater(request)
        if raw is None:
            await _continue(request)
            raw = await _receive(request, limit, self._timeout, share)
        if inflate is None:
            return raw
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
            return await _inflate(inflate(raw), limit, share)


async def _inflate(pieces: Iterator[bytes], limit: int, share: Share) -> bytes:
    """Join *pieces*, each made in a thread: decompression releases the GIL."""
    inflated = io.BytesIO()
    size = 0
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        share.grow(len(piece))
        inflated.write(piece)
    return inflated.getvalue()


async def _continue(request: BaseRequest) -> None:
    """Answer ``Expect: 100-continue``, now that the head has been checked."""
    expectation = request.headers.get("Expect")
    if expectation is None:
        return
    if expectation.lower() != "100-continue":
        raise Refusal(Reason.EXPECTATION_UNSUPPORTED, "Supported: 100-continue.")
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _receive(request: BaseRequest, limit: int, timeout: float, share: Share) -> bytes:
    # A list of what arrives could be many times as large: a client may send byte by byte.
    received = io.BytesIO()
    size = 0
    try:
        async with asyncio.timeout(timeout):
            while chunk := await request.content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                share.cover(size)
                received.write(chunk)
    except TimeoutError:
        raise Refusal(Reason.BODY_TOO_SLOW) from None
    except RequestPayloadError as error:
        raise Refusal(Reason.ENCODING_CORRUPT, f"Malformed transfer coding: {error}") from None
    return received.getvalue()


def _inflater(request: BaseRequest) -> Inflate | None:
    if "Content-Encoding" not in request.headers:
        return None
    # Repeated headers form one list (RFC 9110), and we support no list of codings.
    coding = ",".join(request.headers.getall("Content-Encoding", ())).strip().lower()
    if coding in ("", "identity"):
        return None
    inflate = _CODINGS.get(coding)
    if inflate is None:
        known = ", ".join(_CODINGS)
        raise Refusal(Reason.ENCODING_UNSUPPORTED, f"Supported: {known}.")
    return inflate


def _too_large(limit: int) -> Refusal:
    return Refusal(Reason.BODY_TOO_LARGE, f"Limit: {limit} bytes after decompression.")


def _corrupt(why: object) -> Refusal:
    return Refusal(Reason.ENCODING_CORRUPT, f"{why}")


def _zlib(raw: bytes, wbits: int) -> Generator[bytes]:
    inflater = zlib.decompressobj(wbits)
    try:
        for at in range(0, len(raw), _CHUNK):
            # Pieces of the input, because what is left of it is copied at each call.
            if inflater.eof:
                raise _more_follows()
            yield from _drain(inflater, raw[at : at + _CHUNK])
    except zlib.error as error:
        raise _corrupt(error) from None
    _check_end(inflater)


def _drain(inflater: Any, data: bytes) -> Generator[bytes]:
    while piece := inflater.decompress(data, _PIECE):
        yield piece
        data = inflater.unconsumed_tail


def _check_end(inflater: Any) -> None:
    if not inflater.eof:
        raise _corrupt("The stream ends too early.")
    if inflater.unused_data:
        raise _more_follows()


def _more_follows() -> Refusal:
    return _corrupt("More bytes follow the stream.")


def _gzip(raw: bytes) -> Generator[bytes]:
    return _zlib(raw, zlib.MAX_WBITS | 16)


def _deflate(raw: bytes) -> Generator[bytes]:
    # In RFC 9110 "deflate" means the zlib format; some clients send a raw deflate stream.
    bare = len(raw) < 2 or raw[0] & 0x0F != 8 or (raw[0] << 8 | raw[1]) % 31
    return _zlib(raw, -zlib.MAX_WBITS if bare else zlib.MAX_WBITS)


_MAX_WINDOW = 23
"""Log2 of the largest zstd window: 8 MiB, the limit of RFC 9659."""


def _zstd_with(zstd: Any) -> Inflate:
    def inflate(raw: bytes) -> Generator[bytes]:
        options = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW}
        inflater = zstd.ZstdDecompressor(options=options)
        try:
            piece = inflater.decompress(raw, _PIECE)
            while piece or not (inflater.eof or inflater.needs_input):
                yield piece
                piece = b"" if inflater.eof else inflater.decompress(b"", _PIECE)
        except zstd.ZstdError as error:
            raise _corrupt(error) from None
        _check_end(inflater)

    return inflate


def _brotli_with(brotli: Any) -> Inflate:
    def inflate(raw: bytes) -> Generator[bytes]:
        inflater = brotli.Decompressor()
        try:
            # The library says that it can take more input even while it still has output.
            piece = inflater.process(raw, output_buffer_limit=_PIECE)
            while piece:
                yield piece
                piece = inflater.process(b"", output_buffer_limit=_PIECE)
        except brotli.error as error:
            raise _corrupt(error) from None
        if not inflater.is_finished():
            raise _corrupt("The stream ends too early.")

    return inflate


def _optional(name: str, using: Callable[[Any], Inflate]) -> Inflate | None:
    try:
        return using(importlib.import_module(name))
    except ImportError:
        return None


_CODINGS: dict[str, Inflate] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
for _coding, _found in (
    ("zstd", _optional("compression.zstd", _zstd_with) or _optional("backports.zstd", _zstd_with)),
    ("br", _optional("brotli", _brotli_with)),
):
    if _found is not None:
        _CODINGS[_coding] = _found
