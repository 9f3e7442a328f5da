"""Bodies: decompressed up to the limit, and refused if they are corrupt."""

import asyncio
import functools
import gzip
import json
import random
import tracemalloc
import zlib

import brotli
import pytest

from tests.dialects import READING

try:
    from compression import zstd
except ImportError:
    from backports import zstd

LIMIT = 2000
SMALL = {"logspace": {"max_body": LIMIT}}
BATCH = json.dumps([READING]).encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate, bare": raw_deflate,
    "zstd": zstd.compress,
    "br": functools.partial(brotli.compress, quality=5),  # the default takes seconds
}
EACH = pytest.mark.parametrize("coding", sorted(CODINGS))


def packed(coding: str, body: bytes) -> tuple[bytes, dict[str, str]]:
    return CODINGS[coding](body), {"Content-Encoding": coding.split(",", maxsplit=1)[0]}


def batch_of(size: int) -> bytes:
    """A batch whose text has *size* bytes."""
    return BATCH + b" " * (size - len(BATCH))


@EACH
async def test_a_compressed_body_is_inflated(gateway, coding):
    body, headers = packed(coding, BATCH)

    assert 202 == (await gateway.logspace(body, **headers)).status
    assert [READING] == [event["data"] for event in await gateway.events()]


@pytest.mark.parametrize("coding", ["identity", "", " GZIP ", "Zstd"])
async def test_a_coding_is_recognized_in_any_case(shared, coding):
    pack = {"gzip": gzip.compress, "zstd": zstd.compress}.get(coding.strip().lower(), bytes)

    assert 202 == (await shared.logspace(pack(BATCH), **{"Content-Encoding": coding})).status


@pytest.mark.parametrize("codings", [["gzip", "br"], ["identity", "gzip"], ["gzip", "gzip"]])
async def test_several_codings_at_once_are_not_supported(shared, codings):
    headers = [("Content-Encoding", coding) for coding in codings]
    headers.append(("logspace.space-token", "development"))
    answer = await shared.send("PUT", "/events", gzip.compress(BATCH), headers)

    assert (415, "UNSUPPORTED_ENCODING") == (answer.status, answer.json["type"])


async def test_the_limit_counts_decompressed_bytes(running):
    async with running(SMALL) as gateway:
        for size, status in ((LIMIT, 202), (LIMIT + 1, 413)):
            assert status == (await gateway.logspace(batch_of(size))).status
            for coding in CODINGS:
                body, headers = packed(coding, batch_of(size))
                assert status == (await gateway.logspace(body, **headers)).status, coding


@EACH
@pytest.mark.parametrize("events", [500, 5_000])
async def test_a_compressed_body_of_any_size_is_inflated(shared, coding, events):
    batch = json.dumps([{**READING, "id": f"{at}"} for at in range(events)]).encode()
    body, headers = packed(coding, batch)

    assert 202 == (await shared.logspace(body, **headers)).status


@EACH
async def test_a_body_that_inflates_beyond_every_limit_is_413(running, coding):
    body, headers = packed(coding, random.Random(1).randbytes(200_000) + bytes(2_000_000))
    async with running({"logspace": {"max_body": 2_000_000}}) as gateway:
        assert 413 == (await gateway.logspace(body, **headers)).status


@EACH
async def test_a_body_cut_short_anywhere_is_400(gateway, coding):
    body, headers = packed(coding, BATCH)
    for end in {*range(0, len(body), 5), len(body) - 1}:
        answer = await gateway.logspace(body[:end], **headers)

        assert (400, "INVALID_EVENTS") == (answer.status, answer.json["type"])
    assert [] == await gateway.events(kind="event")


@EACH
async def test_bytes_after_the_stream_are_400(gateway, coding):
    body, headers = packed(coding, BATCH)
    for tail in (b"\0", b"[]", body):
        answer = await gateway.logspace(body + tail, **headers)

        assert (400, "INVALID_EVENTS") == (answer.status, answer.json["type"])
    assert [] == await gateway.events()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd with a checksum"])
async def test_a_body_with_a_flipped_bit_is_never_accepted_as_the_original(shared, coding):
    if coding.startswith("zstd"):
        options = {zstd.CompressionParameter.checksum_flag: 1}
        body, headers = zstd.compress(BATCH, options=options), {"Content-Encoding": "zstd"}
    else:
        body, headers = packed(coding, BATCH)
    for at in range(12, len(body), 5):
        wrong = bytearray(body)
        wrong[at] ^= 0x10

        assert 400 == (await shared.logspace(bytes(wrong), **headers)).status


@EACH
async def test_a_decompression_bomb_is_refused_without_being_fully_decompressed(running, coding):
    bomb, headers = packed(coding, b"[" + b" " * 30_000_000)
    assert len(bomb) < 500_000
    async with running({"logspace": {"max_body": 1_000_000}}) as gateway:
        tracemalloc.start()
        try:
            answer = await gateway.logspace(bomb, **headers)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert (413, "BODY_TOO_LARGE") == (answer.status, answer.json["type"])
    assert peak < 10_000_000


async def test_a_nested_bomb_is_decompressed_once(shared):
    inner = gzip.compress(b" " * 1_000_000)
    answer = await shared.logspace(gzip.compress(inner), **{"Content-Encoding": "gzip"})

    assert 400 == answer.status


async def test_a_zstd_window_larger_than_rfc_9659_allows_is_refused(shared):
    options = {zstd.CompressionParameter.window_log: 27}
    stream = zstd.ZstdCompressor(options=options)
    body = stream.compress(BATCH) + stream.flush()
    answer = await shared.logspace(body, **{"Content-Encoding": "zstd"})

    assert (400, "INVALID_EVENTS") == (answer.status, answer.json["type"])


async def test_while_many_bombs_are_refused_others_are_answered(running):
    body, headers = packed("gzip", b" " * 20_000_000)
    async with running({"logspace": {"max_body": 1_000_000}}) as gateway:
        answers = await asyncio.gather(
            *(gateway.logspace(body, **headers) for _ in range(20)), gateway.logspace(BATCH)
        )

    assert [413] * 20 + [202] == [answer.status for answer in answers]
