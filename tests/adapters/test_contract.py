"""The contract of adapters, tested for each registered one through the real server."""

import gzip
import hashlib
import itertools
import json

import pytest

from gateway.adapter import Head, Ingest
from gateway.adapters.batch import STATUS
from gateway.checks import dialects
from gateway.config import resolve
from gateway.errors import Reason, Refusal
from gateway.web.routes import Routes, normal
from tests.conftest import LISTEN
from tests.dialects import CONTRACTS, EVERY, config_of

SETTINGS = resolve({**LISTEN, **config_of(EVERY)}, dialects(EVERY))
BUILT = [adapter(SETTINGS.dialects[adapter.dialect]) for adapter in EVERY]
ROUTES = Routes(BUILT)
EACH = pytest.mark.parametrize("adapter", BUILT, ids=lambda adapter: adapter.dialect)
HEAD = Head("POST", "/", {}, lambda _: None, lambda _: ())
GZIPPED = gzip.compress(b"[]", mtime=0)


@pytest.fixture(scope="module")
def shared_adapters():
    return EVERY


@pytest.fixture
async def gateway(running):
    """A gateway that serves every dialect that there is, the small test dialect included."""
    async with running(adapters=EVERY) as started:
        yield started


def client(adapter):
    return CONTRACTS[adapter.dialect]


def addresses(adapter):
    """Every address of *adapter* with the methods that it knows."""
    known = {}
    for endpoint in adapter.endpoints:
        for path in endpoint.paths:
            methods = known.setdefault(client(adapter).filled(path), set())
            methods.update(endpoint.methods)
            methods |= {"HEAD"} if "GET" in methods else set()
    return known


def ingests(adapter, *, batches_only=False):
    """The method and address of everything that takes events."""
    return [
        (method, client(adapter).filled(path))
        for one in adapter.endpoints
        if isinstance(one, Ingest) and one.batch >= batches_only
        for path, method in itertools.product(one.paths, one.methods)
    ]


def assert_words(adapter, answer, reason):
    """The answer is the adapter's own for *reason*, not some other layer's."""
    expected = adapter.refused(Refusal(reason), HEAD, None)
    assert expected.status == answer.status
    assert expected.content_type == answer.headers["Content-Type"]
    assert client(adapter).error <= set(answer.json)


@EACH
def test_the_contract_of_a_dialect_with_batches_says_how_they_are_written(adapter):
    batches = [path for _, path in ingests(adapter, batches_only=True)]
    known = client(adapter)

    assert all(known.batch_at(path) for path in batches)
    assert bool(known.batch or known.batches) == bool(batches)


@EACH
@pytest.mark.parametrize("reason", Reason)
def test_every_adapter_answers_every_reason(adapter, reason):
    reply = adapter.refused(Refusal(reason, "Because.", allowed=["PUT"]), HEAD, None)
    body = json.loads(reply.body)

    assert reply.status >= 400
    assert client(adapter).error <= set(body)
    assert "Because." in json.dumps(body)
    assert reply.content_type in ("application/json", "application/problem+json")


@EACH
@pytest.mark.parametrize("reason", [reason for reason in Reason if STATUS[reason] == 503])
def test_a_503_has_retry_after(adapter, reason):
    assert int(adapter.refused(Refusal(reason), HEAD, None).headers["Retry-After"]) > 0


@EACH
def test_a_refusal_may_contain_any_text_of_the_client(adapter):
    refusal = Refusal(Reason.CREDENTIAL_UNKNOWN, subject="\"'<é\x00")

    assert client(adapter).error <= set(json.loads(adapter.refused(refusal, HEAD, None).body))


@EACH
async def test_an_unknown_address_is_refused_in_the_words_of_the_dialect_with_its_prefix(
    shared, adapter
):
    for prefix in adapter.prefixes:
        nowhere = (f"{prefix}a/b/%ff/%2F", f"{prefix}a//b?x=1#y")
        for path in (prefix, f"{prefix}nowhere", *nowhere):
            if path in nowhere or ROUTES.find(normal(path)) is None:
                for method in ("GET", "POST", "PUT", "DELETE"):
                    answer = await shared.send(method, path)
                    assert_words(adapter, answer, Reason.NO_SUCH_ADDRESS)


@EACH
async def test_a_wrong_method_is_refused_before_the_credential_is_checked_with_allow(
    shared, adapter
):
    for path, known in addresses(adapter).items():
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - known:
            answer = await shared.send(method, path)

            assert ", ".join(sorted(known)) == answer.headers["Allow"]
            if method == "HEAD":
                assert (405, b"") == (answer.status, answer.body)
            else:
                assert_words(adapter, answer, Reason.METHOD_NOT_ALLOWED)


@EACH
async def test_every_record_names_the_credential_and_the_client_that_sent_it(gateway, adapter):
    one = client(adapter)
    headers = {**one.sent, "User-Agent": "a client/1.0"}
    await gateway.send(one.method, one.path, one.body.encode(), headers)
    await gateway.send(one.method, one.path, b"no JSON", headers)

    digest = hashlib.sha256(adapter.secret(head_of(headers)).encode()).hexdigest()
    kept, rejected = await gateway.events()
    for event in (kept, rejected):
        assert (digest[:8], "a client/1.0") == (event["credential"], event["useragent"])
    assert "rejected" == rejected["kind"]


def head_of(headers):
    """A request's head with *headers*."""
    lower = {name.lower(): value for name, value in headers.items()}
    return Head(
        "POST",
        "/",
        {},
        lambda name: lower.get(name.lower()),
        lambda name: [lower[name.lower()]] if name.lower() in lower else [],
    )


@EACH
async def test_two_different_credentials_in_one_request_are_refused(gateway, adapter):
    [(name, good)] = client(adapter).credential.items()
    for method, path in ingests(adapter):
        for values in ([good, "other"], ["other", good], [good, good, ""]):
            headers = [*client(adapter).headers.items(), *((name, value) for value in values)]
            answer = await gateway.send(method, path, client(adapter).body.encode(), headers)

            assert_words(adapter, answer, Reason.CREDENTIAL_MISSING)
    assert [] == await gateway.events()


@EACH
async def test_one_credential_may_be_repeated(shared, adapter):
    [(name, good)] = client(adapter).credential.items()
    headers = [*client(adapter).headers.items(), (name, good), (name, good)]
    sent = client(adapter).body.encode()
    answer = await shared.send(client(adapter).method, client(adapter).path, sent, headers)

    assert client(adapter).success == answer.status


@EACH
async def test_without_a_known_credential_the_body_is_not_read(gateway, adapter):
    [header] = client(adapter).credential
    for method, path in ingests(adapter):
        for headers in ({}, {header: ""}, {header: "  "}, {header: "nope"}, {header: "ü"}):
            answer = await gateway.send(method, path, b"\xff", {"Content-Encoding": "x", **headers})
            unknown = headers.get(header, "").strip()
            reason = Reason.CREDENTIAL_UNKNOWN if unknown else Reason.CREDENTIAL_MISSING

            assert client(adapter).unauthorized == answer.status
            assert_words(adapter, answer, reason)
    assert [] == await gateway.events()


@EACH
async def test_an_event_belongs_to_the_tenant_of_its_credential(gateway, adapter):
    known = client(adapter)
    answer = await gateway.send(known.method, known.path, known.body.encode(), known.sent)
    [event] = await gateway.events()

    assert known.success == answer.status
    assert (adapter.dialect, known.tenant, known.kind) == (
        event["dialect"],
        event["tenant"],
        event["kind"],
    )
    assert known.kind in adapter.kinds


@EACH
async def test_an_empty_batch_succeeds_and_stores_nothing(gateway, adapter):
    known = client(adapter)
    for method, path in ingests(adapter, batches_only=True):
        batch = known.batch_at(path)
        answer = await gateway.send(method, path, batch.of(), known.sent)

        assert (known.success, batch.answer) == (answer.status, answer.body.decode())
    assert [] == await gateway.events()


@EACH
async def test_a_body_beyond_the_limit_is_refused_in_every_encoding(running, adapter):
    large = b'"' + b"x" * 2000 + b'"'
    headers = client(adapter).sent

    async def pieces():
        for at in range(0, len(large), 500):
            yield large[at : at + 500]

    async with running({adapter.dialect: {"max_body": 1000}}, EVERY) as gateway:
        for method, path in ingests(adapter):
            plain = await gateway.send(method, path, large, headers)
            packed = {**headers, "Content-Encoding": "gzip"}
            inflated = await gateway.send(method, path, gzip.compress(large), packed)
            url = gateway.url + path
            async with gateway.session.request(method, url, data=pieces(), headers=headers) as one:
                assert plain.status == one.status
            assert_words(adapter, plain, Reason.BODY_TOO_LARGE)
            assert_words(adapter, inflated, Reason.BODY_TOO_LARGE)
        assert [] == await gateway.events()


CORRUPT, UNSUPPORTED = Reason.ENCODING_CORRUPT, Reason.ENCODING_UNSUPPORTED


@EACH
async def test_a_body_that_cannot_be_decompressed_is_refused(gateway, adapter):
    for coding, body, reason in [
        ("gzip", b"[]", CORRUPT),
        ("gzip", GZIPPED[:-1], CORRUPT),
        ("gzip", GZIPPED + b"x", CORRUPT),
        ("gzip", b"", CORRUPT),
        ("deflate", b"[]", CORRUPT),
        ("zstd", b"[]", CORRUPT),
        ("br", b"[]", CORRUPT),
        ("compress", b"[]", UNSUPPORTED),
        ("gzip, gzip", b"[]", UNSUPPORTED),
    ]:
        headers = {**client(adapter).sent, "Content-Encoding": coding}
        for method, path in ingests(adapter):
            assert_words(adapter, await gateway.send(method, path, body, headers), reason)
    assert [] == await gateway.events()


@EACH
@pytest.mark.parametrize("body", [b"", b" ", b"{", b"\xff", b"nul", b"[1,]", b"\x00", b"[" * 900])
async def test_a_body_that_is_not_json_is_400(shared, adapter, body):
    for method, path in ingests(adapter):
        answer = await shared.send(method, path, body, client(adapter).sent)

        assert_words(adapter, answer, Reason.NOT_JSON)


@EACH
async def test_an_answer_with_very_many_problems_is_limited(shared, adapter):
    for method, path in ingests(adapter, batches_only=True):
        headers = {**client(adapter).sent, "Content-Encoding": "gzip"}
        many = gzip.compress(client(adapter).batch_at(path).of(*["0"] * 2000))
        answer = await shared.send(method, path, many, headers)

        assert_words(adapter, answer, Reason.INVALID)
        assert len(answer.body) < 20_000


@EACH
async def test_an_internal_error_is_answered_in_the_dialects_words_without_its_text(
    running, adapter
):
    def fail(*_):
        raise RuntimeError("innermost secret")

    broken = type("Broken", (type(adapter),), {"accepted": fail})
    known = client(adapter)
    async with running(adapters=[broken if a is type(adapter) else a for a in EVERY]) as gateway:
        answer = await gateway.send(known.method, known.path, known.body.encode(), known.sent)

    assert_words(adapter, answer, Reason.INTERNAL)
    assert b"secret" not in answer.body


@EACH
async def test_a_byte_order_mark_before_json_is_dropped(gateway, adapter):
    known = client(adapter)
    marked = b"\xef\xbb\xbf" + known.body.encode()
    answer = await gateway.send(known.method, known.path, marked, known.sent)
    [stored] = await gateway.events()

    assert known.success == answer.status
    assert known.kind == stored["kind"]
