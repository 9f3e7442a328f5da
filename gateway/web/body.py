"""Reading a request's body, with limits before and after decompression.

aiohttp's own decompression is off: it accepts a truncated gzip stream, lets unknown
codings through, and has no limit.
"""

import asyncio
import importlib
import zlib
from collections.abc import Callable
from typing import Any

from aiohttp.web import BaseRequest, RequestPayloadError

from gateway.errors import Reason, Refusal

_CHUNK = 1 << 16
_INLINE_INFLATE_LIMIT = 1 << 14
"""Compressed bytes that are decompressed on the event loop."""

_INLINE_INFLATED = 1 << 20
"""Bytes that may come out of them there, in a few milliseconds at most."""

Inflate = Callable[[bytes, int], bytes]


def check_length(request: BaseRequest, limit: int) -> None:
    """Refuse a body whose Content-Length exceeds *limit* bytes, before reading it.

    Raises:
        Refusal: BODY_TOO_LARGE.
    """
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large(limit)


async def read_body(request: BaseRequest, limit: int, timeout: float) -> bytes:
    """Read and decompress a body of at most *limit* bytes within *timeout* seconds.

    Raises:
        Refusal: BODY_TOO_LARGE, BODY_TOO_SLOW, ENCODING_UNSUPPORTED,
            ENCODING_CORRUPT, EXPECTATION_UNSUPPORTED.
    """
    inflate = _inflater(request)
    content = request.content
    if content.is_eof():
        raw = content.read_nowait()
        if len(raw) > limit:
            raise _too_large(limit)
    else:
        await _continue(request)
        raw = await _receive(request, limit, timeout)
    if inflate is None:
        return raw
    if len(raw) <= _INLINE_INFLATE_LIMIT:
        try:
            return inflate(raw, min(limit, _INLINE_INFLATED))
        except Refusal as refusal:
            if refusal.reason is not Reason.BODY_TOO_LARGE or limit <= _INLINE_INFLATED:
                raise
    # Decompression releases the GIL, so the event loop continues meanwhile.
    return await asyncio.to_thread(inflate, raw, limit)


async def _continue(request: BaseRequest) -> None:
    """Answer ``Expect: 100-continue``, now that the head has been checked."""
    expectation = request.headers.get("Expect")
    if expectation is None:
        return
    if expectation.lower() != "100-continue":
        raise Refusal(Reason.EXPECTATION_UNSUPPORTED, "Supported: 100-continue.")
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _receive(request: BaseRequest, limit: int, timeout: float) -> bytes:
    received: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout):
            while chunk := await request.content.readany():
                received.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise Refusal(Reason.BODY_TOO_SLOW) from None
    except RequestPayloadError as error:
        raise Refusal(Reason.ENCODING_CORRUPT, f"Malformed transfer coding: {error}") from None
    return b"".join(received)


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


def _zlib(raw: bytes, limit: int, wbits: int) -> bytes:
    inflater = zlib.decompressobj(wbits)
    try:
        inflated = inflater.decompress(raw, limit + 1)
    except zlib.error as error:
        raise _corrupt(error) from None
    return _complete(inflated, limit, inflater)


def _complete(inflated: bytes, limit: int, inflater: Any) -> bytes:
    """Return *inflated* if it is within the limit and the result of one complete stream."""
    if len(inflated) > limit:
        raise _too_large(limit)
    if not inflater.eof:
        raise _corrupt("The stream ends too early.")
    if inflater.unused_data:
        raise _corrupt("More bytes follow the stream.")
    return inflated


def _gzip(raw: bytes, limit: int) -> bytes:
    return _zlib(raw, limit, zlib.MAX_WBITS | 16)


def _deflate(raw: bytes, limit: int) -> bytes:
    # In RFC 9110 "deflate" means the zlib format; some clients send a raw deflate stream.
    bare = len(raw) < 2 or raw[0] & 0x0F != 8 or (raw[0] << 8 | raw[1]) % 31
    return _zlib(raw, limit, -zlib.MAX_WBITS if bare else zlib.MAX_WBITS)


_MAX_WINDOW = 23
"""Log2 of the largest zstd window: 8 MiB, the limit of RFC 9659."""


def _zstd_with(zstd: Any) -> Inflate:
    def inflate(raw: bytes, limit: int) -> bytes:
        options = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW}
        inflater = zstd.ZstdDecompressor(options=options)
        try:
            inflated: bytes = inflater.decompress(raw, limit + 1)
        except zstd.ZstdError as error:
            raise _corrupt(error) from None
        return _complete(inflated, limit, inflater)

    return inflate


def _brotli_with(brotli: Any) -> Inflate:
    def inflate(raw: bytes, limit: int) -> bytes:
        inflater = brotli.Decompressor()
        inflated = bytearray()
        try:
            # The library says that it can take more input even while it still has output.
            piece = inflater.process(raw, output_buffer_limit=_CHUNK)
            while piece:
                inflated += piece
                if len(inflated) > limit:
                    raise _too_large(limit)
                piece = inflater.process(b"", output_buffer_limit=_CHUNK)
        except brotli.error as error:
            raise _corrupt(error) from None
        if not inflater.is_finished():
            raise _corrupt("The stream ends too early.")
        return bytes(inflated)

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
