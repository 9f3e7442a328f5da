"""The contract of adapters, tested for each registered one through the real server."""

import gzip
import itertools
import json

import pytest

from gateway.adapter import Head, Ingest
from gateway.adapters import ADAPTERS
from gateway.adapters.common import STATUS
from gateway.checks import dialects
from gateway.config import resolve
from gateway.errors import Reason, Refusal
from tests.adapters.speakers import SPEAKERS
from tests.conftest import CONFIG

SETTINGS = resolve(CONFIG, dialects(ADAPTERS))
BUILT = [adapter(SETTINGS.dialects[adapter.dialect]) for adapter in ADAPTERS]
EACH = pytest.mark.parametrize("adapter", BUILT, ids=lambda adapter: adapter.dialect)
HEAD = Head("POST", "/", {}, lambda _: None, lambda _: ())
JSON = {"Content-Type": "application/json"}
GZIPPED = gzip.compress(b"[]", mtime=0)

MOESIF_WORDS = {"type", "title", "status"}
LOGSPACE_WORDS = {"type", "message", "parameters"}
DEVICE_WORDS = {"error", "message", "errorMessage"}
WORDS = {"moesif": MOESIF_WORDS, "logspace": LOGSPACE_WORDS, "device": DEVICE_WORDS}


def filled(path):
    """An address without parameters: those of its template are replaced by known ids."""
    return path.replace("{tenant}", "T1").replace("{device}", "D1").replace("{controller}", "c")


def addresses(adapter):
    """Every address of *adapter* with the methods that it knows."""
    known = {}
    for endpoint in adapter.endpoints:
        for path in endpoint.paths:
            known.setdefault(filled(path), set()).update(endpoint.methods)
    return known


def credential(adapter):
    return SPEAKERS[adapter.dialect].credential


def ingests(adapter, *, batches_only=False):
    """The method and address of everything that takes events."""
    return [
        (method, filled(path))
        for one in adapter.endpoints
        if isinstance(one, Ingest) and one.batch >= batches_only
        for path, method in itertools.product(one.paths, one.methods)
    ]


def assert_words(adapter, answer, reason):
    """The answer is the adapter's own for *reason*, not some other layer's."""
    expected = adapter.refused(Refusal(reason), HEAD, None)
    assert expected.status == answer.status
    assert expected.content_type == answer.headers["Content-Type"]
    assert WORDS[adapter.dialect] <= set(answer.json)


def test_every_registered_dialect_is_tested():
    assert set(SPEAKERS) == set(WORDS) == {adapter.dialect for adapter in ADAPTERS}


@EACH
@pytest.mark.parametrize("reason", Reason)
def test_every_adapter_answers_every_reason(adapter, reason):
    reply = adapter.refused(Refusal(reason, "Because.", allowed=["PUT"]), HEAD, None)
    body = json.loads(reply.body)

    assert reply.status >= 400
    assert WORDS[adapter.dialect] <= set(body)
    assert "Because." in json.dumps(body)
    assert reply.content_type in ("application/json", "application/problem+json")


@EACH
@pytest.mark.parametrize("reason", [reason for reason in Reason if STATUS[reason] == 503])
def test_a_503_has_retry_after(adapter, reason):
    assert int(adapter.refused(Refusal(reason), HEAD, None).headers["Retry-After"]) > 0


@EACH
def test_a_refusal_may_contain_any_text_of_the_client(adapter):
    refusal = Refusal(Reason.CREDENTIAL_UNKNOWN, subject="\"'<é\x00")

    assert WORDS[adapter.dialect] <= set(json.loads(adapter.refused(refusal, HEAD, None).body))


@EACH
async def test_an_unknown_address_is_refused_in_the_words_of_the_dialect_with_its_prefix(
    gateway, adapter
):
    for prefix in adapter.prefixes:
        for path in (prefix, f"{prefix}nowhere", f"{prefix}%ff/%2F", f"{prefix}a//b?x=1#y"):
            if path not in addresses(adapter):
                for method in ("GET", "POST", "PUT", "DELETE"):
                    answer = await gateway.send(method, path)
                    assert_words(adapter, answer, Reason.NO_SUCH_ADDRESS)


@EACH
async def test_a_wrong_method_is_refused_before_the_credential_is_checked_with_allow(
    gateway, adapter
):
    for path, known in addresses(adapter).items():
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - known:
            answer = await gateway.send(method, path)

            assert ", ".join(sorted(known)) == answer.headers["Allow"]
            if method == "HEAD":
                assert (405, b"") == (answer.status, answer.body)
            else:
                assert_words(adapter, answer, Reason.METHOD_NOT_ALLOWED)


@EACH
async def test_without_a_known_credential_the_body_is_not_read(gateway, adapter):
    speaker = SPEAKERS[adapter.dialect]
    [header] = speaker.credential
    for method, path in ingests(adapter):
        for headers in ({}, {header: ""}, {header: "  "}, {header: "nope"}, {header: "ü"}):
            answer = await gateway.send(method, path, b"\xff", {"Content-Encoding": "x", **headers})
            unknown = headers.get(header, "").strip()
            reason = Reason.CREDENTIAL_UNKNOWN if unknown else Reason.CREDENTIAL_MISSING

            assert speaker.unauthorized == answer.status
            assert_words(adapter, answer, reason)
    assert [] == await gateway.events()


@EACH
async def test_an_event_belongs_to_the_tenant_of_its_credential(gateway, adapter):
    speaker = SPEAKERS[adapter.dialect]
    headers = {**JSON, **speaker.credential}
    answer = await gateway.send(speaker.method, speaker.path, speaker.body, headers)
    [event] = await gateway.events()

    assert speaker.success == answer.status
    assert (adapter.dialect, speaker.tenant, speaker.kind) == (
        event["dialect"],
        event["tenant"],
        event["kind"],
    )


@EACH
async def test_an_empty_batch_succeeds_and_stores_nothing(gateway, adapter):
    for method, path in ingests(adapter, batches_only=True):
        answer = await gateway.send(method, path, b" [ ] ", {**JSON, **credential(adapter)})

        assert SPEAKERS[adapter.dialect].success == answer.status
        assert b"" == answer.body
    assert [] == await gateway.events()


@EACH
async def test_a_body_beyond_the_limit_is_refused_in_every_encoding(running, adapter):
    large = b'"' + b"x" * 2000 + b'"'
    headers = {**JSON, **credential(adapter)}

    async def pieces():
        for at in range(0, len(large), 500):
            yield large[at : at + 500]

    async with running({adapter.dialect: {"max_body": 1000}}) as gateway:
        for method, path in ingests(adapter):
            plain = await gateway.send(method, path, large, headers)
            packed = {**headers, "Content-Encoding": "gzip"}
            inflated = await gateway.send(method, path, gzip.compress(large), packed)
            url = gateway.url + path
            async with gateway.session.request(method, url, data=pieces(), headers=headers) as one:
                assert 413 == one.status
            assert_words(adapter, plain, Reason.BODY_TOO_LARGE)
            assert_words(adapter, inflated, Reason.BODY_TOO_LARGE)
        assert [] == await gateway.events()


@EACH
@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("gzip", b"[]", Reason.ENCODING_CORRUPT),
        ("gzip", GZIPPED[:-1], Reason.ENCODING_CORRUPT),
        ("gzip", GZIPPED + b"x", Reason.ENCODING_CORRUPT),
        ("gzip", b"", Reason.ENCODING_CORRUPT),
        ("deflate", b"[]", Reason.ENCODING_CORRUPT),
        ("zstd", b"[]", Reason.ENCODING_CORRUPT),
        ("br", b"[]", Reason.ENCODING_CORRUPT),
        ("compress", b"[]", Reason.ENCODING_UNSUPPORTED),
        ("gzip, gzip", b"[]", Reason.ENCODING_UNSUPPORTED),
    ],
)
async def test_a_body_that_cannot_be_decompressed_is_refused(
    gateway, adapter, coding, body, reason
):
    headers = {**JSON, **credential(adapter), "Content-Encoding": coding}
    for method, path in ingests(adapter):
        assert_words(adapter, await gateway.send(method, path, body, headers), reason)
    assert [] == await gateway.events()


@EACH
@pytest.mark.parametrize("body", [b"", b" ", b"{", b"\xff", b"nul", b"[1,]", b"\x00", b"[" * 5000])
async def test_a_body_that_is_not_json_is_400(gateway, adapter, body):
    for method, path in ingests(adapter):
        answer = await gateway.send(method, path, body, {**JSON, **credential(adapter)})

        assert_words(adapter, answer, Reason.NOT_JSON)


@EACH
async def test_an_answer_with_very_many_problems_is_limited(gateway, adapter):
    for method, path in ingests(adapter, batches_only=True):
        headers = {**credential(adapter), "Content-Encoding": "gzip"}
        many = gzip.compress(b"[" + b",".join([b"0"] * 2000) + b"]")
        answer = await gateway.send(method, path, many, headers)

        assert_words(adapter, answer, Reason.INVALID)
        assert len(answer.body) < 20_000


@EACH
async def test_an_internal_error_is_answered_in_the_dialects_words_without_its_text(
    running, adapter
):
    def fail(*_):
        raise RuntimeError("innermost secret")

    broken = type("Broken", (type(adapter),), {"accepted": fail})
    speaker = SPEAKERS[adapter.dialect]
    async with running(adapters=[broken if a is type(adapter) else a for a in ADAPTERS]) as gateway:
        headers = {**JSON, **speaker.credential}
        answer = await gateway.send(speaker.method, speaker.path, speaker.body, headers)

    assert_words(adapter, answer, Reason.INTERNAL)
    assert b"secret" not in answer.body
