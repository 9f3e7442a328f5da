"""A large batch is stored piece by piece: nothing of it is lost, doubled, or held in memory."""

import asyncio
import gzip
import json
import sys
import zlib
from contextlib import AsyncExitStack
from unittest.mock import patch

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway import adapter
from gateway.adapters import batch, logspace
from gateway.web import body as bodies
from gateway.web import pieces
from schemas import arrays, cutting
from tests.dialects import READING
from tests.system.wire import locked
from tests.web.sockets import chunked, connected, start

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1 << 20
CHUNKED = "Transfer-Encoding: chunked"


def event(name, size=20_000):
    return json.dumps({**READING, "id": name, "string-properties": {"message": ["x" * size]}})


def large(events=200, first=0, size=20_000):
    """The text of a batch without its end: by default 4 MB, where 2 MiB are stored at once."""
    return "[" + ",".join(event(f"e-{at}", size) for at in range(first, first + events))


async def names(gateway, kind="event"):
    return [one["data"]["id"] for one in await gateway.events(kind=kind)]


def expected_names(events=200, first=0):
    return [f"e-{at}" for at in range(first, first + events)]


async def stored(gateway, least):
    """Wait until at least so many events are stored."""
    async with asyncio.timeout(20):
        while len(await names(gateway)) < least:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)


async def test_a_backlog_of_a_thousand_large_events_is_stored_once(gateway):
    body = (large(1000) + "]").encode()
    assert len(body) > 20_000_000
    first, again = await gateway.logspace(body), await gateway.logspace(body)

    assert [(202, b""), (202, b"")] == [(one.status, one.body) for one in (first, again)]
    assert (None, "1000") == tuple(a.headers.get("Gateway-Duplicate") for a in (first, again))
    assert expected_names(1000) == await names(gateway)
    who = '{dialect="logspace",tenant="development"}'
    assert 1000 == await gateway.metric(f"gateway_accepted_total{who}")
    assert 0 == gateway.gateway._budget.held


@pytest.mark.parametrize(
    "coding",
    [
        "identity",
        "gzip",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("deflate", "zstd")),
    ],
)
async def test_a_large_batch_of_moesif_is_stored(gateway, coding):
    call = {"request": {"time": "2026-01-15T10:00:00Z", "verb": "GET", "uri": "/"}}
    calls = [{**call, "transaction_id": f"{at}", "pad": "y" * 50_000} for at in range(400)]
    packs = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
    body = packs.get(coding, bytes)(json.dumps(calls).encode())
    answer = await gateway.moesif("/v1/events/batch", body, **{"Content-Encoding": coding})

    assert (201, b"") == (answer.status, answer.body)
    assert calls == [one["data"] for one in await gateway.events()]


@pytest.mark.parametrize("headers", [["Content-Length: {}"], [CHUNKED]])
async def test_a_large_body_may_be_chunked_and_begin_with_a_byte_order_mark(gateway, headers):
    body = b"\xef\xbb\xbf" + (large() + "\n]\n").encode()
    sent = chunked(*(body[at : at + 70_001] for at in range(0, len(body), 70_001)))
    async with connected(gateway) as line:
        await line.say(start(*(one.format(len(body)) for one in headers)))
        await line.say(sent if CHUNKED in headers else body)

        assert 202 == (await line.hear()).status
    assert expected_names() == await names(gateway)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("", "is not closed"),
        (",]", "the element at byte"),
        ("]]", "more text after byte"),
        ("]x", "more text after byte"),
        (",{'a':1}]", "the element at byte"),
        (",\udcff]", "Not UTF-8: byte"),
    ],
)
async def test_a_fault_at_the_end_is_400_and_a_retry_finds_duplicates(gateway, end, said):
    body = large()
    answer = await gateway.logspace((body + end).encode(errors="surrogateescape"))

    assert (400, "INVALID_EVENTS") == (answer.status, answer.json["type"])
    assert said in answer.json["parameters"]["errors"][0]["message"]
    before = await names(gateway)
    assert expected_names(len(before)) == before
    assert 50 < len(before) < 200
    [rejected] = await gateway.events(kind="rejected")
    assert body[: 64 * 1024] == rejected["data"]["raw"]
    again = await gateway.logspace((body + "]").encode())
    assert (202, str(len(before))) == (again.status, again.headers["Gateway-Duplicate"])
    assert expected_names() == await names(gateway)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a":"' + b"x" * 3_000_000 + b'"}', "Expected a JSON array."),
        (("[" + " " * 3_000_000 + "]").encode("utf-16"), "Not UTF-8: byte 0 is invalid."),
        (b" " * 3_000_000, "The body is empty."),
        (b"[" * 3_000_000, "Not JSON: an array, an object or a string is not closed."),
    ],
)
async def test_a_large_body_that_is_no_array_is_400(gateway, body, said):
    answer = await gateway.logspace(body)

    assert 400 == answer.status
    assert said == answer.json["parameters"]["errors"][0]["message"]
    assert ["rejected"] == [one["kind"] for one in await gateway.events()]


async def test_spaces_alone_are_an_empty_batch(gateway):
    assert 202 == (await gateway.logspace(b" [" + b" " * 5 * MIB + b"] ")).status
    assert [] == await gateway.events()


async def test_a_giant_event_is_invalid_and_the_others_are_stored(gateway):
    giant = event("giant", 6_000_000)
    answer = await gateway.logspace(f"{large(5)},{giant},{event('e-5')}]".encode())

    assert (202, "1") == (answer.status, answer.headers["Gateway-Rejected"])
    assert expected_names(6) == await names(gateway)
    [rejected] = await gateway.events(kind="rejected")
    assert giant[:MIB] == rejected["data"]["raw"]
    assert [{"path": "", "message": "Larger than 1048576 bytes."}] == rejected["data"]["problems"]


async def test_duplicates_are_found_within_a_piece_and_across_pieces(gateway):
    body = f"{large(100)},{event('e-99')},{event('e-0')},{event('new')}]"
    answer = await gateway.logspace(body.encode())

    assert (202, "2") == (answer.status, answer.headers["Gateway-Duplicate"])
    assert [*expected_names(100), "new"] == await names(gateway)


async def test_an_invalid_event_is_named_by_its_place_in_the_batch(gateway):
    body = "[" + ",".join([event("", 20_000)] + [event("", 20_001 + n) for n in range(150)]) + "]"
    answer = await gateway.logspace(body.encode())

    assert 400 == answer.status
    paths = [one["path"] for one in answer.json["parameters"]["errors"]]
    assert [f"[{at}].id" for at in range(100)] == paths
    assert 151 == len(await gateway.events(kind="rejected"))


async def test_a_batch_without_a_valid_event_may_be_accepted(running):
    body = ("[" + ",".join(event("", 20_000 + n) for n in range(150)) + "]").encode()
    async with running({"logspace": {"on_invalid": "accept"}}) as gateway:
        answer = await gateway.logspace(body)

    assert (202, "150") == (answer.status, answer.headers["Gateway-Rejected"])


async def test_invalid_events_of_all_pieces_together_are_bounded(gateway):
    with patch.object(adapter, "MAX_REJECTED", 70), patch.object(batch, "MAX_EXPLAINED", 60):
        body = "[" + ",".join(event("", 20_000 + n) for n in range(150)) + "]"
        answer = await gateway.logspace(body.encode())
    rejected = await gateway.events(kind="rejected")
    reasons = [one["data"]["problems"][0]["path"] for one in rejected]

    assert 400 == answer.status
    assert 150 == await gateway.metric(
        'gateway_rejected_total{dialect="logspace",tenant="development"}'
    )
    assert ["id"] * 60 + [""] * 10 == reasons


@pytest.mark.parametrize("end", ["", ",{}]", "]"])
async def test_where_invalid_events_are_refused_a_large_body_is_read_whole(running, end):
    async with running({"logspace": {"on_invalid": "refuse"}}) as gateway:
        answer = await gateway.logspace((large() + end).encode())

        assert (202 if end == "]" else 400) == answer.status
        assert (expected_names() if end == "]" else []) == await names(gateway)


@pytest.mark.parametrize("coding", ["gzip", "identity", "chunked"])
async def test_a_body_beyond_the_limit_is_413_and_a_warning(running, coding):
    body = (large(400) + "]").encode()
    async with running({"logspace": {"max_body": 6_000_000}}) as gateway:
        with structlog.testing.capture_logs() as lines:
            if coding == "chunked":
                async with connected(gateway) as line:
                    await line.say(start(CHUNKED), b"%x\r\n" % len(body), body)
                    status = (await line.hear()).status
            else:
                sent = gzip.compress(body) if coding == "gzip" else body
                headers = {"Content-Encoding": coding}
                status = (await gateway.logspace(sent, **headers)).status
        found = len(await names(gateway))

    assert 413 == status
    [told] = [line for line in lines if line.get("reason") == "body_too_large"]
    assert ("warning", "development", 6_000_000) == (
        told["log_level"], told["tenant"], told["limit"],
    )  # fmt: skip
    assert {"gzip": len(gzip.compress(body)), "identity": len(body)}.get(coding) == told[
        "announced"
    ]
    # What announces its length is refused before it arrives.
    assert (found == 0) is (coding == "identity")


async def test_the_warning_of_too_many_events_names_their_limit_and_none_of_bytes(gateway):
    with structlog.testing.capture_logs() as lines:
        answer = await gateway.logspace(b"[" + b"1," * 1_500_000 + b"1]")

    assert 413 == answer.status
    [told] = [line for line in lines if line.get("reason") == "body_too_large"]
    assert ("warning", "Limit: 100000 elements.") == (told["log_level"], told["problem"])
    assert "limit" not in told


async def test_a_stranger_with_a_large_body_is_no_warning(gateway):
    with structlog.testing.capture_logs() as lines:
        assert 403 == (await gateway.send("PUT", "/events", large().encode())).status
    assert ["info"] == [one["log_level"] for one in lines if one["event"] == "request_refused"]


async def test_a_slow_sender_has_its_time_for_each_piece(running):
    body = (large(250) + "]").encode()
    async with running({"server": {"body_timeout": 1}}) as gateway, connected(gateway) as line:
        await line.say(start(f"Content-Length: {len(body)}"))
        for at in range(0, len(body), 600_000):
            await line.say(body[at : at + 600_000])
            await asyncio.sleep(0.2)

        assert 202 == (await line.hear()).status
        assert expected_names(250) == await names(gateway)


async def test_a_piece_that_does_not_arrive_is_408_and_a_retry_finds_duplicates(running):
    body = (large() + "]").encode()
    async with running({"server": {"body_timeout": 1}}) as gateway:
        async with connected(gateway) as line:
            await line.say(start(f"Content-Length: {len(body)}"), body[:3_000_000])
            assert 408 == (await line.hear()).status
        found = len(await names(gateway))
        assert 50 < found < 200
        assert 0 == gateway.gateway._budget.held
        again = await gateway.logspace(body)

    assert (202, str(found)) == (again.status, again.headers["Gateway-Duplicate"])


async def test_a_client_that_leaves_midway_sends_the_same_again(gateway):
    body = (large() + "]").encode()
    async with connected(gateway) as line:
        await line.say(start(f"Content-Length: {len(body)}"), body[:3_000_000])
        await stored(gateway, 50)
        assert pieces.RESERVED == gateway.gateway._budget.held
    async with asyncio.timeout(20):
        while gateway.gateway._budget.held:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    found = len(await names(gateway))
    again = await gateway.logspace(body)

    assert (202, str(found)) == (again.status, again.headers["Gateway-Duplicate"])
    assert expected_names() == await names(gateway)


async def test_a_store_that_becomes_unavailable_midway_is_replaced_by_the_spool(running, tmp_path):
    body = (large() + "]").encode()
    async with running({"store": {"deadline": 1}}) as gateway, connected(gateway) as line:
        await line.say(start(f"Content-Length: {len(body)}"), body[:2_500_000])
        await stored(gateway, 50)
        found = len(await names(gateway))
        with locked(tmp_path / "events.db"):
            await line.say(body[2_500_000:])
            answer = await line.hear()
            assert 202 == answer.status
            assert 200 - found >= int(answer.headers["gateway-queued"]) > 0
        async with asyncio.timeout(20):
            while await gateway.metric("gateway_spool_depth"):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)

        assert sorted(expected_names()) == sorted(await names(gateway))


async def test_pieces_wait_while_others_fill_the_queue_for_the_disk(running):
    async with running({"ingest": {"max_waiting_bytes": 600_000}}) as gateway:
        answers = await asyncio.gather(
            *(gateway.logspace((large(200, 200 * at) + "]").encode()) for at in range(4))
        )

        assert [202] * 4 == [one.status for one in answers]
        assert sorted(expected_names(800)) == sorted(await names(gateway))


async def test_a_large_batch_without_room_is_503_before_it_arrives(running):
    limits = {"inflight_bytes": 25 * MIB, "tenant_inflight_bytes": 25 * MIB}
    changes = {"limits": limits, "otlp": {"max_body": MIB}}
    async with running(changes) as gateway, AsyncExitStack() as lines:
        for _ in range(12):
            slow = await lines.enter_async_context(connected(gateway))
            await slow.say(start(f"Content-Length: {2 * MIB}"))
        async with asyncio.timeout(20):
            while gateway.gateway._budget.held < 24 * MIB:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        line = await lines.enter_async_context(connected(gateway))
        await line.say(start("Content-Length: 100000000"))

        assert 503 == (await line.hear()).status


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "identity"}])
async def test_memory_of_a_large_batch_is_that_of_its_pieces(gateway, headers):
    body = (large(1000) + "]").encode()
    most = 0

    async def watch():
        nonlocal most
        while True:
            most = max(most, gateway.gateway._budget.held)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    assert 202 == (await gateway.logspace(body, **headers)).status
    watching.cancel()

    assert pieces.RESERVED == most


ELEMENTS = st.one_of(
    st.integers(0, 12).map(lambda n: event(f"{n}", n)),
    st.sampled_from(["{}", '{"id":1}', "7", '"\\ud800"', "[]", "NaN", event("", 1)]),
    st.just(event("big", 400)),
)
SMALL = {"ingest": {"max_event": 300}, "logspace": {"max_body": 100_000}}


@given(
    st.lists(ELEMENTS, max_size=12),
    st.sampled_from(["]", "]", "]", "", ",]", "]]", ",{'a':1}]"]),
    st.sampled_from([",", " ,\n", "," + " " * 40]),
    st.integers(20, 700),
    st.integers(1, 300),
)
def test_a_streamed_batch_is_answered_and_stored_as_one_read_whole(
    running, tmp_path_factory, elements, end, between, piece, step
):
    body = ("[" + between.join(elements) + end).encode()

    async def outcome(whole):
        folder = tmp_path_factory.mktemp("whole")
        changes = {**SMALL, "store": {"url": f"sqlite:///{folder}/events.db"}}
        with (
            patch.object(logspace, "WHOLE", whole),
            patch.object(arrays, "_EXPLAINED", 0),
            patch.object(arrays, "STREAM_PART", piece),
            patch.object(cutting, "BLOCK", 7),
            patch.object(bodies, "PIECE", piece),
            patch.object(pieces, "PIECE", piece),
        ):
            async with running(changes) as gateway, connected(gateway) as line:
                parts = (body[at : at + step] for at in range(0, len(body), step))
                await line.say(start(CHUNKED), chunked(*parts))
                answer = await line.hear()
                valid = [one["data"] for one in await gateway.events(kind="event")]
                rejected = [one["data"] for one in await gateway.events(kind="rejected")]
        counts = {k: v for k, v in answer.headers.items() if k.startswith("gateway-")}
        return answer.status, answer.body, counts, valid, sorted(rejected, key=json.dumps)

    as_a_whole, streamed = asyncio.run(outcome(100_000)), asyncio.run(outcome(0))
    assert as_a_whole[:2] == streamed[:2]
    if end == "]":
        assert as_a_whole[3:] == streamed[3:]
    if as_a_whole[0] == 202:
        assert as_a_whole[2] == streamed[2]
