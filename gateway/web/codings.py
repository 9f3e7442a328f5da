"""Content codings, decompressed in pieces.

aiohttp's own decompression is off: it accepts a truncated gzip stream, lets unknown
codings through, and has no limit.
"""

import importlib
import zlib
from collections.abc import Callable, Generator
from typing import Any

from aiohttp.web import BaseRequest

from gateway.errors import Reason, Refusal

_CHUNK = 1 << 16
"""Compressed bytes that are given to a decompressor at once."""

_PIECE = 1 << 18
"""Bytes that a decompressor gives at once, in a millisecond or two."""

Inflate = Callable[[bytes], Generator[bytes]]
"""Decompresses in pieces of at most `_PIECE` bytes; raises ENCODING_CORRUPT."""


_WINDOWS = {"zstd": 1 << 24, "br": 1 << 24}
_SMALL_WINDOW = 1 << 16
"""Bytes that a decompressor keeps, by coding: the small window is that of gzip and deflate."""


def inflater(request: BaseRequest) -> tuple[Inflate, int] | None:
    """What decompresses a body, and the bytes of its window; None for one that is as it is.

    Raises:
        Refusal: ENCODING_UNSUPPORTED.
    """
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
    return inflate, _WINDOWS.get(coding, _SMALL_WINDOW)


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
